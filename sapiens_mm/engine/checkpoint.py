"""Checkpoint loading from files, folders of shards, the web and the Hugging Face Hub, without running code.

Importing this module registers its reader with MMEngine's ``CheckpointLoader``, so ``init_cfg=dict(type='Pretrained',
...)``, ``load_from``, ``--resume`` and ``load_checkpoint`` accept local paths, ``http(s)://`` and ``hf://`` addresses
in any host. The loader that was registered before is tried first, so a host's own files load and fail as before; ours
reads what that one cannot (``.safetensors``, TorchScript, folders, MMEngine's own runs with torch 2.6 or later). In our
tools (:func:`refuse_foreign_files`) only ours is used. Other schemes (``s3://``, ``torchvision://``,
``openmmlab://``) stay MMEngine's.
"""
import contextlib
import glob
import os
import os.path as osp
import re
from collections import OrderedDict
from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader

from ..utils.text import some
from .checkpoint_file import read_checkpoint_file
from .fetch import fetch_file, fetch_weights
from .safe_pickle import CheckpointError, MapLocation, UnsafeCheckpointError
from .torchscript import is_torchscript

__all__ = ['CheckpointError', 'UnsafeCheckpointError', 'load_checkpoint_file', 'refuse_foreign_files']

_ours_alone = False


def load_checkpoint_file(source: str | os.PathLike, map_location: MapLocation = 'cpu') -> dict:
    """Reads a checkpoint.

    Args:
        source: A path, ``http(s)://`` or ``hf://`` address, of a file, a sharded run's folder, or a folder or
            repository of transformers.
        map_location: Where the tensors go, as for :func:`torch.load`; for ``.safetensors`` and TorchScript a device.
            The tensors of a sharded run's folder stay on the CPU.

    Returns:
        The dict that was saved (of a folder without the optimizer's tensors), with what it has under ``'model'`` under
        ``'state_dict'`` too. If its state dict is that of a bare backbone, its ``_metadata`` also offers it to
        backbones inside of larger models (see :class:`_BareMetadata`).

    Raises:
        FileNotFoundError: The local file is missing.
        CheckpointError: The file cannot be fetched, is damaged or not a checkpoint.
        UnsafeCheckpointError: The file holds a type that is not allowed.
    """
    path = fetch_weights(os.fspath(source))
    if osp.isdir(path) and (files := _weight_files(path)):
        parts = [read_checkpoint_file(file, map_location) for file in files]
        return _as_mmengine_expects({name: tensor for part in parts for name, tensor in part.items()})
    if osp.isdir(path):
        from .sharded_checkpoint import is_sharded, read_sharded  # slow to import, and not in every build of torch
        if not is_sharded(path):
            raise CheckpointError(f'checkpoint: got the folder {path}, expected a file; name the checkpoint file in it')
        return _as_mmengine_expects(read_sharded(path))
    if not osp.isfile(path):
        where = '' if osp.isabs(path) else f' in {os.getcwd()}'
        raise FileNotFoundError(f"no checkpoint file '{path}'{where}; check the path")
    return _as_mmengine_expects(read_checkpoint_file(path, map_location))


def _weight_files(folder: str) -> list[str]:
    """The files in a folder of transformers that make up one model."""
    found = (sorted(glob.glob(osp.join(glob.escape(folder), pattern)))
             for pattern in ('model*.safetensors', '*.safetensors'))
    files = next((files for files in found if files), [])
    if len({re.sub(r'-\d+-of-\d+', '', file) for file in files}) > 1:
        raise CheckpointError(f'{folder}: got {len(files)} models ({some(map(osp.basename, files))}), expected one; '
                              'name its file')
    return files


def _as_mmengine_expects(checkpoint: dict) -> dict:
    """A checkpoint with its weights where MMEngine looks, and those of a bare backbone for any module."""
    if 'state_dict' not in checkpoint and isinstance(checkpoint.get('model'), dict):
        checkpoint = {**checkpoint, 'state_dict': checkpoint['model']}
    if isinstance(checkpoint.get('state_dict'), dict):
        return {**checkpoint, 'state_dict': _BareMetadata.attach(checkpoint['state_dict'])}
    return _BareMetadata.attach(checkpoint)


#: What tells a backbone: of Sapiens, of Sapiens2 as released, and of Sapiens2 in transformers.
_BACKBONES = ({'pos_embed', 'patch_embed.projection.weight'}, {'storage_tokens', 'patch_embed.projection.weight'},
              {'embeddings.register_tokens', 'embeddings.patch_embeddings.weight'})


class _BareMetadata(OrderedDict):
    """State-dict metadata that hands a bare backbone's weights to any module that asks for them.

    The public ``*_clean.pth`` files have no prefix, so with ``load_from`` no submodule of a pose estimator would see
    their keys. But torch and MMEngine do hand each submodule its entry of the metadata.
    """
    key = 'bare_backbone'

    @classmethod
    def attach(cls, state_dict: dict) -> dict:
        if not any(names <= state_dict.keys() for names in _BACKBONES):
            return state_dict
        metadata = cls(getattr(state_dict, '_metadata', None) or {})
        metadata.state_dict = dict(state_dict)
        state_dict = OrderedDict(state_dict)
        state_dict._metadata = metadata
        return state_dict

    def get(self, name: str, default: dict | None = None) -> dict:
        return {**(super().get(name) or {}), self.key: self.state_dict}

    def __reduce__(self):  # saved again, it is ordinary metadata
        return OrderedDict, (list(self.items()), )


def refuse_foreign_files() -> None:
    """Makes our reader the only one of this process, for good.

    Elsewhere MMEngine's ``load_checkpoint`` gives a host's own files to the host's loader, which runs code in them if
    torch is older than 2.6 or ``TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD`` is set. Our tools run no code from a file.
    """
    global _ours_alone
    _ours_alone = True


def _register(name: str, *prefixes: str) -> None:
    """Registers a loader for the files that the present one does not read, and for Sapiens backbones."""
    before = CheckpointLoader._schemes.get(prefixes[0])

    def load(filename: str, map_location: MapLocation = None) -> Any:
        if before is None or _ours_alone or _is_ours(filename):
            checkpoint = load_checkpoint_file(filename, map_location)
            # MMEngine's EMAHook needs this key.
            return checkpoint if 'state_dict' in checkpoint else dict(state_dict=checkpoint)
        read = before
        if '' not in prefixes:
            # A server that our download cannot handle is left to the host's own loader.
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
        return _as_mmengine_expects(checkpoint) if _has_backbone(checkpoint) else checkpoint

    load.__name__ = f'load_from_{name}'  # MMEngine logs the part behind `load_from_`
    CheckpointLoader.register_scheme(prefixes, load, force=True)


def _is_ours(filename: str) -> bool:
    """Whether MMEngine has no reader for a file: ``.safetensors``, TorchScript, and folders of shards."""
    path = osp.expanduser(filename)
    return (filename.partition('?')[0].endswith('.safetensors') or osp.isfile(osp.join(path, '.metadata'))
            or is_torchscript(path))


def _has_backbone(checkpoint: Any) -> bool:
    """Whether a checkpoint holds a Sapiens backbone, by itself or in a model."""
    if not isinstance(checkpoint, dict):
        return False
    weights = checkpoint.get('state_dict', checkpoint.get('model', checkpoint))
    return isinstance(weights, dict) and any(
        {f'{prefix}{name}' for name in names} <= weights.keys() for names in _BACKBONES
        for prefix in ('', 'backbone.', 'module.', 'module.backbone.', 'vit.', 'backbone.vit.'))


_register('local', '')
_register('http', 'http://', 'https://')
_register('hugging_face', 'hf://')
