"""Position embeddings of plain vision transformers."""

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_pos_embed(pos_embed: Tensor, source: tuple[int, int], target: tuple[int, int],
                     num_extra_tokens: int = 0) -> Tensor:
    """Resizes a position embedding to another grid (bicubic, ``align_corners=False``, computed in float32).

    Args:
        pos_embed: (1, num_extra_tokens + h * w, C), row-major.
        source: Its grid (h, w).
        target: The grid (h', w') wanted.
        num_extra_tokens: Leading tokens without a place in the grid (the cls token); they are kept.

    Returns:
        (1, num_extra_tokens + h' * w', C) in the dtype given.
    """
    if source == target:
        return pos_embed
    extra, grid = pos_embed[:, :num_extra_tokens], pos_embed[:, num_extra_tokens:]
    grid = grid.float().reshape(1, *source, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=target, mode='bicubic', align_corners=False)
    return torch.cat([extra, grid.flatten(2).transpose(1, 2).to(extra.dtype)], dim=1)
