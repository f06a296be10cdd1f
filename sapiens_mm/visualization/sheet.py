"""All pictures of one image on a sheet."""
import cv2
import numpy as np

from .maps import NARROWEST, titled

#: Pixels; higher pictures are shown smaller.
MAX_HEIGHT = 1024
_SHAPE = 16 / 9  # of a screen, width by height


def sheet(pictures: dict[str, np.ndarray]) -> np.ndarray:
    """Puts titled pictures into rows, of as many as make them largest on a screen.

    Args:
        pictures: By title, (H, W, 3) uint8 RGB each, one or more; they get the height of the first.

    Returns:
        (H', W', 3) uint8 RGB.
    """
    height = min(len(next(iter(pictures.values()))), MAX_HEIGHT)
    panels = {title: _at_height(picture, height) for title, picture in pictures.items()}
    if min(panel.shape[1] for panel in panels.values()) >= NARROWEST:  # else all of them go without
        panels = {title: titled(panel, title) for title, panel in panels.items()}
    panels = [_framed(panel, height // 100 + 1) for panel in panels.values()]
    grids = [_grid(panels, columns) for columns in range(1, len(panels) + 1)]
    return min(grids, key=lambda grid: max(grid.shape[1] / _SHAPE, grid.shape[0]))


def _at_height(picture: np.ndarray, height: int) -> np.ndarray:
    if len(picture) == height:
        return picture
    width = max(1, round(picture.shape[1] * height / len(picture)))
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _framed(picture: np.ndarray, margin: int) -> np.ndarray:
    return cv2.copyMakeBorder(picture, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def _grid(panels: list[np.ndarray], columns: int) -> np.ndarray:
    rows = [np.hstack(panels[i:i + columns]) for i in range(0, len(panels), columns)]
    width = max(row.shape[1] for row in rows)
    return np.vstack([cv2.copyMakeBorder(row, 0, 0, 0, width - row.shape[1], cv2.BORDER_CONSTANT,
                                         value=(255, 255, 255)) for row in rows])
