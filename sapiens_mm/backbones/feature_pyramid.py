"""Simple feature pyramid of ViTDet (Li et al., ECCV 2022, https://arxiv.org/abs/2203.16527)."""
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


def _level(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Layers from the stride-16 map (B, in_channels, h, w) to that of a stride of 4 to 32 (B, out_channels, ., .)."""
    half, quarter = in_channels // 2, in_channels // 4
    resample, channels = {
        4: (nn.Sequential(
            nn.ConvTranspose2d(in_channels, half, 2, stride=2), LayerNorm2d(half, eps=1e-6), nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, stride=2)), quarter),
        8: (nn.ConvTranspose2d(in_channels, half, 2, stride=2), half),
        16: (nn.Identity(), in_channels),
        32: (nn.MaxPool2d(2, stride=2), in_channels),
    }[stride]
    return nn.Sequential(
        resample,
        nn.Conv2d(channels, out_channels, 1, bias=False),
        LayerNorm2d(out_channels, eps=1e-6),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        LayerNorm2d(out_channels, eps=1e-6),
    )


@MODELS.register_module()
class SapiensFeaturePyramid(BaseModule):
    """Builds maps of several strides from the single map of a plain ViT, for detectors and FPN-style heads.

    Strides 4 to 32 come from the stride-16 map through transposed convolutions (4 and 8) or max pooling (32), then a
    1x1 and a 3x3 convolution with LayerNorm; 64 and 128 are every second cell of the previous map.

    Args:
        in_channels, out_channels: Channels of the backbone's map and of every output map.
        num_outs: Number of maps; default: 4, or that of ``strides``.
        start_stride: Finest stride in pixels, 4 to 32; each map doubles it.
        strides: Instead of both: ascending, of 4 to 128, where 64 needs 32 before it, and 128 needs 64; else a
            ValueError.
    """

    def __init__(self,
                 in_channels: int,
                 out_channels: int = 256,
                 num_outs: int | None = None,
                 start_stride: int = 4,
                 strides: Sequence[int] | None = None,
                 init_cfg: dict | None = None):
        super().__init__(init_cfg)
        if strides is None:
            strides = [start_stride * 2**i for i in range(4 if num_outs is None else num_outs)]
        strides = tuple(strides)
        ascending = list(strides) == sorted(set(strides))
        if not strides or not ascending or not all(
                stride in (4, 8, 16, 32) or stride in (64, 128) and stride // 2 in strides for stride in strides):
            raise ValueError(f'strides: got {strides}, expected 1 to 6 of 4, 8, 16, 32, 64 and 128, ascending, 64 '
                             'after 32 and 128 after 64; correct strides, or num_outs and start_stride')
        if num_outs not in (None, len(strides)) or start_stride not in (4, strides[0]):
            raise ValueError(f'strides: got {strides} with num_outs={num_outs} and start_stride={start_stride}, '
                             'expected one of them; leave the others out')
        self.strides = strides
        self.levels = nn.ModuleList(
            _level(in_channels, out_channels, stride) for stride in strides if stride <= 32)

    def forward(self, inputs: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The (last) map (B, in_channels, h, w) of stride 16 -> (B, out_channels, ., .) per stride, finest first."""
        x = inputs if isinstance(inputs, Tensor) else inputs[-1]
        outs = [level(x).contiguous() for level in self.levels]
        while len(outs) < len(self.strides):
            outs.append(F.max_pool2d(outs[-1], 1, stride=2))
        return tuple(outs)
