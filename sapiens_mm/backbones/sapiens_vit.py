"""The Sapiens vision transformer (Khirodkar et al., ECCV 2024, https://arxiv.org/abs/2408.12569)."""
from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from mmengine.utils import to_2tuple
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .arch import SAPIENS, block_indices, find_arch
from .checkpoint import backbone_load_hook, load_pretrained_backbone
from .pos_embed import resize_pos_embed, sincos_pos_embed


class PatchEmbed(nn.Module):
    """Non-overlapping patches as one strided convolution: (B, in_channels, H, W) -> (B, embed_dims, h, w)."""

    def __init__(self, in_channels: int, embed_dims: int, patch_size: int, padding: int = 0):
        super().__init__()
        self.projection = nn.Conv2d(in_channels, embed_dims, patch_size, stride=patch_size, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(x)


class Attention(nn.Module):
    """Multi-head self-attention; the ``qkv`` layer's outputs are ordered as (3, heads, head_dim)."""

    def __init__(self, embed_dims: int, num_heads: int, qkv_bias: bool = True, drop_rate: float = 0.):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dims, embed_dims * 3, bias=qkv_bias)
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.proj_drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4).unbind(0)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj_drop(self.proj(x.transpose(1, 2).reshape(B, N, C)))


class FFN(nn.Module):
    """Two-layer MLP with exact (erf) GELU, nested as the public parameter names are."""

    def __init__(self, embed_dims: int, feedforward_channels: int, drop_rate: float = 0.):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Sequential(nn.Linear(embed_dims, feedforward_channels), nn.GELU(), nn.Dropout(drop_rate)),
            nn.Linear(feedforward_channels, embed_dims),
            nn.Dropout(drop_rate),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, embed_dims: int, num_heads: int, feedforward_channels: int, qkv_bias: bool = True,
                 drop_rate: float = 0., drop_path_rate: float = 0.):
        super().__init__()
        self.ln1 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.attn = Attention(embed_dims, num_heads, qkv_bias, drop_rate)
        self.ln2 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.ffn = FFN(embed_dims, feedforward_channels, drop_rate)
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate > 0. else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.ln1(x)))
        return x + self.drop_path(self.ffn(self.ln2(x)))


def run_block(block: nn.Module, x: Tensor, with_cp: bool = False) -> Tensor:
    """Runs tokens (B, N, C) through a block; ``with_cp`` recomputes its activations in the backward pass."""
    if not (with_cp and torch.is_grad_enabled()):
        return block(x)
    return checkpoint(block, x, use_reentrant=False)


@MODELS.register_module()
class SapiensViT(BaseModule):
    """Plain vision transformer with absolute position embedding, for images of any size.

    The embedding starts as MAE's and is trained. Images are zero-padded (the mean color) on the bottom and right to
    multiples of ``patch_size`` and the embedding resized bicubically, so a map has
    ``ceil(H / patch_size) x ceil(W / patch_size)`` cells.

    Args:
        arch: One of ``arch_zoo`` (``'sapiens_0.3b'`` or ``'0.3b'``), or a dict with ``embed_dims``, ``num_layers``,
            ``num_heads`` and ``feedforward_channels``.
        img_size: (H, W) that the position embedding is stored for, or an int for a square, in pixels.
        patch_size: Side of a patch in pixels.
        in_channels: Channels of the images.
        patch_cfg: ``dict(padding=2)`` pads the patch convolution by 2 pixels. All public pose and normal models and the
            LIP and CIHP part models need it, the others do not; the checkpoints do not say.
        out_indices: Blocks whose output is returned (0-based, negative from the end), an int or a sequence.
        out_type: ``'featmap'`` (B, C, h, w), contiguous; ``'raw'`` (B, [1 +] h * w, C), cls token first;
            ``'cls_token'`` (B, C); ``'avg_featmap'`` (B, C), the mean over the patch tokens.
        with_cls_token: As in pretraining. The fine-tuned public models have none.
        final_norm: Whether ``ln1`` normalizes the last block's output.
        qkv_bias: Whether the qkv layer has a bias.
        drop_rate: Dropout after the projections of attention and MLP.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0 at the first.
        frozen_stages: -1: none; 0: the embeddings; n: the first n blocks too, with the last the final norm.
        with_cp: Whether to recompute activations inside a block in the backward pass.
        init_cfg: ``dict(type='Pretrained', checkpoint=..., prefix=...)`` reads any public or own checkpoint.
    Raises ValueError (unknown ``arch`` or ``out_type``, out-of-range ``out_indices`` or ``frozen_stages``).
    """

    arch_zoo: dict[str, dict] = SAPIENS
    to_module_keys = staticmethod(dict)  # the names of files are its own
    out_types = ('featmap', 'raw', 'cls_token', 'avg_featmap')

    def __init__(self,
                 arch: str | dict = 'sapiens_0.3b',
                 img_size: int | tuple[int, int] = (1024, 768),
                 patch_size: int = 16,
                 in_channels: int = 3,
                 patch_cfg: dict | None = None,
                 out_indices: int | Sequence[int] = -1,
                 out_type: str = 'featmap',
                 with_cls_token: bool = False,
                 final_norm: bool = True,
                 qkv_bias: bool = True,
                 drop_rate: float = 0.,
                 drop_path_rate: float = 0.,
                 frozen_stages: int = -1,
                 with_cp: bool = False,
                 init_cfg: dict | None = None):
        super().__init__(init_cfg or dict(type='TruncNormal', layer=['Linear', 'Conv2d'], std=.02))
        settings = self._arch_settings(arch)
        self.embed_dims = settings['embed_dims']
        self.num_layers = settings['num_layers']
        self.num_heads = settings['num_heads']
        self.img_size = to_2tuple(img_size)
        if len(self.img_size) != 2:
            raise ValueError(f'img_size: got {img_size}, expected (height, width) or one int for a square')
        self.patch_size = patch_size
        self.grid_size = tuple(-(-side // patch_size) for side in self.img_size)
        self.with_cls_token = with_cls_token
        self.with_cp = with_cp
        self.frozen_stages = frozen_stages

        if out_type not in self.out_types:
            raise ValueError(f"out_type: got '{out_type}', expected one of {', '.join(self.out_types)}")
        if out_type == 'cls_token' and not with_cls_token:
            raise ValueError("out_type: got 'cls_token' without a cls token; set with_cls_token=True")
        self.out_type = out_type
        self.out_indices = block_indices(out_indices, self.num_layers)
        if not -1 <= frozen_stages <= self.num_layers:
            raise ValueError(f'frozen_stages: got {frozen_stages}, expected -1 (nothing frozen) to {self.num_layers}')

        self.patch_embed = self._make_patch_embed(in_channels, **(patch_cfg or {}))
        if with_cls_token:
            self.cls_token = nn.Parameter(torch.randn(1, 1, self.embed_dims) * .02)
        self.pos_embed = nn.Parameter(sincos_pos_embed(self.grid_size, self.embed_dims, int(with_cls_token)))
        self.layers = nn.ModuleList(
            Block(self.embed_dims, self.num_heads, settings['feedforward_channels'], qkv_bias, drop_rate,
                  drop_path_rate * i / max(self.num_layers - 1, 1)) for i in range(self.num_layers))
        self.ln1 = nn.LayerNorm(self.embed_dims, eps=1e-6) if final_norm else nn.Identity()

        self._register_load_state_dict_pre_hook(backbone_load_hook, with_module=True)
        self._freeze()

    @classmethod
    def _arch_settings(cls, arch: str | dict) -> dict:
        return find_arch(arch, cls.arch_zoo)

    def _make_patch_embed(self, in_channels: int, **kwargs) -> nn.Module:
        return PatchEmbed(in_channels, self.embed_dims, self.patch_size, **kwargs)

    def init_weights(self):
        """Loads the checkpoint that ``init_cfg`` names, or draws weights as ViT does (normal, std 0.02)."""
        if isinstance(self.init_cfg, dict) and self.init_cfg['type'] == 'Pretrained':
            if not self.init_cfg.get('checkpoint'):
                raise ValueError(f'init_cfg: got {dict(self.init_cfg)}, expected a checkpoint in it; add a path, '
                                 'http(s):// or hf:// address')
            load_pretrained_backbone(self, self.init_cfg['checkpoint'], prefix=self.init_cfg.get('prefix'))
            self._is_init = True
        else:
            super().init_weights()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps normalized images (B, in_channels, H, W) of any size to one ``out_type`` per ``out_indices``."""
        return self.forward_blocks(x, self.out_indices)

    def forward_blocks(self, x: Tensor, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """Returns what :meth:`forward` does, after the blocks of ``indices`` (from 0, ascending)."""
        x, grid = self.embed(x)
        outs = []
        for i, block in enumerate(self.layers[:indices[-1] + 1]):
            x = run_block(block, x, self.with_cp)
            if i in indices:
                outs.append(self._format(self.ln1(x) if i == self.num_layers - 1 else x, grid))
        return tuple(outs)

    def embed(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Returns the tokens of images with positions added (B, [1 +] h * w, C), and their grid (h, w)."""
        return self.add_positions(self.patch_embed(self.pad(x)))

    def pad(self, x: Tensor) -> Tensor:
        """Zero-pads images (B, C, H, W) on the bottom and right to multiples of ``patch_size``."""
        H, W = x.shape[-2:]
        return F.pad(x, (0, -W % self.patch_size, 0, -H % self.patch_size))

    def add_positions(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Returns embedded patches (B, C, h, w) as tokens with positions (B, [1 +] h * w, C), and their grid (h, w)."""
        grid = tuple(x.shape[-2:])
        x = x.flatten(2).transpose(1, 2)
        if self.with_cls_token:
            cls_token = self.cls_token.expand(x.shape[0], -1, -1)  # torch.export takes len(x) for a constant
            x = torch.cat([cls_token, x.to(cls_token.dtype)], dim=1)
        # Under autocast the embedding is float32, and so is the residual stream.
        return x + self.pos_embed_for(grid), grid

    def pos_embed_for(self, grid: tuple[int, int]) -> Tensor:
        """Returns the position embedding (1, [1 +] h * w, C) resized to a grid (h, w) of patches."""
        return resize_pos_embed(self.pos_embed, self.grid_size, grid, num_extra_tokens=int(self.with_cls_token))

    def _format(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        if self.out_type == 'raw':
            return x
        if self.out_type == 'cls_token':
            return x[:, 0]
        patches = x[:, int(self.with_cls_token):]
        if self.out_type == 'avg_featmap':
            return patches.mean(dim=1)
        # mmcv's deformable convolutions refuse maps that are not contiguous.
        return patches.transpose(1, 2).reshape(x.shape[0], self.embed_dims, *grid).contiguous()

    def _frozen_modules(self):
        if self.frozen_stages >= 0:
            yield self.patch_embed
            yield from self.layers[:self.frozen_stages]
        if self.frozen_stages == self.num_layers:
            yield self.ln1

    def _freeze(self):
        for module in self._frozen_modules():
            module.requires_grad_(False)
        if self.frozen_stages >= 0:
            self.pos_embed.requires_grad_(False)
            if self.with_cls_token:
                self.cls_token.requires_grad_(False)

    def train(self, mode: bool = True):
        """Sets the training mode; frozen blocks stay in evaluation mode, so that their dropout is off."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Returns the depth of a parameter, full name with ``prefix`` (``'backbone.'``), and the number of depths. 0
        for the embeddings, i + 1 for block i, ``num_layers + 1`` for the final norm and all outside of the backbone.
        """
        num_depths = self.num_layers + 2
        if not param_name.startswith(prefix):
            return num_depths - 1, num_depths
        name = param_name[len(prefix):]
        if name in ('cls_token', 'pos_embed') or name.startswith('patch_embed.'):
            return 0, num_depths
        if name.startswith('layers.'):
            return int(name.split('.')[1]) + 1, num_depths
        return num_depths - 1, num_depths
