"""Weights of models: strict loading, and saving to files."""
import os
import os.path as osp

import torch
import torch.nn as nn
from torch import Tensor

from ..utils.files import replacing
from ..utils.text import count, some
from .safe_pickle import CheckpointError

__all__ = ['check_complete', 'fill_model', 'save_weights']


def fill_model(model: nn.Module, weights: dict[str, Tensor], source: str,
               hint: str = 'use the config and the checkpoint of one training', assign: bool = False) -> None:
    """Loads weights into a model, every tensor of it.

    Args:
        model: Its load hooks may fit the weights first.
        weights: Name -> tensor, names as in the model's state dict.
        source: What error messages call the checkpoint.
        hint: What error messages advise.
        assign: Whether the model takes over the tensors and their dtypes, as a model on the meta device must.

    Raises:
        CheckpointError: Tensors are missing, unexpected, of another shape, or of another kind of dtype.
    """
    _check_kinds(model.state_dict(), weights, source)
    try:
        model.load_state_dict(weights, strict=True, **(dict(assign=True) if assign else {}))
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines()] or [type(error).__name__]
        reason = next((line for line in lines[1:] if line), lines[0])
        reason = reason.rstrip('.') if len(reason) < 200 else f'{reason[:200]} ...'
        raise CheckpointError(f'{source} does not fill {type(model).__name__} ({reason}); {hint}') from error


def check_complete(model: nn.Module, weights: dict[str, Tensor], source: str,
                   hint: str = 'use the config and the checkpoint of one training',
                   ignore: tuple[str, ...] = ()) -> None:
    """Checks that weights have every tensor of a model, in its shape; unexpected tensors are fine.

    Args:
        model: The model.
        weights: Name -> tensor; names may begin with ``'module.'``.
        source: What error messages call the checkpoint.
        hint: What error messages advise.
        ignore: Prefixes of names that are not checked. Nor are BatchNorm's counters of batches, which old files lack.

    Raises:
        CheckpointError: Tensors are missing, of another shape, or of another kind of dtype.
    """
    weights = {name.removeprefix('module.'): value for name, value in weights.items()}
    for hook in model._load_state_dict_pre_hooks.values():  # which rename the keys of old checkpoints
        hook(weights, '', {}, True, [], [], [])
    expected = {name: value for name, value in model.state_dict().items()
                if not name.startswith(ignore) and not name.endswith('num_batches_tracked')}
    weights = {name: value for name, value in weights.items() if name in expected}
    _check_kinds(expected, weights, source)
    missing = [name for name in expected if name not in weights]
    misshaped = [f'{name} {tuple(weights[name].shape)} instead of {tuple(value.shape)}'
                 for name, value in expected.items() if name in weights and weights[name].shape != value.shape]
    if missing or misshaped:
        problems = [f'{what}: {some(names, 3)}'
                    for what, names in (('missing', missing), ('mis-shaped', misshaped)) if names]
        raise CheckpointError(f'{source} does not fill {type(model).__name__} ({"; ".join(problems)}); {hint}')


def _check_kinds(expected: dict[str, Tensor], weights: dict[str, Tensor], source: str) -> None:
    """Refuses what is no tensor, and integers in place of floating-point numbers, which torch would cast silently."""
    wrong = []
    for name, value in weights.items():
        if not isinstance(value, Tensor):
            wrong.append(f'{name} ({type(value).__name__})')
        elif name in expected and value.is_floating_point() != expected[name].is_floating_point():
            wrong.append(f'{name} ({str(value.dtype).removeprefix("torch.")})')
    if wrong:
        raise CheckpointError(f'{source} has {count(len(wrong), "entry", "entries")} of another type than the model: '
                              f'{some(wrong)}; use a checkpoint in float32, float16 or bfloat16')


def save_weights(state_dict: dict[str, Tensor], path: str, metadata: dict[str, str] | None = None) -> None:
    """Writes tensors to a file, atomically.

    Args:
        state_dict: Name -> tensor, on any device.
        path: The file, ``.pth`` or ``.safetensors``; its folder is made.
        metadata: Further metadata of a ``.safetensors`` file.

    Raises:
        ValueError: ``path`` has another suffix.
        OSError: The file cannot be written.
    """
    suffix = osp.splitext(path)[1]
    if suffix not in ('.pth', '.safetensors'):
        raise ValueError(f"path: got '{path}', expected a name that ends in .pth or .safetensors")
    os.makedirs(osp.dirname(osp.abspath(path)), exist_ok=True)
    # Copies, since a view would bring its whole storage.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state_dict.items()}
    with replacing(path) as part:
        open(part, 'wb').close()  # the libraries' own errors do not name the file
        if suffix == '.pth':
            torch.save(tensors, part)
        else:
            from safetensors.torch import save_file
            save_file(tensors, part, metadata={'format': 'pt', **(metadata or {})})
