"""Fitting of public and own checkpoints to a ``SapiensViT`` or ``Sapiens2ViT``, which never leaves it partly random.

``init_cfg=dict(type='Pretrained', checkpoint=...)`` of the backbone calls :func:`load_pretrained_backbone`. Every other
way (``load_from``, ``--resume``, ``load_checkpoint``, ``load_state_dict``) passes :func:`backbone_load_hook`, which the
backbone registers as a pre-hook.
"""
import math
import re

import torch
import torch.nn as nn
from mmengine.logging import print_log
from torch import Tensor

from ..engine.checkpoint import CheckpointError, load_checkpoint_file
from ..engine.weights import save_weights
from ..utils.text import some
from .arch import SAPIENS, SAPIENS2
from .pos_embed import resize_pos_embed

__all__ = [
    'CheckpointMismatch', 'backbone_load_hook', 'describe_checkpoint', 'export_backbone', 'load_pretrained_backbone'
]

StateDict = dict[str, Tensor]
_LANDMARK = 'patch_embed.projection.weight'  # in every backbone of the releases
_SAPIENS2_LANDMARK = 'embeddings.patch_embeddings.weight'  # where it is in every Sapiens2 backbone of transformers
#: What other tensors of a backbone begin with: as SapiensViT, the Sapiens2 release and transformers name them.
_KEYS = ('cls_token', 'pos_embed', 'patch_embed.', 'layers.', 'ln1.', 'storage_tokens', 'blocks.', 'rope_embed.',
         'tokenizer.', 'embeddings.', 'model.layer.', 'norm.')
_BLOCK = re.compile(r'(?:layers|blocks|(?:vit\.)?model\.layer)\.(\d+)\.')
#: Ends of keys by which blocks tell the architecture; widths and depths agree.
_ARCH_MARKS = {'layers.0.attn.qkv.weight': SAPIENS, 'blocks.0.attn.wq.weight': SAPIENS2,
               'layer.0.attention.q_proj.weight': SAPIENS2}
_TYPES = {id(SAPIENS): 'SapiensViT', id(SAPIENS2): 'Sapiens2ViT'}


class CheckpointMismatch(RuntimeError):
    """A checkpoint does not fit the backbone; the message says how and what to change."""


def load_pretrained_backbone(model: nn.Module, checkpoint: str, prefix: str | None = None) -> None:
    """Initializes a backbone from a checkpoint of a backbone or of a whole model.

    Args:
        checkpoint: A path, ``http(s)://`` or ``hf://`` address; weights under ``'state_dict'``, ``'model'`` or at the
            top.
        prefix: Of the backbone's keys; default: ``''`` or ``'backbone.'``, with or without ``'module.'``.
    Raises CheckpointMismatch (a tensor of the backbone would stay random).
    """
    state_dict = _tensors_of(checkpoint)
    if prefix is None:
        prefix = _find_prefix(state_dict) or ''
    elif prefix and not prefix.endswith('.'):
        prefix += '.'
    kind = describe_checkpoint(state_dict, prefix)
    weights = _weights_of(model, state_dict, prefix)
    _fit(model, weights, kind, checkpoint)
    expected = model.state_dict()
    model.load_state_dict({key: value for key, value in weights.items() if key in expected})
    print_log(f'{type(model).__name__}: loaded {len(expected)} tensors from {checkpoint}: {kind}', logger='current')


def export_backbone(checkpoint: str, out: str) -> dict[str, tuple[int, ...]]:
    """Writes a checkpoint's backbone in the layout of the public ``*_clean.pth``; returns name -> shape.

    Cls token and position embedding stay as trained; they are fitted when the file is loaded. A Sapiens2 backbone gets
    the names of transformers, or keeps those of the release.

    Args:
        checkpoint: Of pretraining or any task: a file, a sharded run's folder, ``http(s)://`` or ``hf://`` address.
        out: The file to write, ``.pth`` or ``.safetensors``.
    Raises CheckpointError (no Sapiens backbone) or ValueError (another suffix).
    """
    state_dict = _tensors_of(checkpoint)
    prefix = _find_prefix(state_dict)
    if prefix is None:
        raise CheckpointError(f"{checkpoint} has no Sapiens backbone: got {some(state_dict)}, expected '{_LANDMARK}', "
                              "with or without 'backbone.'")
    weights = {key[len(prefix):]: value for key, value in state_dict.items()
           if key.startswith(prefix) and (prefix or key.startswith(_KEYS))}
    if odd := [key for key, value in weights.items()
               if value.layout != torch.strided or value.is_quantized or value.is_complex()]:
        raise CheckpointError(f'{checkpoint} has no Sapiens backbone: got sparse, quantized or complex tensors '
                              f'({some(odd)}), expected plain ones')
    second = _zoo_of(weights) is SAPIENS2 or _SAPIENS2_LANDMARK in weights
    expected = {_SAPIENS2_LANDMARK if _SAPIENS2_LANDMARK in weights else _LANDMARK: 4}
    for key, dims in (expected if second else {**expected, 'pos_embed': 3}).items():
        if key not in weights or weights[key].dim() != dims:
            shape = tuple(weights[key].shape) if key in weights else 'nothing'
            raise CheckpointError(f"{checkpoint} has no Sapiens backbone: got {shape} as '{key}', "
                                  f'expected {dims} axes')
    save_weights(weights, out)
    return {key: tuple(value.shape) for key, value in weights.items()}


def _tensors_of(checkpoint: str) -> StateDict:
    content = load_checkpoint_file(checkpoint)
    state_dict = content.get('state_dict', content.get('model', content))
    if not isinstance(state_dict, dict):
        raise CheckpointError(f"{checkpoint}: got a {type(state_dict).__name__} as 'state_dict', expected names and "
                              'tensors; use a checkpoint of torch or MMEngine')
    return {key: value for key, value in state_dict.items() if isinstance(key, str) and isinstance(value, Tensor)}


def backbone_load_hook(model: nn.Module, state_dict: StateDict, prefix: str, local_metadata: dict, strict: bool,
                       missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str]) -> None:
    """Fits a state dict, in place, to the backbone just before its tensors are copied, or raises CheckpointMismatch.

    For ``_register_load_state_dict_pre_hook(..., with_module=True)``; arguments of ``Module._load_from_state_dict``,
    with a copy of the state dict. ``strict`` is True whatever the caller chose, and MMEngine only logs ``error_msgs``,
    so a mismatch always raises. Load other parts of a model separately (``model.head.load_state_dict(...)``).
    """
    bare = local_metadata.get('bare_backbone')
    if bare and not any(key.startswith(prefix) for key in state_dict):
        # A backbone's file for a whole model, whose keys MMEngine has already listed as unexpected.
        state_dict.update({prefix + key: value for key, value in bare.items()})
        unexpected_keys[:] = [key for key in unexpected_keys if key not in bare]
    # A backbone by itself may be given a whole model's file.
    source_prefix = prefix or _find_prefix(state_dict) or ''
    kind = describe_checkpoint(state_dict, source_prefix)
    weights = _weights_of(model, state_dict, source_prefix)
    _fit(model, weights, kind, f"The checkpoint's '{prefix}*'" if prefix else 'The checkpoint')
    for key in [key for key in state_dict if key.startswith(prefix)]:
        del state_dict[key]
    state_dict.update({prefix + key: value for key, value in weights.items()})


def describe_checkpoint(state_dict: StateDict, prefix: str | None = None) -> str:
    """Returns what a state dict seems to be: ``'sapiens_0.6b (1280 wide, 32 layers), pose with 308 keypoints'``.
    The ``prefix`` of the backbone's keys is found by default.
    """
    if prefix is None:
        prefix = _find_prefix(state_dict)
    weights = {key[len(prefix or ''):]: value for key, value in state_dict.items() if key.startswith(prefix or '')}
    if prefix is None or _landmark_in(weights) is None:
        return f'no Sapiens backbone (it has {some(state_dict)})'
    zoo, (width, depth) = _zoo_of(weights) or SAPIENS, _size_of(weights)
    text = f'{_arch_name(zoo, width, depth) or "an unknown arch"} ({width} wide, {depth} layers)'
    if zoo is SAPIENS2:
        text += ' of Sapiens2' + (' with the window tokenizer of 4K' if 'tokenizer.w_cls' in weights else '')
    for key, value in state_dict.items():
        if key.endswith(('head.final_layer.weight', 'decode_head.conv_pose.weight')):
            return f'{text}, pose with {len(value)} keypoints'
        if key.endswith('decode_head.conv_seg.weight'):
            task = {1: 'depth', 3: 'surface normals (or 3 classes)'}.get(len(value), f'{len(value)} part classes')
            return f'{text}, {task}'
        if 'neck.decoder_' in key:
            return f'{text}, MAE encoder and decoder'
    return f'{text}, encoder' + (' with cls token' if zoo is SAPIENS and 'cls_token' in weights else '')


def _weights_of(model: nn.Module, state_dict: StateDict, prefix: str) -> StateDict:
    """The backbone's tensors by the model's own names, where they are of its architecture."""
    weights = {key[len(prefix):]: value for key, value in state_dict.items() if key.startswith(prefix)}
    return weights if _zoo_of(weights) not in (None, model.arch_zoo) else model.to_module_keys(weights)


def _fit(model: nn.Module, weights: StateDict, kind: str, source: str) -> None:
    zoo = _zoo_of(weights)
    if zoo not in (None, model.arch_zoo):
        raise CheckpointMismatch(f'{source} does not fit {_describe_model(model)}: got {kind}, which is for '
                                 f'{_TYPES[id(zoo)]}, expected weights for {_TYPES[id(model.arch_zoo)]}; change the '
                                 'type and arch of the backbone, or name another checkpoint')
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    _fit_pos_embed(model, weights, source)
    missing = [key for key in expected if key not in weights]
    unexpected = [key for key in weights if key not in expected]
    misshaped = [f'{key} {tuple(weights[key].shape)} instead of {shape}' for key, shape in expected.items()
                 if key in weights and tuple(weights[key].shape) != shape]
    # Unexpected tensors of blocks mean that the blocks differ. Others are harmless.
    foreign = [key for key in unexpected if key.startswith(
        ('layers.', 'patch_embed.', 'vit.', 'blocks.', 'tokenizer.'))]
    if not (missing or misshaped or foreign):
        return
    lists = [('missing', missing), ('unexpected', unexpected), ('mis-shaped', misshaped)]
    raise CheckpointMismatch(
        ''.join(f'\n  {name} ({len(keys)}): {some(keys)}' for name, keys in lists if keys) +
        f'\n{source} does not fit {_describe_model(model)}: it seems to be {kind}. {_advice(model, weights)}.')


def _fit_pos_embed(model: nn.Module, weights: StateDict, source: str) -> None:
    """Drops a cls token that the model does not have and resizes the position embedding (1, N, C), in place."""
    pos_embed = weights.get('pos_embed')
    if pos_embed is None or pos_embed.dim() != 3 or pos_embed.shape[-1] != model.embed_dims:
        return
    num_extra = int('cls_token' in weights)
    drop_cls = num_extra > 0 and not model.with_cls_token
    if drop_cls:
        del weights['cls_token']
        pos_embed, num_extra = pos_embed[:, 1:], 0
    h, w = model.grid_size
    positions = pos_embed.shape[1] - num_extra
    grid = (h, w) if positions == h * w else _infer_grid(positions, (h, w), source)
    weights['pos_embed'] = resize_pos_embed(pos_embed, grid, (h, w), num_extra_tokens=num_extra)
    changes = ['cls token dropped'] if drop_cls else []
    if grid != (h, w):
        changes.append(f'resized from {grid[0]}x{grid[1]} to {h}x{w}')
    if changes:
        print_log(f'Position embedding of the checkpoint: {", ".join(changes)}', logger='current')


def _infer_grid(positions: int, target: tuple[int, int], source: str) -> tuple[int, int]:
    """The grid (h, w) of a number of positions: a square (pretraining), or 4:3 (fine-tuning) or like the target."""
    side = math.isqrt(positions)
    if side * side == positions:
        return side, side
    grids = set()
    for ratio_h, ratio_w in ((4, 3), target):
        h = math.isqrt(positions * ratio_h // ratio_w)
        if h and positions % h == 0 and h * ratio_w == positions // h * ratio_h:
            grids.add((h, positions // h))
    if len(grids) == 1:
        return grids.pop()
    guesses = ' or '.join(f'{h}x{w}' for h, w in sorted(grids)) or 'neither a square nor 4:3 nor of its shape'
    raise CheckpointMismatch(
        f'{source}: got a position embedding for {positions} patches ({guesses}), expected a grid of '
        f'{target[0]}x{target[1]}; give the backbone the img_size that the checkpoint was trained with, which does not '
        'limit the size of images')


def _find_prefix(state_dict: StateDict) -> str | None:
    known = {_LANDMARK: ('', 'backbone.'), _SAPIENS2_LANDMARK: ('', 'vit.', 'model.', 'backbone.', 'backbone.vit.')}
    prefixes = [key[:-len(landmark)] for key in state_dict for landmark in known if key.endswith(landmark)
                and key[:-len(landmark)].removeprefix('module.') in known[landmark]]
    return min(prefixes, key=len, default=None)


def _landmark_in(weights: StateDict) -> str | None:
    return next((key for key in (_LANDMARK, _SAPIENS2_LANDMARK, f'vit.{_SAPIENS2_LANDMARK}') if key in weights), None)


def _zoo_of(weights: StateDict) -> dict[str, dict] | None:
    """The sizes of the architecture whose blocks the weights have."""
    return next((zoo for key in weights for mark, zoo in _ARCH_MARKS.items() if key.endswith(mark)), None)


def _size_of(weights: StateDict) -> tuple[int, int]:
    blocks = {match[1] for match in map(_BLOCK.match, weights) if match}
    return weights[_landmark_in(weights)].shape[0], len(blocks)


def _arch_name(zoo: dict[str, dict], width: int, depth: int) -> str | None:
    for name, settings in zoo.items():
        if (settings['embed_dims'], settings['num_layers']) == (width, depth):
            return name
    return None


def _describe_model(model: nn.Module) -> str:
    name = _arch_name(model.arch_zoo, model.embed_dims, model.num_layers)
    return (f'the backbone {name + " " if name else ""}({model.embed_dims} wide, {model.num_layers} layers, '
            f'grid {model.grid_size[0]}x{model.grid_size[1]}{", cls token" if model.with_cls_token else ""})')


def _advice(model: nn.Module, weights: StateDict) -> str:
    if _landmark_in(weights) is None:
        return (f"Name a file that has '{_LANDMARK}', by itself or under 'backbone.', or give init_cfg the prefix of "
                'the backbone in this one')
    width, depth = _size_of(weights)
    if (width, depth) != (model.embed_dims, model.num_layers):
        arch = _arch_name(model.arch_zoo, width, depth)
        setting = f"arch='{arch}'" if arch else f'an arch dict with embed_dims={width}, num_layers={depth}'
        present = _arch_name(model.arch_zoo, model.embed_dims, model.num_layers) or 'its present arch'
        return f'Set {setting} in the backbone, or use a checkpoint of {present}'
    if model.with_cls_token and 'cls_token' not in weights:
        return 'It has no cls token: set with_cls_token=False in the backbone, or use a pretraining checkpoint'
    if 'tokenizer.w_cls' in weights:
        return ('Use a checkpoint without the window tokenizer, which transformers does not have: '
                'hf://facebook/sapiens2-pretrain-1b')
    return "Compare the keys below with the backbone's patch_size, in_channels, qkv_bias and feedforward_channels"
