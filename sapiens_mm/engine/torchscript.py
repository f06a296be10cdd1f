"""TorchScript archives: their weights, read without running their code."""
import re
import zipfile
from collections import OrderedDict
from typing import Any, NamedTuple

import torch

from ..utils.text import first_line
from .safe_pickle import CheckpointError, ListedUnpickler, MapLocation, Refused, UnsafeCheckpointError

__all__ = ['is_torchscript', 'read_torchscript']

_DTYPES = {f'torch.{name}Storage': dtype for name, dtype in (
    ('Float', torch.float32), ('Half', torch.float16), ('BFloat16', torch.bfloat16), ('Double', torch.float64),
    ('Long', torch.int64), ('Int', torch.int32), ('Short', torch.int16), ('Char', torch.int8), ('Byte', torch.uint8),
    ('Bool', torch.bool))}
_MAX_VALUES, _MAX_NAME = 100_000, 1000  # modules that share others could have endlessly many, or endless names
_MAX_CODE = 1 << 20  # bytes of one file
#: Modules of MMEngine's models whose buffers no state dict has, though a trace does.
_NOT_SAVED = {'data_preprocessor', 'loss_decode'}
# Stride and padding of a convolution that is not transposed, as a trace writes it.
_CONVOLUTION = re.compile(r'torch\._convolution\([^\[\]()]*, \[(\d+), \1\], \[(\d+), \2\], \[1, 1\], False')


class _Module:
    """An object of a class that the archive defines."""

    def __setstate__(self, state: Any):
        if type(state) is not dict or not all(type(name) is str for name in state):
            raise Refused(f'an object made of a {type(state).__name__}')
        self.values = state


class _Storage(NamedTuple):
    dtype: torch.dtype
    key: str
    numel: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild_tensor(storage: _Storage, offset: int, size: tuple, stride: tuple, *_) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise Refused(f'a tensor made of a {type(storage).__name__}')
    return _Tensor(storage, offset, size, stride)


class _Unpickler(ListedUnpickler):
    """Unpickles modules and tensors; nothing of what an archive names is imported or called."""
    _LISTED = {'__torch__': _Module, 'torch._utils._rebuild_tensor_v2': _rebuild_tensor,
               'collections.OrderedDict': OrderedDict, **_DTYPES}

    @classmethod
    def listed(cls) -> dict[str, Any]:
        return cls._LISTED

    def find_class(self, module: str, name: str) -> Any:
        if module.partition('.')[0] == '__torch__':
            return _Module
        try:
            return self._LISTED[f'{module}.{name}']
        except KeyError:
            raise Refused(f'{module}.{name}') from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, numel = pid
        if kind != 'storage' or not isinstance(dtype, torch.dtype) or type(numel) is not int:
            raise Refused(f'a {kind} of {dtype}')
        return _Storage(dtype, key, numel)


def is_torchscript(path: str) -> bool:
    """Returns whether a file is a zip archive of TorchScript, by its table of contents."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {'data.pkl', 'constants.pkl'} <= {name.partition('/')[2] for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return False


def read_torchscript(path: str, map_location: MapLocation) -> dict:
    """Returns the tensors of a TorchScript module, named as in its state dict, under ``'state_dict'``.

    ``meta`` has ``patch_padding``, the padding of the convolution whose stride is 16, if the code has one. Each storage
    is read once; ``map_location`` is a device. Raises an UnsafeCheckpointError for an object that no module has, and a
    CheckpointError for a damaged archive, or one without named tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.partition('/')[2] == 'data.pkl']
            if len(pickles) != 1:
                raise ValueError(f'it has {len(pickles)} modules')
            folder = pickles[0].partition('/')[0]
            with archive.open(pickles[0]) as file:
                tensors = _named_tensors(_Unpickler(file).load())
            weights = _read_tensors(archive, folder, tensors, map_location)
            meta = _patch_padding(archive, folder)
    except Refused as error:
        raise UnsafeCheckpointError(f'{path}: got {error} in a TorchScript archive, expected modules, tensors and '
                                    'plain values; get the original file') from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise CheckpointError(f'{path} cannot be read ({type(error).__name__}: {first_line(error)}); if it is '
                              'damaged, get it again') from error
    if not weights:
        raise CheckpointError(f'{path}: got a TorchScript module without named tensors, as torch.jit.freeze makes it, '
                              'expected one with weights; get the file from before freezing, or the .pth file')
    return dict(state_dict=weights, meta=meta)


def _named_tensors(module: Any) -> dict[str, _Tensor]:
    if not isinstance(module, _Module):
        raise Refused(f'a {type(module).__name__}')
    tensors, rest, left = {}, [('', module)], _MAX_VALUES
    while rest and left:
        left -= 1
        name, value = rest.pop()
        if len(name) > _MAX_NAME:
            raise ValueError('its modules contain themselves')
        if isinstance(value, _Tensor):
            tensors[name] = value
        elif isinstance(value, _Module):
            prefix = f'{name}.' if name else ''
            rest += [(prefix + key, item) for key, item in reversed(getattr(value, 'values', {}).items())
                     if key not in _NOT_SAVED]
    if rest:
        raise ValueError(f'it has over {_MAX_VALUES} values')
    return tensors


def _read_tensors(archive: zipfile.ZipFile, folder: str, tensors: dict[str, _Tensor], map_location: MapLocation
                  ) -> 'OrderedDict[str, torch.Tensor]':
    if f'{folder}/byteorder' in archive.namelist() and archive.read(f'{folder}/byteorder') != b'little':
        raise ValueError('its numbers are big-endian')
    device = map_location if isinstance(map_location, (str, torch.device)) else 'cpu'
    storages, weights = {}, OrderedDict()
    for name, (storage, offset, size, stride) in tensors.items():
        if storage not in storages:
            storages[storage] = _read_storage(archive, f'{folder}/data/{storage.key}', storage).to(device)
        weights[name] = storages[storage].as_strided(size, stride, offset)  # refuses what exceeds the storage
    return weights


def _read_storage(archive: zipfile.ZipFile, member: str, storage: _Storage) -> torch.Tensor:
    expected, size = storage.numel * storage.dtype.itemsize, archive.getinfo(member).file_size
    if size != expected:
        raise ValueError(f'{member} has {size} bytes instead of {expected}')
    return torch.frombuffer(bytearray(archive.read(member)), dtype=storage.dtype) if size else torch.empty(
        0, dtype=storage.dtype)


def _patch_padding(archive: zipfile.ZipFile, folder: str) -> dict[str, int]:
    for name in archive.namelist():
        if name.startswith(f'{folder}/code/') and name.endswith('.py'):
            with archive.open(name) as file:
                code = file.read(_MAX_CODE).decode(errors='replace')
            for stride, padding in _CONVOLUTION.findall(code):
                if stride == '16':
                    return dict(patch_padding=int(padding))
    return {}
