"""Foreground pixels of each person."""
from collections.abc import Sequence

import cv2
import numpy as np

#: Factor by which the box is enlarged in which a person's pixels are searched.
_PADDING = 1.25


def owners(foreground: np.ndarray, boxes: np.ndarray, strokes: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the number of the person to whom each pixel belongs, (H, W) int32, -1 for none.

    A person owns pixels of the connected regions that meet the box, within the box times 1.25. Where several people
    could own a pixel, it belongs to the nearest skeleton, or, if someone has none, to the nearest center of a box in
    units of its size.

    Args:
        foreground: (H, W) bool.
        boxes: (N, 4) or (N, 5), x0, y0, x1, y1 in pixels from the image's corner.
        strokes: For each of the N people the lines of the skeleton, (S, 2, 2) x, y of their ends in pixels.
    """
    owner = np.full(foreground.shape, -1, np.int32)
    distances = np.full(foreground.shape, np.inf, np.float32)
    number, regions = cv2.connectedComponents(foreground.astype(np.uint8))
    windows = [_window(box, _PADDING, foreground.shape) for box in boxes]
    drawings = [_drawn(lines, window) for lines, window in zip(strokes, windows, strict=True)]
    all_drawn = not any(drawing.size and drawing.all() for drawing in drawings)
    for person, (box, window, drawing) in enumerate(zip(boxes, windows, drawings)):
        met = np.zeros(number, bool)
        met[regions[_window(box, 1, foreground.shape)]] = True
        met[0] = False  # the background
        if not drawing.size or not met.any():
            continue
        distance = cv2.distanceTransform(drawing, cv2.DIST_L2, 3) if all_drawn else _from_center(box, window)
        nearer = met[regions[window]] & (distance < distances[window])
        owner[window][nearer], distances[window][nearer] = person, distance[nearer]
    return owner


def _window(box: np.ndarray, factor: float, size: tuple[int, int]) -> tuple[slice, slice]:
    """Returns the rows and columns of an enlarged box in an image of a size (H, W)."""
    corners = np.reshape(box[:4], (2, 2)).astype(float)
    center, half = corners.mean(0), (corners[1] - corners[0]) / 2 * factor
    (x0, y0), (x1, y1) = (np.rint(center + sign * half).clip(0, size[::-1]).astype(int).tolist() for sign in (-1, 1))
    return slice(y0, y1), slice(x0, x1)


def _drawn(lines: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    """Draws lines as 0 on 255 in a window of the image."""
    rows, columns = window
    drawing = np.full((rows.stop - rows.start, columns.stop - columns.start), 255, np.uint8)
    lines = np.reshape(lines, (-1, 2, 2)) - (columns.start, rows.start)
    for start, end in lines[(np.abs(lines) < 1e6).all((1, 2))].round().astype(int).tolist():  # not NaN
        if drawing.size:
            cv2.line(drawing, start, end, 0)
    return drawing


def _from_center(box: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    x, y = (np.arange(side.start, side.stop) + .5 for side in window[::-1])
    x0, y0, x1, y1 = box[:4].tolist()
    return np.hypot((x - (x0 + x1) / 2) / (x1 - x0), ((y - (y0 + y1) / 2) / (y1 - y0))[:, None]).astype(np.float32)
