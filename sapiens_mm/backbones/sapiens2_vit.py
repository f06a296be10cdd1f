"""The Sapiens2 vision transformer (https://arxiv.org/abs/2604.21681), as the library `transformers` has it.

The code and the weights of Sapiens2 are under the Sapiens2 License, which restricts their use. This module calls the
library and contains neither.
"""
import re
from collections.abc import Iterator, Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from mmengine.utils import to_2tuple
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from .arch import SAPIENS2, block_indices, find_arch
from .checkpoint import backbone_load_hook, load_pretrained_backbone
from .sapiens2_keys import to_module_keys

_WHOLE = 8  # the first and last blocks with as many keys as queries
_REGISTERS = 8


@MODELS.register_module()
class Sapiens2ViT(BaseModule):
    """Vision transformer with rotary positions and registers, for images of any size.

    Images are zero-padded (the mean color) on the bottom and right to multiples of 16, so a map has
    ``ceil(H / 16) x ceil(W / 16)`` cells; the release cuts the rest off. Positions are computed in float32, where the
    release rounds them to bfloat16. Blocks 8 to ``num_layers - 9`` have half as many heads of keys as of queries.

    Args:
        arch: One of ``arch_zoo`` (``'sapiens2_0.4b'`` or ``'0.4b'``), or a dict with ``embed_dims``, ``num_layers``,
            ``num_heads`` and ``feedforward_channels``. By default that in the name of the checkpoint of ``init_cfg``.
        img_size: (H, W) of the images in pixels, or an int for a square, for profiles; other sizes need nothing.
        out_indices: Blocks whose output is returned (0-based, negative from the end), an int or a sequence.
        out_type: ``'featmap'`` (B, C, h, w), contiguous; ``'raw'`` (B, 1 + 8 + h * w, C), cls token and registers
            first; ``'cls_token'`` (B, C); ``'avg_featmap'`` (B, C), the mean over the patch tokens.
        frozen_stages: -1: none; 0: the embeddings; n: the first n blocks too, with the last the final norm.
        with_cp: Whether to recompute activations inside a block in the backward pass, by the library's checkpointing.
        init_cfg: ``dict(type='Pretrained', checkpoint=..., prefix=...)`` reads any public or own checkpoint: a file, or
            a folder or repository (``hf://facebook/sapiens2-pretrain-0.4b``) of the library.
    Raises ImportError (no transformers) or ValueError (unknown ``arch`` or ``out_type``, out-of-range ``out_indices``
    or ``frozen_stages``).
    """

    arch_zoo: dict[str, dict] = SAPIENS2
    out_types = ('featmap', 'raw', 'cls_token', 'avg_featmap')
    patch_size = 16
    with_cls_token = True
    to_module_keys = staticmethod(to_module_keys)

    def __init__(self,
                 arch: str | dict | None = None,
                 img_size: int | tuple[int, int] = (1024, 768),
                 out_indices: int | Sequence[int] = -1,
                 out_type: str = 'featmap',
                 frozen_stages: int = -1,
                 with_cp: bool = False,
                 init_cfg: dict | None = None):
        super().__init__(init_cfg)
        settings = self._arch_settings(_arch_of(init_cfg) if arch is None else arch)
        self.embed_dims = settings['embed_dims']
        self.num_layers = settings['num_layers']
        self.num_heads = settings['num_heads']
        self.img_size = to_2tuple(img_size)
        if len(self.img_size) != 2:
            raise ValueError(f'img_size: got {img_size}, expected (height, width) or one int for a square')
        self.grid_size = tuple(-(-side // self.patch_size) for side in self.img_size)
        if out_type not in self.out_types:
            raise ValueError(f"out_type: got '{out_type}', expected one of {', '.join(self.out_types)}")
        self.out_type = out_type
        self.out_indices = block_indices(out_indices, self.num_layers)
        if not -1 <= frozen_stages <= self.num_layers:
            raise ValueError(f'frozen_stages: got {frozen_stages}, expected -1 (nothing frozen) to {self.num_layers}')
        self.frozen_stages = frozen_stages

        self.vit = _build(settings)
        self.with_cp = with_cp
        self._register_load_state_dict_pre_hook(backbone_load_hook, with_module=True)
        for module in self._frozen_modules():
            module.requires_grad_(False)

    @classmethod
    def _arch_settings(cls, arch: str | dict) -> dict:
        return find_arch(arch, cls.arch_zoo)

    @property
    def layers(self) -> nn.ModuleList:
        return self.vit.model.layer

    @property
    def with_cp(self) -> bool:
        return self.vit.is_activation_checkpointing

    @with_cp.setter
    def with_cp(self, on: bool) -> None:
        if on:
            self.vit.activation_checkpointing_enable(dict(use_reentrant=False))
        elif self.with_cp:
            self.vit.activation_checkpointing_disable()

    def init_weights(self):
        """Loads the checkpoint that ``init_cfg`` names; otherwise the weights stay as the library drew them."""
        if isinstance(self.init_cfg, dict) and self.init_cfg['type'] == 'Pretrained':
            if not self.init_cfg.get('checkpoint'):
                raise ValueError(f'init_cfg: got {dict(self.init_cfg)}, expected a checkpoint in it; add a path, or '
                                 'an http(s):// or hf:// address')
            load_pretrained_backbone(self, self.init_cfg['checkpoint'], prefix=self.init_cfg.get('prefix'))
        self._is_init = True

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps normalized images (B, 3, H, W) of any size to one ``out_type`` per ``out_indices``."""
        return self.forward_blocks(x, self.out_indices)

    def forward_blocks(self, x: Tensor, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """Returns what :meth:`forward` does, after the blocks of ``indices`` (from 0, ascending)."""
        x = self.pad(x)
        grid = tuple(side // self.patch_size for side in x.shape[-2:])
        positions = self.vit.rope_embeddings(x)
        tokens = self.vit.embeddings(x)
        outs = []
        for i, block in enumerate(self.layers[:indices[-1] + 1]):
            tokens = block(tokens, position_embeddings=positions)
            if i in indices:
                outs.append(self._format(self.vit.norm(tokens) if i == self.num_layers - 1 else tokens, grid))
        return tuple(outs)

    def pad(self, x: Tensor) -> Tensor:
        """Zero-pads images (B, C, H, W) on the bottom and right to multiples of 16."""
        H, W = x.shape[-2:]
        return F.pad(x, (0, -W % self.patch_size, 0, -H % self.patch_size))

    def _format(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        if self.out_type == 'raw':
            return x
        if self.out_type == 'cls_token':
            return x[:, 0]
        patches = x[:, 1 + _REGISTERS:]
        if self.out_type == 'avg_featmap':
            return patches.mean(dim=1)
        # mmcv's deformable convolutions refuse maps that are not contiguous.
        return patches.transpose(1, 2).reshape(x.shape[0], self.embed_dims, *grid).contiguous()

    def _frozen_modules(self) -> Iterator[nn.Module]:
        if self.frozen_stages >= 0:
            yield self.vit.embeddings
            yield from self.layers[:self.frozen_stages]
        if self.frozen_stages == self.num_layers:
            yield self.vit.norm

    def train(self, mode: bool = True):
        """Sets the training mode; frozen blocks stay in evaluation mode, and so are not checkpointed."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def _apply(self, fn, recurse: bool = True):
        """Moves and casts the weights, but keeps the frequencies of the positions in float32."""
        exact = self.vit.rope_embeddings.inv_freq
        super()._apply(fn, recurse)
        self.vit.rope_embeddings.inv_freq = exact.to(self.vit.rope_embeddings.inv_freq.device)
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Returns the depth of a parameter, full name with ``prefix`` (``'backbone.'``), and the number of depths. 0
        for patches, cls token and registers, i + 1 for block i, ``num_layers + 1`` for the final norm and all outside
        of the backbone.
        """
        num_depths = self.num_layers + 2
        name = param_name.removeprefix(prefix)
        if param_name.startswith(f'{prefix}vit.embeddings.'):
            return 0, num_depths
        if param_name.startswith(f'{prefix}vit.model.layer.'):
            return int(name.split('.')[3]) + 1, num_depths
        return num_depths - 1, num_depths


def _arch_of(init_cfg: dict | None) -> str:
    checkpoint = str((init_cfg or {}).get('checkpoint', ''))
    match = re.search(r'sapiens2[_-](?:[a-z]+-)?(\d+\.?\d*b)', checkpoint)
    if match is None:
        raise ValueError(f'arch: got none, and init_cfg names {checkpoint or "no checkpoint"}, expected one of '
                         f'{", ".join(SAPIENS2)} or a dict; add it')
    return match[1]


def _build(settings: dict) -> nn.Module:
    """Returns the library's backbone with random weights."""
    try:
        from transformers import Sapiens2Backbone, Sapiens2Config
    except ImportError as error:
        raise ImportError(f'Sapiens2ViT needs transformers with Sapiens2 ({error}): pip install '
                          "'sapiens_mm[sapiens2]', which Python 3.11 or newer can") from error
    num_layers, num_heads = settings['num_layers'], settings['num_heads']
    if num_layers > 2 * _WHOLE and num_heads % 2:
        raise ValueError(f'arch: got num_heads={num_heads}, expected an even number, since {num_layers - 2 * _WHOLE} '
                         'of its blocks have half as many heads of keys')
    config = Sapiens2Config(
        hidden_size=settings['embed_dims'], num_hidden_layers=num_layers, num_attention_heads=num_heads,
        intermediate_size=settings['feedforward_channels'], num_register_tokens=_REGISTERS,
        num_key_value_attention_heads=num_heads // 2, num_first_full_attention_layers=_WHOLE,
        num_last_full_attention_layers=_WHOLE, layerscale_value=1e-4,
        pos_embed_rescale=None)  # which by default changes positions at random in training
    if isinstance(torch.empty(0), FakeTensor):  # of a profile, where the library fails to draw weights
        from torch._subclasses.fake_tensor import unset_fake_temporarily
        with unset_fake_temporarily(), torch.device('meta'):
            vit = Sapiens2Backbone(config)
        vit._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype))
    else:
        vit = Sapiens2Backbone(config)
    with torch.device('cpu'):  # also for a model without storage, whose buffers no checkpoint has
        vit.rope_embeddings = type(vit.rope_embeddings)(config)
    return vit
