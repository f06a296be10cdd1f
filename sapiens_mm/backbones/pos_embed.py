"""Position embeddings of plain vision transformers."""
import torch
import torch.nn.functional as F
from torch import Tensor


def sincos_pos_embed(grid: tuple[int, int], embed_dims: int, num_extra_tokens: int = 0,
                     temperature: float = 10000.) -> Tensor:
    """Returns the fixed 2-D sine-cosine embedding of MAE (He et al., CVPR 2022, https://arxiv.org/abs/2111.06377).

    The first half of the channels encodes a patch's row, the second its column, sines before cosines (public files).

    Args:
        grid: Rows and columns (h, w) of patches.
        embed_dims: Channels C, a multiple of 4, else a ValueError.
        num_extra_tokens: Leading tokens without a position (the cls token); their embedding is zero.
        temperature: Wavelengths grow geometrically from 2 pi to 2 pi times this.
    Returns (1, num_extra_tokens + h * w, C) float32, row-major.
    """
    if embed_dims % 4:
        raise ValueError(f'embed_dims: got {embed_dims}, expected a multiple of 4')
    # float64, so that the result does not depend on how a device rounds its sines.
    frequencies = temperature**-(torch.arange(embed_dims // 4, dtype=torch.float64) / (embed_dims // 4))
    rows, columns = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in grid), indexing='ij')
    angles = [coordinate.flatten()[:, None] * frequencies for coordinate in (rows, columns)]
    embedding = torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1).float()
    return torch.cat([embedding.new_zeros(num_extra_tokens, embed_dims), embedding])[None]


def resize_pos_embed(pos_embed: Tensor, source: tuple[int, int], target: tuple[int, int],
                     num_extra_tokens: int = 0) -> Tensor:
    """Resizes a position embedding to another grid (bicubic, ``align_corners=False``, computed in float32).

    Args:
        pos_embed: (1, num_extra_tokens + h * w, C), row-major.
        source, target: Its grid (h, w) and the new one (h', w').
        num_extra_tokens: Leading tokens without a position (the cls token), which are kept.
    Returns (1, num_extra_tokens + h' * w', C) in the dtype of ``pos_embed``.
    """
    if source == target:
        return pos_embed
    extra, grid = pos_embed[:, :num_extra_tokens], pos_embed[:, num_extra_tokens:]
    grid = grid.float().reshape(1, *source, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=target, mode='bicubic', align_corners=False)
    return torch.cat([extra, grid.flatten(2).transpose(1, 2).to(extra.dtype)], dim=1)
