"""Restricted unpickling of checkpoints: tensors and a short list of types, and no code.

torch's own weights-only unpickler takes the list where it can (torch 2.5 and later); before that, an unpickler here is
as strict.
"""
import codecs
import difflib
import functools
import pickle
import pickletools
import re
import sys
import threading
import zipfile
from _compat_pickle import IMPORT_MAPPING
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer

from ..utils.text import first_line

__all__ = ['CheckpointError', 'ListedUnpickler', 'MapLocation', 'Refused', 'UnsafeCheckpointError', 'allowed_globals',
           'load_pickle']

MapLocation = str | torch.device | dict[str, str] | Callable | None
# Opcodes that make objects in ways that torch.save does not use.
_MAKES_OBJECTS = (pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4)
_PLAIN_TYPES = ('str', 'bytes', 'int', 'float', 'bool', 'tuple', 'list', 'dict', 'NoneType')
_MAX_HISTORY = 10_000_000  # MMEngine keeps a million
_lock = threading.Lock()


class CheckpointError(RuntimeError):
    """A checkpoint cannot be fetched, read or used; the message says why and what to do."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint holds a type that is not allowed."""


class Refused(Exception):
    """A pickle uses an allowed type for something else."""


def load_pickle(path: str, map_location: MapLocation) -> Any:
    """Unpickles a file of ``torch.save``, or raises an UnsafeCheckpointError, or a CheckpointError (damaged)."""
    pickles = _globals_of(path)
    try:
        if any('builtins.bytearray' in names for names, _ in pickles):
            raise Refused('builtins.bytearray')  # of a number, it allocates that many bytes
        with _lock:  # all threads share torch's list of allowed types
            return _torch_load(path, map_location)
    except Exception as error:
        if foreign := _refused_types(pickles, error):
            raise UnsafeCheckpointError(
                f'{path}: got {foreign}, which could run code on loading, expected tensors and plain values; if you '
                "trust the file, save its weights alone where it was made: torch.save({'state_dict': "
                'model.state_dict()}, ...)') from None  # torch's own message advises to load it unsafely
        raise CheckpointError(f'{path} cannot be read ({type(error).__name__}: {first_line(error)}); if it is '
                              'damaged, get it again') from error


def _torch_load(path: str, map_location: MapLocation) -> Any:
    if not hasattr(torch.serialization, 'safe_globals'):
        # Before torch 2.5 `weights_only=True` takes no temporary list, or no list at all.
        return torch.load(path, map_location, pickle_module=_ListedPickle, weights_only=False)
    allowed = torch.serialization.get_safe_globals()  # what the user allowed stays allowed afterwards
    with torch.serialization.safe_globals([value for value in allowed_globals().values() if value not in allowed]):
        return torch.load(path, map_location, weights_only=True)


def _stands_for(name: str) -> Callable:
    """Names a class or function as the one it replaces in a pickle: torch's list goes by these attributes."""

    def rename(target: Callable) -> Callable:
        target.__module__, target.__name__ = name.rsplit('.', 1)
        target.__qualname__ = target.__name__
        return target

    return rename


@_stands_for('mmengine.logging.history_buffer.HistoryBuffer')
class _PickledHistoryBuffer(HistoryBuffer):
    """Becomes a ``HistoryBuffer`` once it has its values; ignores functions of the file, which that registers."""

    def __setstate__(self, state: dict):
        histories = state['_log_history'], state['_count_history']
        if max(map(len, histories)) > _MAX_HISTORY:
            raise Refused(f'a HistoryBuffer of {max(map(len, histories))} entries')
        self.__class__ = HistoryBuffer
        self.__init__(*histories, state['max_length'])


@_stands_for('builtins.getattr')
def _pickled_getattr(owner: Any, name: str) -> None:
    """Returns None: a pickled ``HistoryBuffer`` lists its functions by ``getattr``, and they are not used."""
    if owner is not _PickledHistoryBuffer:
        raise Refused(f'getattr of {name!r}')


@_stands_for('mmengine.config.config.ConfigDict')
class _PickledConfigDict:
    def __new__(cls, *args):
        if len(args) == 1 and type(args[0]) is dict:
            return ConfigDict(args[0])
        if all(type(arg) is tuple for arg in args):
            # MMEngine before 0.8 pickles the items twice: here and as entries to set, which torch does for a plain
            # dict only.
            return OrderedDict()
        raise Refused(f'a ConfigDict made of {", ".join(type(arg).__name__ for arg in args)}')


@functools.cache
def allowed_globals() -> dict[str, Any]:
    """Returns what a checkpoint may hold besides tensors and Python's own containers: name in a pickle -> object. That
    is what ``Runner.save_checkpoint`` and the public pose files write; arrays of Python objects are not allowed.
    """
    stand_ins = [_PickledHistoryBuffer, _pickled_getattr, _PickledConfigDict]
    # numpy 1 and numpy 2 name these two after different modules; a file of one has to load with the other.
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        for function in (np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0]):
            stand_ins.append(_stands_for(f'{module}.{function.__name__}')(_copy_of(function)))
    dtypes = [type(np.dtype(code)) for code in '?bBhHiIlLqQefdFDSU']
    # torch lists encode (for bytes) since 2.4, set and Counter (milestones of MultiStepLR) later.
    return {f'{item.__module__}.{item.__name__}': item
            for item in (*stand_ins, np.ndarray, np.dtype, *dtypes, codecs.encode, set, Counter)}


def _copy_of(function: Callable) -> Callable:
    return lambda *args: function(*args)


@functools.cache
def _all_globals() -> dict[str, Any]:
    from torch._weights_only_unpickler import _get_allowed_globals
    return {**_get_allowed_globals(), **allowed_globals()}


class ListedUnpickler(pickle._Unpickler):
    """Unpickles types of a list only (in Python, since the unpickler in C hides its opcodes)."""
    dispatch = {code: method for code, method in pickle._Unpickler.dispatch.items()
                if bytes([code]) not in _MAKES_OBJECTS}

    listed = staticmethod(_all_globals)

    def find_class(self, module: str, name: str) -> Any:
        full_name = f'{IMPORT_MAPPING.get(module, module)}.{name}'
        if full_name not in self.listed():
            raise pickle.UnpicklingError(f'{full_name} is not allowed')
        return self.listed()[full_name]

    # Only listed objects may be called, made and changed, not what can be reached from them.
    def load_reduce(self) -> None:
        self._check_listed(self.stack[-2])
        super().load_reduce()

    def load_newobj(self) -> None:
        self._check_listed(self.stack[-2])
        super().load_newobj()

    def load_build(self) -> None:
        self._check_listed(type(self.stack[-2]))
        super().load_build()

    def _check_listed(self, target: Any) -> None:
        if not any(target is listed for listed in self.listed().values()):
            raise Refused(f'{target.__module__}.{target.__qualname__}' if isinstance(target, type) else repr(target))

    dispatch.update({pickle.REDUCE[0]: load_reduce, pickle.NEWOBJ[0]: load_newobj, pickle.BUILD[0]: load_build})


class _ListedPickle:
    Unpickler = ListedUnpickler

    @staticmethod
    def load(file, **kwargs) -> Any:
        return ListedUnpickler(file, **kwargs).load()


def _globals_of(path: str) -> list[tuple[list[str], bool]]:
    """For each pickle of a file, the names that it lists, and whether it is complete. Nothing is unpickled."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return [_globals_of_pickle(archive.open(name)) for name in archive.namelist()
                    if name.partition('/')[2] == 'data.pkl']
    with open(path, 'rb') as file:  # magic number, protocol version, machine, checkpoint: a pickle each
        return [_globals_of_pickle(file) for _ in range(4)]


def _globals_of_pickle(file) -> tuple[list[str], bool]:
    names, strings = [], []
    try:
        for opcode, arg, _ in pickletools.genops(file):
            if opcode.name in ('GLOBAL', 'INST'):
                module, name = arg.split(' ', 1)
                names.append(f'{IMPORT_MAPPING.get(module, module)}.{name}')
            elif opcode.name == 'STACK_GLOBAL':
                names.append('.'.join(strings[-2:]))
            elif isinstance(arg, str):
                strings.append(arg)
    except Exception:  # a damaged pickle raises nearly anything; the names up to there are returned
        return names, False
    return names, True


def _refused_types(pickles: list[tuple[list[str], bool]], error: Exception) -> str:
    if isinstance(error, Refused):
        return str(error)
    if not isinstance(error, pickle.UnpicklingError):
        return ''
    # torch's message names the first type only and differs from release to release.
    if foreign := sorted({name for names, _ in pickles for name in names if _is_foreign(name)}):
        return ', '.join(foreign)
    if not all(complete for _, complete in pickles):
        return ''
    # Objects made of allowed types need not be allowed themselves; then torch's own reason tells.
    reason = str(error).partition('WeightsUnpickler error: ')[2]
    kind = re.search(r"<class '(.+?)'>", reason)
    harmless = reason.startswith('Unsupported global') or (kind and kind[1] in _PLAIN_TYPES)
    if operand := re.match(r'Unsupported operand (\d+)', reason):
        harmless = bytes([int(operand[1])]) not in _MAKES_OBJECTS
    return '' if harmless or not reason else kind[1] if kind else first_line(reason)


def _is_foreign(name: str) -> bool:
    if name in _all_globals() or not all(part.isidentifier() for part in name.split('.')):
        return False
    module, _, attribute = name.rpartition('.')
    known = hasattr(sys.modules.get(module), attribute)
    return known or not difflib.get_close_matches(name, _all_globals(), 1, .9)
