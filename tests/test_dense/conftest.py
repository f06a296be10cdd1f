"""A folder of people with all labels."""
from pathlib import Path

import cv2
import numpy as np
import pytest


def write_people(root: Path, names=('b', 'a', 'c'), size: tuple = (40, 32)) -> Path:
    """An ellipsoid of three parts (2, and the person's right 15 and left 6 arm) in each image."""
    height, width = size
    for folder in ('images', 'masks', 'parts', 'depths', 'normals'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:height, :width]
    u, v = (x - width / 2) / (width * 0.3), (y - height / 2) / (height * 0.4)
    up = np.sqrt(np.maximum(1 - u**2 - v**2, 0))
    person = up > 0
    rng = np.random.default_rng(0)
    for name in names:
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        cv2.imwrite(str(root / f'images/{name}.png'), image)
        cv2.imwrite(str(root / f'masks/{name}.png'), person.astype(np.uint8) * 255)
        parts = np.select([u < -0.5, u > 0.5], [15, 6], 2) * person
        cv2.imwrite(str(root / f'parts/{name}.png'), parts.astype(np.uint8))
        np.save(root / f'depths/{name}.npy', np.where(person, 3 - up, 0).astype(np.float32))
        np.save(root / f'normals/{name}.npy', np.where(person[..., None], np.stack([u, -v, up], -1), 0).astype('f4'))
    return root


@pytest.fixture
def people(tmp_path) -> Path:
    return write_people(tmp_path / 'people')
