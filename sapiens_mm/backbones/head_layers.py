"""Convolutional layers of the public Sapiens heads."""
from collections.abc import Sequence

import torch.nn as nn


def upsampling_layers(in_channels: int, out_channels: Sequence[int], kernel_sizes: Sequence[int]) -> nn.Sequential:
    """Transposed convolutions (kernel 2 or 4), InstanceNorm, SiLU: (B, C, h, w) -> (B, C', h * 2^n, w * 2^n)."""
    _check_lengths('deconv', out_channels, kernel_sizes, allowed=(2, 4))
    layers = []
    for width, kernel in zip(out_channels, kernel_sizes):
        layers += [
            nn.ConvTranspose2d(in_channels, width, kernel, stride=2, padding=kernel // 2 - 1, bias=False),
            nn.InstanceNorm2d(width),
            nn.SiLU(inplace=True)
        ]
        in_channels = width
    return nn.Sequential(*layers)


def conv_layers(in_channels: int, out_channels: Sequence[int], kernel_sizes: Sequence[int]) -> nn.Sequential:
    """Convolutions with odd kernels, InstanceNorm and SiLU that keep the size: (B, C, h, w) -> (B, C', h, w)."""
    _check_lengths('conv', out_channels, kernel_sizes, allowed=(1, 3, 5, 7))
    layers = []
    for width, kernel in zip(out_channels, kernel_sizes):
        layers += [
            nn.Conv2d(in_channels, width, kernel, padding=kernel // 2),
            nn.InstanceNorm2d(width),
            nn.SiLU(inplace=True)
        ]
        in_channels = width
    return nn.Sequential(*layers)


def _check_lengths(name: str, out_channels: Sequence[int], kernel_sizes: Sequence[int], allowed: Sequence[int]):
    if len(out_channels) != len(kernel_sizes):
        raise ValueError(f'{name}_kernel_sizes: got {len(kernel_sizes)} entries, expected the {len(out_channels)} of '
                         f'{name}_out_channels')
    for kernel in kernel_sizes:
        if kernel not in allowed:
            raise ValueError(f'{name}_kernel_sizes: got {kernel}, expected one of {allowed}')
