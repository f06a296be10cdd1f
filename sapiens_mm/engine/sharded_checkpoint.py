"""Checkpoints that all processes of a run write together: folders in the format of ``torch.distributed.checkpoint``.

Tensors are in ``*.distcp`` with ``.metadata`` as their table of contents, everything else in ``rest.pth``. torch reads
the table as an ordinary pickle and values that are no tensors too; here the table may name torch's own descriptions of
tensors only, and such values are refused. So what :mod:`sapiens_mm.engine.checkpoint` promises holds: a folder cannot
run code.
"""
import functools
import math
import os
import os.path as osp
import pathlib
import pickle
import shutil
import warnings
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from mmengine.dist import barrier, is_main_process
from torch.distributed.checkpoint import metadata as dcp_types
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.serialization import _get_layout

from ..version import require_torch
from .checkpoint import (
    CheckpointError,
    UnsafeCheckpointError,
    _first_line,
    _ListedUnpickler,
    _Refused,
    check_whole,
    load_checkpoint_file,
)

#: Has FSDP2 in public, ``distribute_tensor`` of what each process has, and writes tables as they are read here.
OLDEST_TORCH = '2.7'
_TABLE, _REST = '.metadata', 'rest.pth'


def is_sharded(path: str) -> bool:
    """Whether a path is such a folder, and complete."""
    return osp.isfile(osp.join(path, _TABLE)) and osp.isfile(osp.join(path, _REST))


def check_sharded(folder: str) -> None:
    """Checks by the sizes of its files that a folder is complete; one of another format is taken as it is.

    Raises:
        CheckpointError: It is not, or its table is damaged.
    """
    names = os.listdir(folder)
    if names and not any(name in (_TABLE, _REST) or name.endswith('.distcp') for name in names):
        return
    if not is_sharded(folder):
        raise CheckpointError(f'{folder} lacks {_TABLE} or {_REST}; get it again')
    check_whole(osp.join(folder, _REST), contents=True)
    _SafeReader(folder).read_metadata()


def save_sharded(folder: str, tensors: dict, rest: dict) -> None:
    """Writes a folder; all processes call it. Where that is interrupted, a folder of that name is what it was before.

    Args:
        folder: On a file system that all processes share.
        tensors: Nested dicts of tensors, of which each process writes its own shards.
        rest: Everything else, written by the main process.
    """
    require_torch(OLDEST_TORCH, f'{folder} is to be a checkpoint of shards')
    part = f'{folder}.part'
    if is_main_process():
        shutil.rmtree(part, ignore_errors=True)
    barrier()
    dcp.save(tensors, checkpoint_id=part)  # ends once all are done
    if is_main_process():
        torch.save(rest, osp.join(part, _REST))
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(part, folder)
    barrier()


def read_table(folder: str) -> dict[str, dcp_types.TensorStorageMetadata]:
    """Name -> description (``size``, ``properties.dtype``) of all tensors; names are the dicts' keys with dots.

    Raises:
        CheckpointError: The table is damaged.
        UnsafeCheckpointError: It holds something else than tensors.
    """
    return _SafeReader(folder).read_metadata().state_dict_metadata


def read_rest(folder: str) -> dict:
    """What is in the folder besides tensors."""
    return load_checkpoint_file(osp.join(folder, _REST))


def load_sharded(folder: str, tensors: dict, alone: bool = False) -> None:
    """Reads tensors in place, whatever number of processes wrote them.

    Args:
        folder: The folder.
        tensors: Nested dicts of tensors with the shapes in the folder; of sharded ones each process reads its share.
        alone: Whether one process reads by itself; else all call this.

    Raises:
        CheckpointError: Tensors are not there, or files are damaged or missing.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'torch.distributed is')  # that it reads alone
            dcp.load(tensors, storage_reader=_SafeReader(folder), no_dist=alone)
    except dcp.api.CheckpointException as error:
        causes = '; '.join(f'process {rank}: {_first_line(cause)}' for rank, (cause, *_) in error.failures.items())
        raise CheckpointError(f'{folder} cannot be read ({causes}); get it again, or go on from another') from error


def read_sharded(folder: str) -> dict[str, Any]:
    """The model's tensors, whole and on the CPU, as ``state_dict``, and what is in the folder besides tensors.

    The optimizer's tensors stay where they are: of ``optimizer`` there are the parameter groups only.
    """
    prefix = 'state_dict.'
    state_dict = {name[len(prefix):]: torch.empty(entry.size, dtype=entry.properties.dtype)
                  for name, entry in read_table(folder).items() if name.startswith(prefix)}
    load_sharded(folder, dict(state_dict=state_dict), alone=True)
    return {**read_rest(folder), 'state_dict': state_dict}


class _TableUnpickler(_ListedUnpickler):
    """Unpickles descriptions of tensors only."""

    @staticmethod
    @functools.cache
    def listed() -> dict[str, Any]:
        own = (dcp_types.Metadata, dcp_types.MetadataIndex, dcp_types.TensorStorageMetadata,
               dcp_types.BytesStorageMetadata, dcp_types.ChunkStorageMetadata, dcp_types.TensorProperties,
               dcp_types.StorageMeta, dcp_types._MEM_FORMAT_ENCODING, _StorageInfo, torch.Size, _get_layout,
               pathlib.PosixPath, pathlib.WindowsPath)
        dtypes = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
        return {**{f'{item.__module__}.{item.__qualname__}': item for item in own}, **dtypes}


class _SafeReader(dcp.FileSystemReader):
    """Reads torch's folders, of which it takes tensors alone."""

    def read_metadata(self, *args, **kwargs) -> dcp_types.Metadata:
        path = osp.join(self.path, _TABLE)
        try:
            require_torch(OLDEST_TORCH, f'{self.path} is a checkpoint of shards')
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
        except (_Refused, pickle.UnpicklingError) as error:
            raise UnsafeCheckpointError(f'{path} is more than a list of tensors ({_first_line(error)}), or damaged; '
                                        'get the folder again') from error
        except Exception as error:  # a damaged pickle raises nearly anything
            raise CheckpointError(f'{path} cannot be read ({type(error).__name__}: {_first_line(error)}); get the '
                                  'folder again, or go on from another') from error
        if others:
            raise UnsafeCheckpointError(f"{path} lists '{others[0]}', which is no tensor and could run code on loading")
        table.storage_meta = dcp_types.StorageMeta(load_id=self.load_id)
        return table



def _check_table(table: dcp_types.Metadata, folder: str | os.PathLike) -> None:
    """Checks that the files have every element of every tensor: torch would leave others as the memory was.

    Raises:
        CheckpointError: Elements are not there, or a file is too short.
        Exception: Of nearly any type: the table is no table.
    """
    sizes = {}
    for index, info in table.storage_data.items():
        name = info.relative_path
        if name not in sizes:
            path = osp.join(folder, name)
            if name != osp.basename(name):
                raise CheckpointError(f'{folder} names a file elsewhere, {name!r}; get it again')
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
    reached = []  # those that the next ones along the first axis may overlap
    for offsets, shape in boxes if size else ():
        reached = [(others, lengths) for others, lengths in reached if others[0] + lengths[0] > offsets[0]]
        if any(all(begin < other + step and other < begin + length for begin, length, other, step
                   in zip(offsets, shape, others, lengths, strict=True)) for others, lengths in reached):
            return False
        reached.append((offsets, shape))
    return True
