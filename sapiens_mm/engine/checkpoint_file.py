"""Checkpoint files: checks of what a file is, and safe reading of those of torch.save, safetensors and TorchScript."""
import os.path as osp
import zipfile
from typing import Any

import numpy as np
import torch

from ..utils.text import first_line
from .safe_pickle import CheckpointError, MapLocation, UnsafeCheckpointError, load_pickle
from .torchscript import read_torchscript

__all__ = ['check_signature', 'check_whole', 'read_checkpoint_file']

_LEGACY_MAGIC = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'  # how torch.save began a file before torch 1.6


def read_checkpoint_file(path: str, map_location: MapLocation = 'cpu') -> dict:
    """Returns the dict in a file of ``torch.save`` (zip, or the format before torch 1.6) or a ``.safetensors`` file, or
    that of :func:`~.torchscript.read_torchscript`.

    Raises:
        FileNotFoundError: The file is missing.
        CheckpointError: The file is damaged or not a checkpoint.
        UnsafeCheckpointError: The file holds a type that is not allowed.
    """
    check_signature(path)
    checkpoint = (_read_safetensors if path.endswith('.safetensors') else _read_pickle)(path, map_location)
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{path}: got a {type(checkpoint).__name__}, expected a model's state_dict() or a dict "
                              "with one under 'state_dict'; get another file")
    return checkpoint


def check_signature(path: str, name: str | None = None) -> None:
    """Recognizes by its first bytes what is commonly mistaken for a checkpoint.

    Raises:
        CheckpointError: The file, called ``name`` in the message, is empty, a Git LFS pointer or a web page.
    """
    name = name or path
    with open(path, 'rb') as file:
        head = file.read(512)
    if not head:
        raise CheckpointError(f'{name} is empty; get it again')
    if head.startswith(b'version https://git-lfs'):
        raise CheckpointError(f"{name} is a Git LFS pointer, not the weights; run 'git lfs pull' where it was cloned")
    if head.lstrip().lower().startswith((b'<!doctype', b'<html', b'<?xml')):
        raise CheckpointError(f'{name} is a web page, not a checkpoint; open its address in a browser to see what it '
                              'says (a login, a moved file), and get the file itself')


def check_whole(path: str, name: str | None = None, contents: bool = False) -> None:
    """Checks that a checkpoint file is complete: a zip by its table of contents, other kinds by reading them.

    Args:
        path: The file.
        name: What messages call it.
        contents: Whether the members of a zip are compared with their checksums, where it has any. This reads the
            file once, in pieces.

    Raises:
        CheckpointError: The file, called ``name`` in the message, is damaged or not a checkpoint.
    """
    try:
        check_signature(path)
        with open(path, 'rb') as file:
            zipped = file.read(2) == b'PK'
        if (name or path).partition('?')[0].endswith('.safetensors'):
            _read_safetensors(path, 'meta')
        elif not zipped:
            _read_pickle(path, 'cpu')
        else:
            _zip_members(path)
            if contents:
                _check_contents(path)
    except UnsafeCheckpointError:
        pass  # complete, whatever it holds
    except CheckpointError as error:
        raise CheckpointError(str(error).replace(path, name or path)) from error


def _read_safetensors(path: str, map_location: MapLocation) -> dict[str, torch.Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise CheckpointError(f'{path} needs safetensors: pip install safetensors') from error
    try:
        tensors = load_file(path)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f'{path} is truncated or not a safetensors file ({first_line(error)}); get it '
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
            raise CheckpointError(f'{path} is a zip archive, but not one of torch.save; if the checkpoint is packed in '
                                  'it, unpack it')
        if 'constants.pkl' in members:
            return read_torchscript(path, map_location)
    elif head != _LEGACY_MAGIC:
        raise CheckpointError(f'{path}: got a file that begins with {head[:8]!r}, expected one of torch.save or a '
                              '.safetensors file; get it again, or convert it')
    checkpoint = load_pickle(path, map_location)
    size = _tensor_bytes(checkpoint)
    if size > osp.getsize(path):
        # torch allocates a storage as large as a tensor claims, with whatever the memory held.
        raise CheckpointError(f'{path} has {osp.getsize(path)} bytes, but tensors of {size}; get the original file')
    return checkpoint


def _zip_members(path: str) -> list[str]:
    """Names of the members of a zip archive as torch writes it: one behind the other, only code compressed."""
    try:
        with zipfile.ZipFile(path) as archive, open(path, 'rb') as file:
            members = archive.infolist()
            file.seek(archive.start_dir + 42)
            first = int.from_bytes(file.read(4), 'little')
    except Exception as error:  # a damaged table of contents raises nearly anything
        raise CheckpointError(f'{path} is truncated: the table of contents at its end is missing ({first_line(error)})'
                              '; get it again') from error
    names = [member.filename.partition('/')[2] or member.filename for member in members]
    if any(name in ('archive_format', 'models/model.json', 'serialized_exported_program.json') for name in names):
        raise CheckpointError(f'{path}: got a program of torch.export, expected a checkpoint or a TorchScript archive; '
                              'get the .pth file of this model')
    # A few MB could become any number of GB. TorchScript compresses its code, which is read up to a limit.
    if packed := [name for name, member in zip(names, members)
                  if member.compress_type and not name.startswith('code/')]:
        raise CheckpointError(f'{path} has a compressed {packed[0]}, and torch compresses no tensors; get the '
                              'original file')
    sizes = [member.compress_size if member.compress_type else member.file_size for member in members]
    if sum(sizes) > osp.getsize(path):
        raise CheckpointError(f'{path} has members larger than the file; get it again')
    if members and first != members[0].header_offset:  # torch would read another table than the one checked here
        raise CheckpointError(f'{path} has data before or inside its zip archive; get the original file')
    return [member.filename for member in members]


def _check_contents(path: str) -> None:
    with zipfile.ZipFile(path) as archive:
        for version in [name for name in archive.namelist() if name.endswith('/version')][:1]:
            try:
                archive.read(version)
            except zipfile.BadZipFile:
                return  # written without checksums: torch.serialization.set_crc32_options(False)
        if damaged := archive.testzip():
            raise CheckpointError(f'{path} is damaged in {damaged}; get it again')


def _tensor_bytes(checkpoint: Any) -> int:
    """Bytes of the storages and arrays in nested containers."""
    sizes, seen, stack = {}, set(), [checkpoint]
    while stack:
        item = stack.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            stack += item.values()
        elif isinstance(item, (list, tuple, set)):
            stack += item
        elif isinstance(item, np.ndarray):
            sizes[id(item)] = item.nbytes
        elif isinstance(item, torch.Tensor) and item.layout == torch.strided and not (item.is_meta or item.is_nested):
            storage = item.untyped_storage()
            sizes[storage._cdata] = storage.nbytes()
    return sum(sizes.values())
