"""Segmentations, depth maps and normal maps as colors, with legends and titles."""
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from ..tasks import Task, canonical_name
from ..vocabularies.body_parts import PART_COLORS

#: Width in pixels below which images get no title.
MIN_TITLE_WIDTH = 96
#: Colors of the background, which is not drawn, and of people.
FOREGROUND_COLORS = (0, 0, 0), (40, 200, 120)
_BAND = 2**22  # pixels that are colored at a time; floating-point copies of a large map would take gigabytes

#: Drawing of each dense task: (map, image, mask or None, palette) -> (H, W, 3) uint8 RGB.
DRAWINGS = dict(
    seg=lambda classes, image, mask, palette: draw_parts(image, classes, palette),
    depth=lambda depth, image, mask, palette: draw_depth(depth, mask),
    normal=lambda normals, image, mask, palette: color_normals(normals, mask),
    foreground=lambda foreground, image, mask, palette: draw_parts(image, foreground, FOREGROUND_COLORS))


def draw_map(task: str, values: np.ndarray, image: np.ndarray, mask: np.ndarray | None = None,
             palette: Sequence = PART_COLORS) -> np.ndarray:
    """Draws the label or prediction of a dense task, a name or alias in :data:`DRAWINGS`, as (H, W, 3) uint8 RGB.

    ``values`` (H, W) or (H, W, C); ``image`` (H, W, 3) uint8 RGB; ``mask`` (H, W), nonzero on persons; RGB ``palette``.
    """
    return DRAWINGS[canonical_name(task)](values, image, mask, palette)


def draw_label(task: Task, values: np.ndarray, image: np.ndarray, palette: Sequence = PART_COLORS) -> np.ndarray:
    """Draws the label of a dense task, black where values are unlabeled; see :func:`draw_map`."""
    return draw_map(task.name, values, image, values > task.label.fill if task.kind == 'depth' else None, palette)


def draw_parts(image: np.ndarray, classes: np.ndarray, palette: Sequence = PART_COLORS) -> np.ndarray:
    """Draws classes (H, W) over an image (H, W, 3) uint8 RGB; 0 and those without a color, such as 255, stay clear."""
    colors = np.zeros((256, 3), np.uint8)
    colors[:len(palette)] = palette
    return overlay(image, colors[classes.astype(np.uint8)], (classes > 0) & (classes < len(palette)))


def draw_depth(depth: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Draws depth (H, W), smaller is nearer, in any unit, from yellow (near) to violet (far), as (H, W, 3) uint8 RGB.

    Black outside of the ``mask`` (H, W), nonzero on persons, and where depth is not finite. See :func:`depth_limits`.
    """
    valid = np.isfinite(depth) & (True if mask is None else np.asarray(mask) > 0)
    image = np.zeros((*depth.shape, 3), np.uint8)
    limits = depth_limits(depth, valid)
    if limits is None:
        return image
    near, far = limits
    for band in bands(depth.shape):
        scaled = (far - np.where(valid[band], depth[band], far)) / max(far - near, 1e-6) * 255
        image[band] = cv2.applyColorMap(scaled.clip(0, 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    image[~valid] = 0
    return image


def depth_limits(depth: np.ndarray, mask: np.ndarray | None = None) -> tuple[float, float] | None:
    """Returns the depths drawn as nearest and farthest: 1st and 99th percentile; None without a valid pixel."""
    values = depth[np.isfinite(depth) & (True if mask is None else np.asarray(mask) > 0)]
    return tuple(np.percentile(values, (1, 99)).tolist()) if values.size else None


def color_normals(normals: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Returns normals (H, W, 3) as colors, (n + 1) / 2, (H, W, 3) uint8 RGB: red right, green up, blue to the viewer.

    Black outside of the ``mask`` (H, W), by default of nonzero normals, and where a normal is not finite.
    """
    image = np.zeros((*normals.shape[:2], 3), np.uint8)
    for band in bands(normals.shape):
        part = normals[band]
        valid = (np.abs(part).sum(axis=-1) > 0) if mask is None else (np.asarray(mask[band]) > 0)
        valid = (valid & np.isfinite(part).all(axis=-1))[..., None]
        shown = np.where(valid, part, -1).astype(np.float32)
        image[band] = np.where(valid, ((shown + 1) * 127.5 + 0.5).clip(0, 255), 0)
    return image


def bands(shape: Sequence[int]) -> Iterator[slice]:
    """Yields slices of rows of an image (H, W, ...) that are small enough for floating-point copies."""
    rows = max(1, _BAND // max(1, shape[1]))
    for first in range(0, shape[0], rows):
        yield slice(first, first + rows)


def overlay(image: np.ndarray, colors: np.ndarray, mask: np.ndarray, opacity: float = 0.6) -> np.ndarray:
    """Blends ``colors`` into ``image`` (both (H, W, 3) uint8) where ``mask`` (H, W) is nonzero."""
    shown = np.array(image, order='C')
    for band in bands(image.shape):
        mixed = cv2.addWeighted(shown[band], 1 - opacity, np.ascontiguousarray(colors[band]), opacity, 0)
        np.copyto(shown[band], mixed, where=(np.asarray(mask[band]) > 0)[..., None])
    return shown


def legend(height: int, names: Sequence[str], colors: Sequence) -> np.ndarray:
    """Returns a white column (height, W, 3) uint8 of colored squares with names, which shrink until all fit."""
    line = min(max(12, height // 28), max(1, height // max(1, len(names))))
    scale = line / 34
    width = max((cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0] for name in names), default=0)
    column = np.full((height, width + 2 * line, 3), 255, np.uint8)
    for row, (name, color) in enumerate(zip(names, colors)):
        top = row * line
        cv2.rectangle(column, (line // 5, top + line // 6), (line, top + line * 5 // 6), [int(c) for c in color], -1)
        cv2.putText(column, name, (line * 5 // 4, top + line * 3 // 4), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1,
                    cv2.LINE_AA)
    return column


def titled(image: np.ndarray, title: str) -> np.ndarray:
    image = np.array(image, order='C')
    (width, height), _ = cv2.getTextSize(title, cv2.FONT_HERSHEY_SIMPLEX, 1, 1)
    scale = min(image.shape[1] * 0.94 / max(width, 1), image.shape[0] / 24 / height)
    place = round(image.shape[1] * 0.02), round(height * scale * 1.4)
    draw_text(image, title, place, scale)
    return image


def draw_text(image: np.ndarray, text: str, place: tuple[int, int], scale: float) -> None:
    """Writes white text with a black outline into an image, at the lower left corner ``place`` (x, y)."""
    for color, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, color, thickness, cv2.LINE_AA)
