"""The simple feature pyramid of ViTDet (Li et al., ECCV 2022, https://arxiv.org/abs/2203.16527)."""
from collections.abc import Sequence

import torch.nn as nn
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of a map (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@MODELS.register_module()
class SapiensFeaturePyramid(BaseModule):
    """Maps of several strides from the one map of a plain ViT, for detectors and FPN-style heads.

    Each map comes from the same stride-16 map, through transposed convolutions (strides 8 and 4) or max pooling
    (stride 32), then a 1x1 and a 3x3 convolution with LayerNorm. Levels beyond the four are strided copies of the
    last.

    Args:
        in_channels: Channels of the backbone's map.
        out_channels: Channels of every output map.
        num_outs: Number of maps, 1 to 6: strides 4, 8, 16, 32, 64, 128.
        init_cfg: See :class:`mmengine.model.BaseModule`.
    """

    def __init__(self, in_channels: int, out_channels: int = 256, num_outs: int = 4, init_cfg=None):
        super().__init__(init_cfg)
        if not 1 <= num_outs <= 6:
            raise ValueError(f'num_outs is {num_outs}, but must be 1 to 6 (strides 4 to 128)')
        self.num_outs = num_outs
        half, quarter = in_channels // 2, in_channels // 4
        resamplers = [
            (nn.Sequential(
                nn.ConvTranspose2d(in_channels, half, 2, stride=2), LayerNorm2d(half, eps=1e-6), nn.GELU(),
                nn.ConvTranspose2d(half, quarter, 2, stride=2)), quarter),
            (nn.ConvTranspose2d(in_channels, half, 2, stride=2), half),
            (nn.Identity(), in_channels),
            (nn.MaxPool2d(2, stride=2), in_channels),
        ][:num_outs]
        self.levels = nn.ModuleList(
            nn.Sequential(
                resample,
                nn.Conv2d(channels, out_channels, 1, bias=False),
                LayerNorm2d(out_channels, eps=1e-6),
                nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                LayerNorm2d(out_channels, eps=1e-6),
            ) for resample, channels in resamplers)

    def forward(self, inputs: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Builds the pyramid.

        Args:
            inputs: The backbone's map (B, in_channels, h, w) of stride 16; of several, the last is taken.

        Returns:
            ``num_outs`` maps (B, out_channels, ., .), finest first.
        """
        x = inputs if isinstance(inputs, Tensor) else inputs[-1]
        outs = [level(x) for level in self.levels]
        while len(outs) < self.num_outs:
            outs.append(F.max_pool2d(outs[-1], 1, stride=2))
        return tuple(outs)
