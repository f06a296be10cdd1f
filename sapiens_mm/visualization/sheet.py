"""Sheets: titled images side by side in rows."""
from collections.abc import Iterable

import cv2
import numpy as np

from .maps import MIN_TITLE_WIDTH, titled

#: Pixels; higher images are shown smaller.
MAX_HEIGHT = 1024
_SCREEN = 16 / 9  # width / height
_WHITE = (255, 255, 255)


def sheet(images: dict[str, np.ndarray] | Iterable[tuple[str, np.ndarray]], columns: int | None = None) -> np.ndarray:
    """Puts titled images (H, W, 3) uint8 RGB into rows, as (H', W', 3) uint8 RGB.

    All get the height of the first. If a titled image is too narrow for its title, all titles are left out. ``columns``
    are the images in a row, by default as many as make them largest on a screen.
    """
    titles, panels = zip(*(images.items() if isinstance(images, dict) else images))
    height = min(len(panels[0]), MAX_HEIGHT)
    panels = [resize_to_height(panel, height) for panel in panels]
    if all(panel.shape[1] >= MIN_TITLE_WIDTH for title, panel in zip(titles, panels) if title):
        panels = [titled(panel, title) if title else panel for title, panel in zip(titles, panels)]
    margins = [height // 100 + 1] * 4
    panels = [cv2.copyMakeBorder(panel, *margins, cv2.BORDER_CONSTANT, value=_WHITE) for panel in panels]
    grids = (_grid(panels, number) for number in ([columns] if columns else range(1, len(panels) + 1)))
    return min(grids, key=lambda grid: max(grid.shape[1] / _SCREEN, grid.shape[0]))


def resize_to_height(image: np.ndarray, height: int, interpolation: int = cv2.INTER_AREA) -> np.ndarray:
    if len(image) == height:
        return image
    width = max(1, round(image.shape[1] * height / len(image)))
    return cv2.resize(image, (width, height), interpolation=interpolation)


def _grid(panels: list[np.ndarray], columns: int) -> np.ndarray:
    rows = [np.hstack(panels[i:i + columns]) for i in range(0, len(panels), columns)]
    width = max(row.shape[1] for row in rows)
    return np.vstack([cv2.copyMakeBorder(row, 0, 0, 0, width - row.shape[1], cv2.BORDER_CONSTANT, value=_WHITE)
                      for row in rows])
