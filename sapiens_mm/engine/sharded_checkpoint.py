"""Sharded checkpoints: folders that all processes of a run write, in the format of ``torch.distributed.checkpoint``.

Tensors are in ``*.distcp`` with ``.metadata`` as their table of contents, everything else in ``rest.pth``. torch
unpickles the table and values that are not tensors without restriction. Here the table may hold torch's own
descriptions of tensors only and other values are refused, so a folder cannot run code.
"""
import contextlib
import functools
import math
import os
import os.path as osp
import pathlib
import pickle
import warnings
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from mmengine.dist import barrier, is_main_process
from torch.distributed.checkpoint import metadata as dcp_types
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.serialization import _get_layout

from ..utils.files import replacing
from ..utils.text import first_line
from ..version import require_torch
from .checkpoint_file import check_whole, read_checkpoint_file
from .safe_pickle import CheckpointError, ListedUnpickler, Refused, UnsafeCheckpointError

#: The first with public FSDP2, ``distribute_tensor`` of local tensors, and the table format that is read here.
OLDEST_TORCH = '2.7'
_TABLE, _REST = '.metadata', 'rest.pth'


def is_sharded(path: str) -> bool:
    """Whether a path is a sharded checkpoint with its table and its rest."""
    return osp.isfile(osp.join(path, _TABLE)) and osp.isfile(osp.join(path, _REST))


def check_sharded(folder: str) -> None:
    """Checks by the sizes of its files that a folder is complete; folders of other formats pass.

    Raises:
        CheckpointError: A file is missing or too short, or the table is damaged.
    """
    names = os.listdir(folder)
    if names and not any(name in (_TABLE, _REST) or name.endswith('.distcp') for name in names):
        return
    if not is_sharded(folder):
        raise CheckpointError(f'{folder} lacks {_TABLE} or {_REST}; get it again')
    check_whole(osp.join(folder, _REST), contents=True)
    _SafeReader(folder).read_metadata()


def save_sharded(folder: str, tensors: dict, rest: dict) -> None:
    """Writes a checkpoint; all processes call it. If interrupted, an existing folder of that name is unchanged.

    Args:
        folder: On a file system that all processes share.
        tensors: Nested dicts of tensors, of which each process writes its own shards.
        rest: Everything else, written by the main process.
    """
    require_torch(OLDEST_TORCH, f'{folder} as a sharded checkpoint')
    main = is_main_process()
    with replacing(folder) if main else contextlib.nullcontext(f'{folder}.part') as part:
        barrier()  # the main process has removed the leftovers of an interrupted run
        dcp.save(tensors, checkpoint_id=part)  # returns once all processes are done
        if main:
            torch.save(rest, osp.join(part, _REST))
    barrier()


def read_table(folder: str) -> dict[str, dcp_types.TensorStorageMetadata]:
    """Returns name -> description (``size``, ``properties.dtype``) of all tensors; names are nested keys with dots.

    Raises:
        CheckpointError: The table is damaged.
        UnsafeCheckpointError: The table lists other values than tensors.
    """
    return _SafeReader(folder).read_metadata().state_dict_metadata


def read_rest(folder: str) -> dict:
    """Returns what the folder holds besides tensors."""
    return read_checkpoint_file(osp.join(folder, _REST))


def load_sharded(folder: str, tensors: dict, alone: bool = False) -> None:
    """Reads tensors in place, whatever number of processes wrote them.

    Args:
        folder: The folder.
        tensors: Nested dicts of tensors with the shapes in the folder; each process reads its shards.
        alone: Whether only this process reads; otherwise all processes call this.

    Raises:
        CheckpointError: Tensors or files are missing, or files are damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'torch.distributed is')  # that one process reads
            dcp.load(tensors, storage_reader=_SafeReader(folder), no_dist=alone)
    except dcp.api.CheckpointException as error:
        causes = '; '.join(f'process {rank}: {first_line(cause)}' for rank, (cause, *_) in error.failures.items())
        raise CheckpointError(f'{folder} cannot be read ({causes}); get it again, or use another') from error


def read_sharded(folder: str) -> dict[str, Any]:
    """Returns the model's tensors, whole and on the CPU, as ``state_dict``, and what the folder holds besides tensors.

    Of ``optimizer``, that is the parameter groups without their state.
    """
    prefix = 'state_dict.'
    state_dict = {name[len(prefix):]: torch.empty(entry.size, dtype=entry.properties.dtype)
                  for name, entry in read_table(folder).items() if name.startswith(prefix)}
    load_sharded(folder, dict(state_dict=state_dict), alone=True)
    return {**read_rest(folder), 'state_dict': state_dict}


class _TableUnpickler(ListedUnpickler):
    """Unpickles descriptions of tensors only."""

    @staticmethod
    @functools.cache
    def listed() -> dict[str, Any]:
        types = (dcp_types.Metadata, dcp_types.MetadataIndex, dcp_types.TensorStorageMetadata,
                 dcp_types.BytesStorageMetadata, dcp_types.ChunkStorageMetadata, dcp_types.TensorProperties,
                 dcp_types.StorageMeta, dcp_types._MEM_FORMAT_ENCODING, _StorageInfo, torch.Size, _get_layout,
                 pathlib.PosixPath, pathlib.WindowsPath)
        dtypes = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
        return {**{f'{item.__module__}.{item.__qualname__}': item for item in types}, **dtypes}


class _SafeReader(dcp.FileSystemReader):
    """Reads tensors only."""

    def read_metadata(self, *args, **kwargs) -> dcp_types.Metadata:
        path = osp.join(self.path, _TABLE)
        try:
            require_torch(OLDEST_TORCH, f'{self.path} as a sharded checkpoint')
        except ImportError as error:
            raise CheckpointError(str(error)) from error
        try:
            with open(path, 'rb') as file:
                table = _TableUnpickler(file).load()
            others = [name for name, entry in table.state_dict_metadata.items()
                      if type(entry) is not dcp_types.TensorStorageMetadata]
            if not others:
                _check_table(table, self.path)
        except CheckpointError:
            raise
        except (Refused, pickle.UnpicklingError) as error:
            raise UnsafeCheckpointError(f'{path}: got {first_line(error)}, expected a table of tensors; get the folder '
                                        'again') from error
        except Exception as error:  # a damaged pickle raises nearly anything
            raise CheckpointError(f'{path} cannot be read ({type(error).__name__}: {first_line(error)}); get the '
                                  'folder again, or use another') from error
        if others:
            raise UnsafeCheckpointError(f"{path} lists '{others[0]}', which is not a tensor and could run code on "
                                        'loading')
        table.storage_meta = dcp_types.StorageMeta(load_id=self.load_id)
        return table


def _check_table(table: dcp_types.Metadata, folder: str | os.PathLike) -> None:
    """Checks that the files have every element of every tensor: torch would leave the others uninitialized.

    Raises:
        CheckpointError: Elements are missing, or a file is too short.
        Exception: Of nearly any type, where the table has other content.
    """
    sizes = {}
    for index, info in table.storage_data.items():
        name = info.relative_path
        if name not in sizes:
            path = osp.join(folder, name)
            if name != osp.basename(name):
                raise CheckpointError(f'{folder} names a file outside of it, {name!r}; get it again')
            sizes[name] = osp.getsize(path) if osp.isfile(path) else 0
        if not 0 <= info.offset <= info.offset + info.length <= sizes[name]:
            raise CheckpointError(f'{osp.join(folder, name)} has {sizes[name]} of at least {info.offset + info.length} '
                                  f'bytes, with those of {index.fqn!r}; get it again')
    for name, entry in table.state_dict_metadata.items():
        boxes = {(tuple(chunk.offsets), tuple(chunk.sizes)) for chunk in entry.chunks}
        if not isinstance(name, str) or not _covers(tuple(entry.size), boxes):
            raise CheckpointError(f'{folder} has only parts of {name!r}, whose size is {tuple(entry.size)}; get it '
                                  'again')
        for offsets, shape in boxes:
            info = table.storage_data[dcp_types.MetadataIndex(name, torch.Size(offsets))]
            if math.prod(shape) * entry.properties.dtype.itemsize > info.length:
                raise CheckpointError(f'{folder} has {info.length} bytes for {shape} elements of {name!r}; get it '
                                      'again')


def _covers(size: tuple[int, ...], boxes: set[tuple[tuple, tuple]]) -> bool:
    """Whether boxes (offsets, sizes) fill an array, each element once."""
    for offsets, shape in boxes:
        if not all(0 <= begin <= begin + length <= end
                   for begin, length, end in zip(offsets, shape, size, strict=True)):
            return False
    boxes = sorted((offsets, shape) for offsets, shape in boxes if 0 not in shape)
    if min(size, default=0) < 0 or sum(math.prod(shape) for _, shape in boxes) != math.prod(size):
        return False
    recent = []  # boxes that the next ones along the first axis may overlap
    for offsets, shape in boxes if size else ():
        recent = [(others, lengths) for others, lengths in recent if others[0] + lengths[0] > offsets[0]]
        if any(all(begin < other + step and other < begin + length for begin, length, other, step
                   in zip(offsets, shape, others, lengths, strict=True)) for others, lengths in recent):
            return False
        recent.append((offsets, shape))
    return True
