"""Vision transformer with a convolutional stem and an upsampling decoder, for small models."""
from collections.abc import Sequence

import torch.nn as nn
from mmengine.registry import MODELS
from torch import Tensor

from .sapiens_vit import SapiensViT, run_block


class ConvStem(nn.Module):
    """Convolutions (kernel 3, stride 2), BatchNorm and GELU, then a projection: (B, C, H, W) -> (B, D, h, w)."""

    def __init__(self, in_channels: int, stem_channels: Sequence[int], embed_dims: int):
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.GELU())
            for before, after in zip([in_channels, *stem_channels], stem_channels))
        self.projection = nn.Conv2d(stem_channels[-1], embed_dims, 1)

    def maps(self, x: Tensor) -> list[Tensor]:
        """Returns the maps of strides 2, 4, 8, ... of images."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(self.maps(x)[-1])


@MODELS.register_module()
class SapiensHybridViT(SapiensViT):
    """``SapiensViT`` on the map of a convolutional stem; a decoder brings its output back to the stem's larger maps.

    A convolutional stem makes transformers easier to train (Xiao et al., 2021, https://arxiv.org/abs/2106.14881). The
    output is one map (B, ``decoder_channels[-1]``, H', W'), twice as large as
    the transformer's for each entry of ``decoder_channels``; heads need no transposed convolutions. It cannot be a
    masked autoencoder: the stem sees across patches.

    Args:
        stem_channels: Channels of the stem's convolutions; each halves the size, to that of the patches.
        decoder_channels: Channels of the decoder's transposed convolutions; each doubles the size, at most to half of
            the image's.
        kwargs: Arguments of ``SapiensViT`` but ``patch_cfg``, ``out_indices``, ``out_type`` and ``with_cls_token``.
    Raises ValueError (channels that do not fit ``patch_size``).
    """

    def __init__(self, stem_channels: Sequence[int] = (24, 48, 96, 160), decoder_channels: Sequence[int] = (64, 32),
                 patch_size: int = 16, **kwargs):
        for name in ('patch_cfg', 'out_indices', 'out_type', 'with_cls_token'):
            if name in kwargs:
                raise ValueError(f'{name}: got {kwargs[name]!r}, expected none for {type(self).__name__}; remove it')
        if 2**len(stem_channels) != patch_size:
            raise ValueError(f'stem_channels: got {len(stem_channels)} convolutions of stride 2, expected a total '
                             f'stride of patch_size, {patch_size}')
        if not 0 < len(decoder_channels) < len(stem_channels):
            raise ValueError(f'decoder_channels: got {len(decoder_channels)}, expected 1 to {len(stem_channels) - 1}, '
                             'fewer than stem_channels')
        self._stem_channels = tuple(stem_channels)
        super().__init__(patch_size=patch_size, **kwargs)
        self.out_channels = decoder_channels[-1]
        widths = list(zip([self.embed_dims, *decoder_channels], decoder_channels))
        self.decoder = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(after),
                          nn.ReLU()) for before, after in widths)
        self.laterals = nn.ModuleList(
            nn.Conv2d(before, after, 1) for before, after in zip(stem_channels[-2::-1], decoder_channels))

    def _make_patch_embed(self, in_channels: int) -> nn.Module:
        return ConvStem(in_channels, self._stem_channels, self.embed_dims)

    def forward_blocks(self, x: Tensor, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """Returns the maps of blocks (from 0, ascending) of normalized images (B, in_channels, H, W) of any size.

        That of the last block is the decoder's, of ``out_channels``.
        """
        maps = self.patch_embed.maps(self.pad(x))
        x, grid = self.add_positions(self.patch_embed.projection(maps[-1]))
        outs = []
        for i, block in enumerate(self.layers[:indices[-1] + 1]):
            x = run_block(block, x, self.with_cp)
            if i in indices and i < self.num_layers - 1:
                outs.append(self._format(x, grid))
        if indices[-1] == self.num_layers - 1:
            x = self._format(self.ln1(x), grid)
            for layer, lateral, larger in zip(self.decoder, self.laterals, maps[-2::-1]):
                x = layer(x) + lateral(larger)
            outs.append(x)
        return tuple(outs)
