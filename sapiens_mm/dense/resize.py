"""Resizing of head outputs to the original image once (the release: twice), on the device, in bounded memory."""
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_ELEMENTS = 2**20  # interpolated at a time: 4 MB of float32, which stay in a CPU's cache


def placement(metainfo: dict, cells: Sequence[int], input_size: Sequence[int],
              covered: Sequence[int] | None = None) -> dict:
    """Returns the place of a head's output (h, w) in the original image: arguments of :func:`resize_argmax`.

    Args:
        metainfo: Metainfo of a data sample: ``ori_shape`` (H, W); ``img_shape`` (H, W) without padding on the right and
            at the bottom, by default ``input_size``; ``crop_box`` (x0, y0, x1, y1), the part that the input shows, in
            pixels of the original image, possibly reaching outside, by default all.
        cells: Size (h, w) of the head's output.
        input_size: Size (H', W') of the model's input with its padding.
        covered: Size in input pixels that the cells cover, if the model pads further to whole patches.

    Raises a ValueError if the image is mirrored, or ``ori_shape`` is missing.
    """
    if metainfo.get('flip', False):
        raise ValueError('metainfo: got flip=True, expected an image that is not mirrored; remove the flip from the '
                         'test pipeline and set test_cfg=dict(flip_test=True)')
    if 'ori_shape' not in metainfo:
        raise ValueError(f'metainfo: got {sorted(metainfo)}, expected ori_shape; add it to the meta_keys of the '
                         'packing transform')
    height, width = metainfo['ori_shape'][:2]
    img_shape = metainfo.get('img_shape', input_size)[:2]
    box = metainfo.get('crop_box')
    return dict(
        size=(int(height), int(width)),
        box=(0., 0., width, height) if box is None else tuple(float(side) for side in box),
        cells=tuple(n * side / padded for n, side, padded in zip(cells, img_shape, covered or input_size)))


def resize_argmax(logits: Tensor, size: Sequence[int], box: Sequence[float] | None = None,
                  cells: Sequence[float] | None = None, max_elements: int = MAX_ELEMENTS) -> Tensor:
    """Returns classes (H, W) uint8: bilinear interpolation of logits, then argmax; 0 outside of the box.

    A class that wins in all four cells around a pixel wins in it, so only pixels near a border between classes are
    interpolated. All pixels between the same four cells form a block that reads the cells once, since few operations on
    many blocks keep threads (and a GPU) busier than many on a few rows.

    Args:
        logits: (C, h, w), at most 256 classes; ``align_corners=False``.
        size: Size (H, W) of the image.
        box: Part (x0, y0, x1, y1) of the image, in pixels, that the logits cover; by default all.
        cells: Rows and columns of the logits that cover the box, from the top left, possibly fractional; by default
            all.
        max_elements: Largest number of values to interpolate at a time (but at least one pixel).
    """
    if len(logits) > 256:
        raise ValueError(f'logits: got {len(logits)} classes, expected at most 256, as labels are uint8')
    labels = torch.zeros(tuple(size), dtype=torch.uint8, device=logits.device)
    logits, rows, columns = _axes(logits, size, box, cells)
    if not (len(rows) and len(columns)):
        return labels
    inside = labels[rows.inside, columns.inside]
    table = logits.permute(1, 2, 0).contiguous()  # classes of a cell are read together
    winner = table.max(-1).indices.to(torch.uint8)
    inside.copy_(winner.index_select(1, columns.lower).index_select(0, rows.lower))

    classes = len(logits)
    longest = max(1, math.isqrt(max_elements // classes))
    rows, columns = rows.runs(longest), columns.runs(longest)
    corners = [(vertical, horizontal) for vertical in (rows.lower, rows.upper)
               for horizontal in (columns.lower, columns.upper)]
    first, *others = (winner.index_select(0, i).index_select(1, j) for i, j in corners)
    y, x = torch.stack([first != other for other in others]).any(0).nonzero(as_tuple=True)
    flat, width = table.flatten(0, 1), table.shape[1]
    blocks = max(1, max_elements // (classes * rows.pixels.shape[1] * columns.pixels.shape[1]))
    for i, j in zip(y.split(blocks), x.split(blocks)):
        cells = (flat.index_select(0, vertical[i] * width + horizontal[j])[:, None] for vertical, horizontal in corners)
        top_left, top_right, bottom_left, bottom_right = cells
        weight = columns.weight[j, :, None]
        top, bottom = torch.lerp(top_left, top_right, weight), torch.lerp(bottom_left, bottom_right, weight)
        values = torch.lerp(top[:, None], bottom[:, None], rows.weight[i, :, None, None])  # (block, row, column, C)
        inside[rows.pixels[i, :, None], columns.pixels[j, None]] = values.max(-1).indices.to(torch.uint8)
    return labels


def resize_map(maps: Tensor, size: Sequence[int], box: Sequence[float] | None = None,
               cells: Sequence[float] | None = None, max_elements: int = MAX_ELEMENTS) -> Tensor:
    """Resizes maps (C, h, w) to (C, H, W) float32, bilinear, 0 outside of the box; see :func:`resize_argmax`."""
    if (box is None or tuple(box) == (0, 0, size[1], size[0])) and (cells is None or tuple(cells) == maps.shape[-2:]):
        return F.interpolate(maps[None].float(), tuple(size), mode='bilinear', align_corners=False)[0]
    resized = torch.zeros((len(maps), *size), device=maps.device)
    maps, rows, columns = _axes(maps, size, box, cells)
    if not (len(rows) and len(columns)):
        return resized
    inside, table = resized[:, rows.inside, columns.inside], maps.permute(1, 2, 0).contiguous()
    for band in rows.bands(max(1, max_elements // (len(maps) * len(columns)))):
        inside[:, band.inside] = _interpolate(table, band, columns).permute(2, 0, 1)
    return resized


class _Axis:
    """Pixels of an image inside a box along one axis, each with the two cells around it."""

    def __init__(self, inside: slice, lower: Tensor, upper: Tensor, weight: Tensor):
        self.inside = inside  # the pixels
        self.lower, self.upper = lower, upper  # indices of cells
        self.weight = weight  # of the upper cell, 0 to 1

    @classmethod
    def between(cls, size: int, start: float, end: float, cells: float, device: torch.device) -> '_Axis':
        """Returns the pixels of ``range(size)`` with centers in [start, end), an interval that ``cells`` cover."""
        first, last = max(math.ceil(start - 0.5), 0), min(math.ceil(end - 0.5), size)
        center = torch.arange(first, max(first, last), device=device, dtype=torch.float32) + 0.5
        if start:
            center -= start
        last_cell = math.ceil(cells) - 1
        source = (center * (cells / (end - start)) - 0.5).clamp(0, last_cell)
        lower = source.long()
        return cls(slice(first, max(first, last)), lower, (lower + 1).clamp(max=last_cell), source - lower)

    def __len__(self) -> int:
        return len(self.lower)

    def bands(self, length: int):
        """Yields parts of at most ``length`` pixels; their ``inside`` counts from the first pixel of this axis."""
        for i in range(0, len(self), length):
            part = slice(i, i + length)
            yield _Axis(part, self.lower[part], self.upper[part], self.weight[part])

    def runs(self, longest: int) -> '_Runs':
        """Groups pixels by the two cells around them, at most ``longest`` in a group."""
        place = torch.arange(len(self), device=self.lower.device)
        # Pixels before the first center have weight 0; grouped with those after it they would form the longest run.
        between = self.lower + ((self.lower > 0) | (self.weight > 0))
        counts = torch.unique_consecutive(between * len(self) + place // longest, return_counts=True)[1]
        start = counts.cumsum(0) - counts
        pixels = start[:, None] + torch.minimum(place[:int(counts.max())], counts[:, None] - 1)
        return _Runs(pixels, self.lower[start], self.upper[start], self.weight[pixels])


class _Runs(NamedTuple):
    """R runs of at most L pixels between the same two cells, along one axis."""

    pixels: Tensor  # (R, L); shorter runs repeat their last pixel
    lower: Tensor  # (R,), indices of cells
    upper: Tensor
    weight: Tensor  # (R, L), of the upper cell


def _axes(maps: Tensor, size: Sequence[int], box: Sequence[float] | None,
          cells: Sequence[float] | None) -> tuple[Tensor, _Axis, _Axis]:
    cells = maps.shape[-2:] if cells is None else cells
    left, top, right, bottom = (0, 0, size[1], size[0]) if box is None else box
    if not (right > left and bottom > top):
        raise ValueError(f'box: got {tuple(box)}, expected (x0, y0, x1, y1) with x1 > x0 and y1 > y0')
    rows = _Axis.between(size[0], top, bottom, cells[0], maps.device)
    columns = _Axis.between(size[1], left, right, cells[1], maps.device)
    return maps[:, :math.ceil(cells[0]), :math.ceil(cells[1])].float(), rows, columns


def _interpolate(table: Tensor, rows: _Axis, columns: _Axis) -> Tensor:
    """Returns values (rows, columns, C) of maps (h, w, C)."""
    first = int(rows.lower[0])
    table = table[first:int(rows.upper[-1]) + 1]
    table = torch.lerp(
        table.index_select(1, columns.lower), table.index_select(1, columns.upper), columns.weight[:, None])
    return torch.lerp(
        table.index_select(0, rows.lower - first), table.index_select(0, rows.upper - first),
        rows.weight[:, None, None])
