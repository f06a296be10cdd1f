"""Body parts, depth and normals as colours."""
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from ..vocabularies.body_parts import PART_COLORS

#: Pixels; narrower pictures have no title.
NARROWEST = 96
_BAND = 2**22  # pixels that are coloured at a time: floating-point copies of a large map would take gigabytes


def color_parts(parts: np.ndarray, palette: Sequence = PART_COLORS) -> np.ndarray:
    """(H, W, 3) uint8 RGB of (H, W) class ids, by the palette's RGB colours; what it has not (255) is white."""
    colors = np.full((256, 3), 255, np.uint8)
    colors[:len(palette)] = palette
    return colors[parts]


def color_depth(depth: np.ndarray, mask: np.ndarray | None = None, limits: tuple[float, float] | None = None
                ) -> np.ndarray:
    """Depth as colours: near is yellow, far is violet, what is no person or not finite is black.

    Args:
        depth: (H, W), smaller is nearer, in any unit.
        mask: (H, W), non-zero on persons; None: where depth is positive.
        limits: What is shown as nearest and farthest; None: the extremes under the mask.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    there = np.isfinite(depth) & ((depth > 0) if mask is None else (np.asarray(mask) > 0))
    image = np.zeros((*depth.shape, 3), np.uint8)
    if not there.any():
        return image
    near, far = limits or (depth[there].min(), depth[there].max())
    for band in bands(depth.shape):
        scaled = (far - np.where(there[band], depth[band], far)) / max(far - near, 1e-6) * 255
        image[band] = cv2.applyColorMap(scaled.clip(0, 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    image[~there] = 0
    return image


def color_normals(normals: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Normals as colours, (n + 1) / 2: red is right, green up, blue to the viewer; what is no person is black.

    Args:
        normals: (H, W, 3) unit vectors, x right, y up, z to the viewer.
        mask: (H, W), non-zero on persons; None: where the normals are not zero.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    image = np.zeros((*normals.shape[:2], 3), np.uint8)
    for band in bands(normals.shape):
        part = normals[band]
        there = (np.abs(part).sum(axis=-1) > 0) if mask is None else (np.asarray(mask[band]) > 0)
        there = (there & np.isfinite(part).all(axis=-1))[..., None]
        shown = np.where(there, part, -1).astype(np.float32)
        image[band] = np.where(there, ((shown + 1) * 127.5 + 0.5).clip(0, 255), 0)
    return image


def bands(shape: Sequence[int]) -> Iterator[slice]:
    """The rows of an image (H, W, ...) in parts, so that copies of a part stay small."""
    rows = max(1, _BAND // max(1, shape[1]))
    for first in range(0, shape[0], rows):
        yield slice(first, first + rows)


def overlay(image: np.ndarray, colors: np.ndarray, mask: np.ndarray, opacity: float = 0.6) -> np.ndarray:
    """(H, W, 3) uint8: ``colors`` over ``image`` where ``mask`` (H, W) is non-zero, through which it shines."""
    shown = np.array(image, order='C')
    for band in bands(image.shape):
        mixed = cv2.addWeighted(shown[band], 1 - opacity, np.ascontiguousarray(colors[band]), opacity, 0)
        np.copyto(shown[band], mixed, where=(np.asarray(mask[band]) > 0)[..., None])
    return shown


def draw_parts(img: np.ndarray, labels: np.ndarray, palette: Sequence) -> np.ndarray:
    """(H, W, 3) uint8 RGB: the image under the colours of its parts; background (0) and ignored pixels are left.

    Args:
        img: (H, W, 3) uint8 RGB.
        labels: (H, W) class ids.
        palette: RGB colour of each class.
    """
    return overlay(img, color_parts(labels.astype(np.uint8), palette), (labels > 0) & (labels < len(palette)))


def draw_depth(depth: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB: near is yellow, far is violet, between the :func:`depth_limits`; no person is black.

    Args:
        depth: (H, W), smaller is nearer, in any unit.
        mask: (H, W), non-zero on persons; None: all pixels.
    """
    mask = np.ones(depth.shape, bool) if mask is None else mask
    return color_depth(depth, mask, depth_limits(depth, mask))


def depth_limits(depth: np.ndarray, mask: np.ndarray | None = None) -> tuple[float, float] | None:
    """What :func:`draw_depth` shows as nearest and as farthest; None if there is nothing.

    They span the middle 98 % of the values, since a few outliers of a prediction would take all the contrast.
    """
    values = depth[np.isfinite(depth) & (True if mask is None else np.asarray(mask) > 0)]
    return tuple(np.percentile(values, (1, 99)).tolist()) if values.size else None


def legend(height: int, names: Sequence[str], colors: Sequence) -> np.ndarray:
    """A white column of coloured squares with names, as high as the picture that it explains.

    Args:
        height: Pixels.
        names: One for each line; they shrink until all of them fit.
        colors: RGB, as many as names.

    Returns:
        (height, W, 3) uint8; W depends on the names.
    """
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


def titled(picture: np.ndarray, title: str) -> np.ndarray:
    """A copy of (H, W, 3) uint8 RGB with a title in its upper left corner; narrower ones than `NARROWEST` have none."""
    picture = np.array(picture, order='C')
    if picture.shape[1] < NARROWEST:
        return picture
    (width, height), _ = cv2.getTextSize(title, cv2.FONT_HERSHEY_SIMPLEX, 1, 1)
    scale = min(picture.shape[1] * 0.94 / width, picture.shape[0] / 24 / height)
    place = round(picture.shape[1] * 0.02), round(height * scale * 1.4)
    for color, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(picture, title, place, cv2.FONT_HERSHEY_SIMPLEX, scale, color, thickness, cv2.LINE_AA)
    return picture
