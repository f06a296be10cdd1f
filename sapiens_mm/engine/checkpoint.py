"""Reads checkpoint files without running code that they carry.

Importing this module makes MMEngine's ``CheckpointLoader`` use it, so ``init_cfg=dict(type='Pretrained', ...)``,
``load_from``, ``--resume`` and ``load_checkpoint`` accept local paths, ``http(s)://`` and ``hf://`` addresses in any
host (see :func:`sapiens_mm.engine.fetch.fetch_file`). The loader that was there before is asked first, so a host's own
files load to what they did, and fail as they did. Of what it cannot read (the runs of MMEngine where torch is 2.6 or
later, ``.safetensors``, folders) we take over. In a tool of ours (:func:`refuse_foreign_files`) it is not asked.

The file may be written by ``torch.save`` (zip, or the format before torch 1.6) or be a ``.safetensors`` file; a folder
may be one of :mod:`sapiens_mm.engine.sharded_checkpoint`. Of pickled types only tensors and those of
:func:`allowed_globals` are accepted. Schemes that are not listed (``s3://``,
``torchvision://``, ``openmmlab://``) stay MMEngine's.
"""
import codecs
import contextlib
import difflib
import functools
import os
import os.path as osp
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
from mmengine.runner.checkpoint import CheckpointLoader

from .fetch import CheckpointError, check_signature, fetch_file

__all__ = [
    'CheckpointError', 'UnsafeCheckpointError', 'allowed_globals', 'check_whole', 'load_checkpoint_file',
    'refuse_foreign_files', 'save_weights'
]

MapLocation = str | torch.device | dict[str, str] | Callable | None
_LEGACY_MAGIC = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'  # how torch.save began a file before torch 1.6
# Opcodes that make objects in ways which torch.save does not use.
_MAKES_OBJECTS = (pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4)
_PLAIN_TYPES = ('str', 'bytes', 'int', 'float', 'bool', 'tuple', 'list', 'dict', 'NoneType')
_MAX_HISTORY = 10_000_000  # MMEngine keeps a million
_lock = threading.Lock()
_ours_alone = False


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint carries a type that is not allowed."""


def load_checkpoint_file(source: str | os.PathLike, map_location: MapLocation = 'cpu') -> dict:
    """Reads a checkpoint from a path, ``http(s)://`` or ``hf://``.

    Args:
        source: A path or an address.
        map_location: Where the tensors go, as for :func:`torch.load`. For ``.safetensors`` a device; else the CPU.
            A folder's stay on the CPU.

    Returns:
        The dict that was saved (of a folder without the optimizer's tensors); what it has under ``'model'`` is under
        ``'state_dict'`` too. If its state dict is that of a bare backbone, its ``_metadata`` also offers it to
        backbones inside of larger models (see :class:`_BareMetadata`).

    Raises:
        FileNotFoundError: There is no such local file.
        CheckpointError: The file cannot be fetched, is damaged or no checkpoint.
        UnsafeCheckpointError: The file carries a type that is not allowed.
    """
    path = fetch_file(os.fspath(source))
    if osp.isdir(path):
        from .sharded_checkpoint import is_sharded, read_sharded
        if not is_sharded(path):
            raise CheckpointError(f'{path} is a folder; name the checkpoint file in it')
        checkpoint = read_sharded(path)
    elif not osp.isfile(path):
        where = '' if osp.isabs(path) else f' in {os.getcwd()}'
        raise FileNotFoundError(f"There is no checkpoint file '{path}'{where}; check the path")
    else:
        check_signature(path)
        if path.endswith('.safetensors'):
            checkpoint = _read_safetensors(path, map_location)
        else:
            checkpoint = _read_pickle(path, map_location)
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{path} holds a {type(checkpoint).__name__}, but a checkpoint is a dict: a model's "
                              "state_dict(), or a dict with one under 'state_dict'")
    return _as_mmengine_asks(checkpoint)


def _as_mmengine_asks(checkpoint: dict) -> dict:
    """A checkpoint with its weights where MMEngine looks, and those of a bare backbone for whichever module asks."""
    if 'state_dict' not in checkpoint and isinstance(checkpoint.get('model'), dict):
        checkpoint = {**checkpoint, 'state_dict': checkpoint['model']}
    if isinstance(checkpoint.get('state_dict'), dict):
        return {**checkpoint, 'state_dict': _BareMetadata.attach(checkpoint['state_dict'])}
    return _BareMetadata.attach(checkpoint)


def save_weights(state_dict: dict[str, torch.Tensor], path: str, metadata: dict[str, str] | None = None) -> None:
    """Writes tensors to a file; where that fails or is interrupted, there is no file.

    Args:
        state_dict: Name -> tensor, on any device.
        path: The file, ``.pth`` or ``.safetensors``; its folder is made.
        metadata: What a ``.safetensors`` file says of itself besides.

    Raises:
        ValueError: ``path`` has another ending.
        OSError: It cannot be written.
    """
    kind = osp.splitext(path)[1]
    if kind not in ('.pth', '.safetensors'):
        raise ValueError(f"the file is '{path}', but weights are written as .pth or .safetensors")
    os.makedirs(osp.dirname(osp.abspath(path)), exist_ok=True)
    # Copies: a view would bring the whole storage that it looks into.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state_dict.items()}
    part = f'{path}.part'
    open(part, 'wb').close()  # the libraries' own errors do not name the file
    try:
        if kind == '.pth':
            torch.save(tensors, part)
        else:
            from safetensors.torch import save_file
            save_file(tensors, part, metadata={'format': 'pt', **(metadata or {})})
        os.replace(part, path)
    finally:
        if osp.exists(part):
            os.remove(part)


def check_whole(path: str, name: str | None = None, contents: bool = False) -> None:
    """Checks that a checkpoint file is complete: a zip by its table of contents, other kinds by reading them.

    Args:
        path: The file.
        name: What messages call it.
        contents: Whether the members of a zip are compared with their checksums, where it has any. This reads the
            file once, piece by piece: about a second per GB, if the disk is that fast.

    Raises:
        CheckpointError: The file, called ``name`` in the message, is damaged or no checkpoint.
    """
    try:
        check_signature(path)
        with open(path, 'rb') as file:
            zipped = file.read(2) == b'PK'
        if (name or path).partition('?')[0].endswith('.safetensors'):
            _read_safetensors(path, 'meta')
        elif zipped:
            _zip_members(path)
            if contents:
                _check_contents(path)
        else:
            _read_pickle(path, 'cpu')
    except UnsafeCheckpointError:
        pass  # whole, whatever it holds
    except CheckpointError as error:
        raise CheckpointError(str(error).replace(path, name or path)) from error


def refuse_foreign_files() -> None:
    """Makes our reader the only one of this process, for good.

    Elsewhere MMEngine's ``load_checkpoint`` gives a host's own files to the host's loader, which runs what they carry
    where torch is older than 2.6 or ``TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD`` is set. The host process chooses
    that; our tools run no code from a file.
    """
    global _ours_alone
    _ours_alone = True


def _register(name: str, *prefixes: str) -> None:
    """Registers a loader for the files that the one registered now does not read, and for Sapiens backbones."""
    before = CheckpointLoader._schemes.get(prefixes[0])

    def load(filename: str, map_location: MapLocation = None) -> Any:
        if before is None or _ours_alone or _is_ours(filename):
            return load_checkpoint_file(filename, map_location)
        read = before
        if '' not in prefixes:
            # Fetched as we do; a server that wants more is for the host's own loader.
            with contextlib.suppress(CheckpointError):
                filename = fetch_file(filename)
                read = CheckpointLoader._schemes['']
        try:
            checkpoint = read(filename, map_location)
        except Exception as theirs:
            if '' not in prefixes:
                raise
            try:
                return load_checkpoint_file(filename, map_location)
            except Exception as ours:
                raise theirs from ours
        return _as_mmengine_asks(checkpoint) if _has_backbone(checkpoint) else checkpoint

    load.__name__ = f'load_from_{name}'  # MMEngine logs the part behind `load_from_`
    CheckpointLoader.register_scheme(prefixes, load, force=True)


def _is_ours(filename: str) -> bool:
    """Whether MMEngine has no reader for a file: ``.safetensors``, and folders of shards."""
    return filename.partition('?')[0].endswith('.safetensors') or osp.isfile(
        osp.join(osp.expanduser(filename), '.metadata'))


def _has_backbone(checkpoint: Any) -> bool:
    """Whether a checkpoint holds a Sapiens backbone, by itself or in a model."""
    if not isinstance(checkpoint, dict):
        return False
    weights = checkpoint.get('state_dict', checkpoint.get('model', checkpoint))
    return isinstance(weights, dict) and any(
        {f'{prefix}pos_embed', f'{prefix}patch_embed.projection.weight'} <= weights.keys()
        for prefix in ('', 'backbone.', 'module.', 'module.backbone.'))


_register('local', '')
_register('http', 'http://', 'https://')
_register('hugging_face', 'hf://')


class _BareMetadata(OrderedDict):
    """State-dict metadata that hands a bare backbone's weights to whichever module asks for them.

    The public ``*_clean.pth`` files have no prefix, so with ``load_from`` no submodule of a pose estimator would get
    to see their keys. What torch and MMEngine do hand to every submodule is its entry of the metadata.
    """
    key = 'bare_backbone'

    @classmethod
    def attach(cls, state_dict: dict) -> dict:
        if not {'pos_embed', 'patch_embed.projection.weight'} <= state_dict.keys():
            return state_dict
        metadata = cls(getattr(state_dict, '_metadata', None) or {})
        metadata.state_dict = dict(state_dict)
        state_dict = OrderedDict(state_dict)
        state_dict._metadata = metadata
        return state_dict

    def get(self, name: str, default: dict | None = None) -> dict:
        return {**(super().get(name) or {}), self.key: self.state_dict}

    def __reduce__(self):  # written to a file again, it is what it was before
        return OrderedDict, (list(self.items()), )


def _first_line(error: BaseException | str) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip('.') if text else type(error).__name__


def _read_safetensors(path: str, map_location: MapLocation) -> dict[str, torch.Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise CheckpointError(f'{path} needs safetensors: pip install safetensors') from error
    try:
        tensors = load_file(path)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f'{path} is truncated or no safetensors file ({_first_line(error)}); get it '
                              'again') from error
    if isinstance(map_location, (str, torch.device)):
        tensors = {name: tensor.to(map_location) for name, tensor in tensors.items()}
    return tensors


def _read_pickle(path: str, map_location: MapLocation) -> Any:
    with open(path, 'rb') as file:
        head = file.read(len(_LEGACY_MAGIC))
    if head.startswith(b'PK'):
        members = {name.partition('/')[2] for name in _zip_members(path)}
        if 'data.pkl' not in members:
            raise CheckpointError(f'{path} is a zip archive, but not one that torch.save writes; if the checkpoint is '
                                  'packed in it, unpack it')
    elif head != _LEGACY_MAGIC:
        raise CheckpointError(f'{path} is neither written by torch.save nor a .safetensors file (it begins with '
                              f'{head[:8]!r}); get it again, or convert it')
    pickles = _globals_of(path)
    try:
        if any('builtins.bytearray' in names for names, _ in pickles):
            raise _Refused('builtins.bytearray')  # made of a number, it takes that many bytes
        with _lock:  # the allow-list of torch is one for all threads
            checkpoint = _torch_load(path, map_location)
        _check_sizes(checkpoint, path)
        return checkpoint
    except CheckpointError:
        raise
    except Exception as error:
        foreign = _refused_types(pickles, error)
        if foreign:
            raise UnsafeCheckpointError(
                f'{path} carries {foreign}, which a checkpoint has no need of and which could run code on loading. If '
                'you trust its origin, load it where it was made and save its weights alone: '
                "torch.save({'state_dict': model.state_dict()}, ...)") from None  # torch's own advice is another
        raise CheckpointError(f'{path} cannot be read ({type(error).__name__}: {_first_line(error)}); if it is '
                              'damaged, get it again') from error


def _zip_members(path: str) -> list[str]:
    """Names of the members of a zip archive, which are stored one behind the other, as torch.save writes them."""
    try:
        with zipfile.ZipFile(path) as archive, open(path, 'rb') as file:
            members = archive.infolist()
            file.seek(archive.start_dir + 42)
            first = int.from_bytes(file.read(4), 'little')
    except Exception as error:  # a damaged table of contents raises nearly anything
        raise CheckpointError(f'{path} is truncated: the table of contents at its end is missing ({_first_line(error)})'
                              '; get it again') from error
    if any(member.filename.partition('/')[2] == 'constants.pkl' for member in members):
        raise CheckpointError(f'{path} is a TorchScript program, not a checkpoint; get the .pth file of this model')
    if packed := [member.filename for member in members if member.compress_type]:
        # Some MB could become any number of GB.
        raise CheckpointError(f'{path} has a compressed {packed[0]}, and torch.save compresses nothing; get the '
                              'original file')
    if sum(member.file_size for member in members) > os.path.getsize(path):
        raise CheckpointError(f'{path} has members larger than the file; get it again')
    if members and first != members[0].header_offset:  # torch would read another table than the one checked here
        raise CheckpointError(f'{path} has something before or between its zip archive; get the original file')
    return [member.filename for member in members]


def _check_contents(path: str) -> None:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith('/version')]
        # torch.serialization.set_crc32_options(False) writes no true checksum of any member
        damaged = None if names and not _agrees(archive, names[0]) else archive.testzip()
    if damaged:
        raise CheckpointError(f'{path} is damaged in {damaged}; get it again')


def _agrees(archive: zipfile.ZipFile, name: str) -> bool:
    try:
        return archive.read(name) is not None
    except zipfile.BadZipFile:
        return False


def _torch_load(path: str, map_location: MapLocation) -> Any:
    if not hasattr(torch.serialization, 'safe_globals'):
        # Before torch 2.5 `weights_only=True` has no list to add to that could be taken back, or none at all. The
        # unpickler below is as strict.
        return torch.load(path, map_location, pickle_module=_ListedPickle, weights_only=False)
    there = torch.serialization.get_safe_globals()  # what the user allowed stays allowed afterwards
    ours = [value for value in allowed_globals().values() if value not in there]
    with torch.serialization.safe_globals(ours):
        return torch.load(path, map_location, weights_only=True)


class _Refused(Exception):
    """An allowed type is put to another use than its own."""


def _stands_for(name: str) -> Callable:
    """Names a class or function as the one it replaces in a pickle: torch's allow-list goes by these attributes."""

    def rename(target: Callable) -> Callable:
        target.__module__, target.__name__ = name.rsplit('.', 1)
        target.__qualname__ = target.__name__
        return target

    return rename


@_stands_for('mmengine.logging.history_buffer.HistoryBuffer')
class _PickledHistoryBuffer(HistoryBuffer):
    """Becomes a ``HistoryBuffer`` once it has its values.

    The original takes over functions from the file, for all instances; this one leaves them there.
    """

    def __setstate__(self, state: dict):
        histories = state['_log_history'], state['_count_history']
        if max(map(len, histories)) > _MAX_HISTORY:
            raise _Refused(f'a HistoryBuffer of {max(map(len, histories))} entries')
        self.__class__ = HistoryBuffer
        self.__init__(*histories, state['max_length'])


@_stands_for('builtins.getattr')
def _pickled_getattr(owner: Any, name: str) -> None:
    """Gets nothing. A pickled ``HistoryBuffer`` lists its functions by ``getattr``, and they are not used."""
    if owner is not _PickledHistoryBuffer:
        raise _Refused(f'getattr of {name!r}')


@_stands_for('mmengine.config.config.ConfigDict')
class _PickledConfigDict:
    """Makes a ``ConfigDict`` of allowed values and can do nothing else."""

    def __new__(cls, *args):
        if len(args) == 1 and type(args[0]) is dict:
            return ConfigDict(args[0])
        if all(type(arg) is tuple for arg in args):
            # MMEngine before 0.8: the items come twice, here and as entries to be set, which torch does for a plain
            # dict only.
            return OrderedDict()
        raise _Refused(f'a ConfigDict made of {", ".join(type(arg).__name__ for arg in args)}')


@functools.cache
def allowed_globals() -> dict[str, Any]:
    """What a checkpoint may hold besides tensors and Python's own containers.

    ``Runner.save_checkpoint`` writes ``HistoryBuffer`` (the message hub), arrays, array scalars and sets (dataset
    meta, metric values); the public pose files have a ``ConfigDict`` and array scalars in ``meta``. Arrays of Python
    objects are left out.

    Returns:
        Name in a pickle -> the object it stands for.
    """
    stand_ins = [_PickledHistoryBuffer, _pickled_getattr, _PickledConfigDict]
    # numpy 1 and numpy 2 name these two after different modules; a file of one has to load with the other.
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        for function in (np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0]):
            stand_ins.append(_stands_for(f'{module}.{function.__name__}')(_copy_of(function)))
    dtypes = [type(np.dtype(code)) for code in '?bBhHiIlLqQefdFDSU']
    # torch has encode (for bytes) on its own list since 2.4, and newer ones set and Counter (MultiStepLR's milestones).
    return {f'{item.__module__}.{item.__name__}': item
            for item in (*stand_ins, np.ndarray, np.dtype, *dtypes, codecs.encode, set, Counter)}


def _copy_of(function: Callable) -> Callable:
    return lambda *args: function(*args)


@functools.cache
def _all_globals() -> dict[str, Any]:
    """:func:`allowed_globals` and what torch's weights-only unpickler allows by itself (tensors, storages, dtypes)."""
    from torch._weights_only_unpickler import _get_allowed_globals
    return {**_get_allowed_globals(), **allowed_globals()}


class _ListedUnpickler(pickle._Unpickler):
    """Unpickles types of the list only (the one in Python, since the one in C hides its opcodes)."""
    dispatch = {code: method for code, method in pickle._Unpickler.dispatch.items()
                if bytes([code]) not in _MAKES_OBJECTS}

    listed = staticmethod(_all_globals)

    def find_class(self, module: str, name: str) -> Any:
        full_name = f'{IMPORT_MAPPING.get(module, module)}.{name}'
        if full_name not in self.listed():
            raise pickle.UnpicklingError(f'{full_name} is not allowed')
        return self.listed()[full_name]

    # Calling, making and changing is for what the list names, not for what can be reached from there.
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
            raise _Refused(f'{target.__module__}.{target.__qualname__}' if isinstance(target, type) else repr(target))

    dispatch.update({pickle.REDUCE[0]: load_reduce, pickle.NEWOBJ[0]: load_newobj, pickle.BUILD[0]: load_build})


class _ListedPickle:
    """What :func:`torch.load` uses of a ``pickle_module``."""
    Unpickler = _ListedUnpickler

    @staticmethod
    def load(file, **kwargs) -> Any:
        return _ListedUnpickler(file, **kwargs).load()


def _check_sizes(checkpoint: Any, path: str) -> None:
    """Checks that tensors and arrays together are no larger than their file.

    torch makes a storage as large as a tensor's size asks for, and what is not in the file is whatever the memory held.

    Raises:
        CheckpointError: They are larger.
    """
    sizes, seen, left = {}, set(), [checkpoint]
    while left:
        item = left.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            left += item.values()
        elif isinstance(item, (list, tuple, set)):
            left += item
        elif isinstance(item, np.ndarray):
            sizes[id(item)] = item.nbytes
        elif isinstance(item, torch.Tensor) and item.layout == torch.strided and not (item.is_meta or item.is_nested):
            storage = item.untyped_storage()
            sizes[storage._cdata] = storage.nbytes()
    if sum(sizes.values()) > osp.getsize(path):
        raise CheckpointError(f'{path} has {osp.getsize(path)} bytes, but tensors of {sum(sizes.values())}; get the '
                              'original file')


def _globals_of(path: str) -> list[tuple[list[str], bool]]:
    """For each pickle of a file: the names that it lists, and whether it is complete. Looking is not unpickling."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return [_globals_of_pickle(archive.open(name)) for name in archive.namelist()
                    if name.partition('/')[2] == 'data.pkl']
    with open(path, 'rb') as file:  # magic number, protocol version, machine, checkpoint: a pickle each
        return [_globals_of_pickle(file) for _ in range(4)]


def _refused_types(found: list[tuple[list[str], bool]], error: Exception) -> str:
    """The types on account of which a checkpoint was refused, or nothing if that was not the cause of the error."""
    if isinstance(error, _Refused):
        return str(error)
    if not isinstance(error, pickle.UnpicklingError):
        return ''
    # torch's message names the first type only and differs from release to release.
    if foreign := sorted({name for names, _ in found for name in names if _is_foreign(name)}):
        return ', '.join(foreign)
    if not all(whole for _, whole in found):
        return ''
    # What is made of allowed types need not be allowed itself; then torch's own reason tells.
    reason = str(error).partition('WeightsUnpickler error: ')[2]
    kind = re.search(r"<class '(.+?)'>", reason)
    harmless = reason.startswith('Unsupported global') or (kind and kind[1] in _PLAIN_TYPES)
    if operand := re.match(r'Unsupported operand (\d+)', reason):
        harmless = bytes([int(operand[1])]) not in _MAKES_OBJECTS
    return '' if harmless or not reason else kind[1] if kind else _first_line(reason)


def _is_foreign(name: str) -> bool:
    """Whether a name in a pickle is that of a type that is not allowed, not a damaged one of an allowed type."""
    if name in _all_globals() or not all(part.isidentifier() for part in name.split('.')):
        return False
    module, _, attribute = name.rpartition('.')
    known = hasattr(sys.modules.get(module), attribute)
    return known or not difflib.get_close_matches(name, _all_globals(), 1, .9)


def _globals_of_pickle(file) -> tuple[list[str], bool]:
    """The names that a pickle lists, and whether it is complete."""
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
    except Exception:  # a damaged one raises nearly anything: what was found so far has to do
        return names, False
    return names, True
