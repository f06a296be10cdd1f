"""Decoder of the masked autoencoder."""
import torch
import torch.nn as nn
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor

from ..backbones.pos_embed import resize_pos_embed, sincos_pos_embed
from ..backbones.sapiens_vit import Block, run_block


@MODELS.register_module()
class SapiensMAEDecoder(BaseModule):
    """Predicts the pixels of every patch from the encoded visible ones (He et al., CVPR 2022).

    A learned token replaces each masked patch; position embeddings are fixed sines and cosines. Defaults are those of
    the public models.

    Args:
        in_channels: Width of the encoder.
        grid_size: Rows and columns (h, w) of the stored position embedding; it is resized to other grids.
        patch_size: Side of a patch in pixels.
        out_channels: Channels of the image.
        embed_dims: Width of the decoder, a multiple of 4.
        num_layers, num_heads: Number of blocks and of attention heads.
        feedforward_channels: Width of the MLPs, by default 4 times ``embed_dims``.
        with_cp: Whether to recompute activations inside a block in the backward pass.
    """

    def __init__(self,
                 in_channels: int,
                 grid_size: tuple[int, int],
                 patch_size: int = 16,
                 out_channels: int = 3,
                 embed_dims: int = 512,
                 num_layers: int = 8,
                 num_heads: int = 16,
                 feedforward_channels: int | None = None,
                 with_cp: bool = False,
                 init_cfg: dict | None = None):
        super().__init__(init_cfg or dict(type='Xavier', layer='Linear', distribution='uniform'))
        self.grid_size = tuple(grid_size)
        self.with_cp = with_cp
        self.decoder_embed = nn.Linear(in_channels, embed_dims)
        self.mask_token = nn.Parameter(torch.randn(1, 1, embed_dims) * .02)
        self.decoder_pos_embed = nn.Parameter(
            sincos_pos_embed(self.grid_size, embed_dims, num_extra_tokens=1), requires_grad=False)
        self.decoder_blocks = nn.ModuleList(
            Block(embed_dims, num_heads, feedforward_channels or embed_dims * 4) for _ in range(num_layers))
        self.ln1 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.decoder_pred = nn.Linear(embed_dims, patch_size**2 * out_channels)

    def forward(self, x: Tensor, ids_restore: Tensor, grid: tuple[int, int]) -> Tensor:
        """Predicts patches (B, N, patch_size ** 2 * out_channels), pixels in row-major order, channels last.

        Args:
            x: (B, 1 + V, in_channels), the cls token and V encoded patches.
            ids_restore: (B, N) int64, each patch's index among the visible patches followed by the masked ones.
            grid: Rows and columns (h, w) of patches, N = h * w.
        """
        x = self.decoder_embed(x)
        num_masked = ids_restore.shape[1] + 1 - x.shape[1]
        patches = torch.cat([x[:, 1:], self.mask_token.to(x.dtype).expand(len(x), num_masked, -1)], dim=1)
        patches = patches.gather(1, ids_restore[..., None].expand(-1, -1, x.shape[-1]))
        pos_embed = resize_pos_embed(self.decoder_pos_embed, self.grid_size, grid, num_extra_tokens=1)
        x = torch.cat([x[:, :1], patches], dim=1) + pos_embed
        for block in self.decoder_blocks:
            x = run_block(block, x, self.with_cp)
        return self.decoder_pred(self.ln1(x[:, 1:]))
