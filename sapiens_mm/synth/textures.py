"""Procedural textures of cloth, skin and eyes from plain numbers."""
from collections.abc import Callable

import cv2
import numpy as np

from .color import to_srgb_fast

_TILE = 128
_PATTERNS = {'plain': 0.45, 'stripes': 0.15, 'checks': 0.12, 'dots': 0.08, 'noise': 0.12, 'denim': 0.08}


def _random_color(rng: np.random.Generator) -> list[float]:
    """Returns linear RGB: gray, muted and few strong colors, mostly dark like clothes."""
    saturation = rng.choice([0.05, 0.25, 0.5]) * rng.uniform(0.6, 1.)
    hsv = np.float32([[[rng.uniform(0, 360), saturation, rng.uniform(0.08, 0.95)]]])
    # 2.2 only shapes the distribution; the true curve would change every color.
    return [round(float(value), 4) for value in cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]**2.2]


def sample_cloth(rng: np.random.Generator) -> dict:
    return dict(pattern=str(rng.choice(list(_PATTERNS), p=np.array(list(_PATTERNS.values())))),
                color=_random_color(rng), second=_random_color(rng), repeat=int(rng.integers(3, 12)),
                seed=int(rng.integers(2**31)))


def draw_cloth(cloth: dict) -> np.ndarray:
    """Returns (128, 128, 3) sRGB bytes of one tile of a cloth from :func:`sample_cloth`."""
    rng = np.random.default_rng(cloth['seed'])
    y, x = np.mgrid[:_TILE, :_TILE] / _TILE * cloth['repeat']
    pattern = cloth['pattern']
    if pattern == 'stripes':
        mix = (y % 1 < 0.5) if rng.random() < 0.6 else (x % 1 < 0.5)
    elif pattern == 'checks':
        mix = 0.5 * (y % 1 < 0.5) + 0.5 * (x % 1 < 0.5)
    elif pattern == 'dots':
        mix = (x % 1 - 0.5)**2 + (y % 1 - 0.5)**2 < 0.07
    elif pattern == 'noise':
        mix = smooth_noise(rng, (_TILE, _TILE), cloth['repeat'])
    else:
        mix = np.zeros((_TILE, _TILE))
    color = np.array([0.03, 0.06, 0.16]) if pattern == 'denim' else np.array(cloth['color'])
    image = color + np.asarray(mix, float)[..., None] * (np.array(cloth['second']) - color)
    weave = rng.normal(1, 0.10 if pattern == 'denim' else 0.05, (_TILE, _TILE, 1))
    return to_srgb_fast(image * weave)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> np.ndarray:
    """Returns (H, W) smooth periodic noise of 0 to 1 with ``cells`` blobs across."""
    small = np.pad(rng.random((cells, cells)).astype(np.float32), 2, mode='wrap')
    scale = np.array(shape) / cells
    big = cv2.resize(small, None, fx=scale[1], fy=scale[0], interpolation=cv2.INTER_CUBIC)
    top, left = (2 * scale).round().astype(int)
    return np.clip(big[top:top + shape[0], left:left + shape[1]], 0, 1)


# Linear RGB of light to dark skin, after the six Fitzpatrick types.
_SKIN = np.array([[0.75, 0.52, 0.42], [0.66, 0.43, 0.32], [0.55, 0.33, 0.22], [0.39, 0.21, 0.12], [0.22, 0.11, 0.06],
                  [0.09, 0.045, 0.027]])
_BROW_CONTRAST = 0.35  # of the skin's brightness: brows are no brighter
_EYES = np.array([[0.10, 0.045, 0.02], [0.04, 0.02, 0.01], [0.10, 0.20, 0.36], [0.11, 0.19, 0.09], [0.20, 0.24, 0.26]])


def sample_complexion(rng: np.random.Generator) -> dict:
    """Samples the colors of skin, lips, brows and eyes."""
    tone = rng.uniform(0, len(_SKIN) - 1)
    low = int(tone)
    skin = _SKIN[low] + (tone - low) * (_SKIN[min(low + 1, 5)] - _SKIN[low])
    return dict(
        skin=(skin * rng.uniform(0.92, 1.08, 3)).round(4).tolist(), lips=round(float(rng.uniform(0.55, 1.)), 3),
        brows=round(float(rng.uniform(0.65, 0.95)), 3),
        eyes=_EYES[rng.choice(5, p=[0.4, 0.3, 0.14, 0.08, 0.08])].tolist(), seed=int(rng.integers(2**31)))


SKIN_SIZE = 512  # pixels of the skin's texture, across and along


def skin_masks(masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns MakeHuman's masks (uint8 of any size) as (512, 512, 1) float32 of 0 to 1 for :func:`draw_skin`."""
    size = (SKIN_SIZE, SKIN_SIZE)
    small = {name: cv2.resize(mask, size, interpolation=cv2.INTER_AREA)[..., None] for name, mask in masks.items()}
    # JPEG artifacts far from the shape would enlarge its box, and the time to paint it.
    return {name: np.where(mask > 4, mask, 0) / np.float32(255) for name, mask in small.items()}


def outline_mask(outlines: list[np.ndarray]) -> np.ndarray:
    """Returns a (512, 512, 1) float32 mask with soft edges of outlines, (N, 2) texture coordinates each (v up)."""
    return _drawn_mask(outlines, lambda mask, points: cv2.fillPoly(mask, [points], 255))


def line_mask(lines: list[np.ndarray]) -> np.ndarray:
    """Returns such a mask of lines, about two pixels wide."""
    return _drawn_mask(lines, lambda mask, points: cv2.polylines(mask, [points], False, 255, 5))


def _drawn_mask(shapes: list[np.ndarray], draw: Callable) -> np.ndarray:
    mask = np.zeros((2 * SKIN_SIZE, 2 * SKIN_SIZE), np.uint8)
    for shape in shapes:
        draw(mask, (np.stack([shape[:, 0], 1 - shape[:, 1]], axis=1) * 2 * SKIN_SIZE).round().astype(np.int32))
    return skin_masks({'': cv2.GaussianBlur(mask, (0, 0), 1.5)})['']


def draw_skin(complexion: dict, masks: dict[str, np.ndarray], hair_color: list[float]) -> np.ndarray:
    """Returns (512, 512, 3) sRGB bytes over the skin's texture coordinates. Brows have the ``hair_color`` (linear RGB),
    but are darker than the skin.
    """
    rng = np.random.default_rng(complexion['seed'])
    skin = np.array(complexion['skin'], np.float32)
    shape = (SKIN_SIZE, SKIN_SIZE)
    grain = 1 + 0.12 * (smooth_noise(rng, shape, 24) - 0.5) + 0.025 * rng.standard_normal(shape, np.float32)
    image = grain[..., None] * skin
    brows = np.float32(hair_color)
    brows = brows * min(1., _BROW_CONTRAST * skin.sum() / max(brows.sum(), 1e-6))
    nails = skin * 0.6 + np.float32([0.35, 0.25, 0.24])
    paint = {
        'face': (skin * np.float32([1.0, 0.86, 0.84]), 0.5),
        'lips': (skin * np.float32([0.75, 0.36, 0.38]), complexion['lips']),
        'inside-mouth': (np.float32([0.16, 0.03, 0.03]), 0.95),
        'fingernails': (nails, 0.8),
        'toenails': (nails, 0.8),
        'brows': (brows, complexion['brows']),
        'lashes': (skin * np.float32(0.08), 0.9),
    }
    for name, (color, strength) in paint.items():
        mask = masks[name]
        rows, columns = np.flatnonzero(mask.any(axis=(1, 2))), np.flatnonzero(mask.any(axis=(0, 2)))
        if len(rows):
            box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
            image[box] += mask[box] * np.float32(strength) * (color - image[box])
    return to_srgb_fast(image)


def draw_eye(complexion: dict, iris: float, pupil: float, size: int = 128) -> np.ndarray:
    """Returns (size, size, 3) sRGB bytes of an eye from the front; the radii are in units of the eyeball's."""
    rng = np.random.default_rng(complexion['seed'] + 1)
    y, x = (np.mgrid[:size, :size] + 0.5) / size * 2 - 1
    radius, angle = np.hypot(x, y)[..., None], np.arctan2(y, x)
    streaks = np.interp(angle, np.linspace(-np.pi, np.pi, 64), rng.uniform(0.7, 1.3, 64))[..., None]
    white = np.array([0.80, 0.77, 0.75]) * (1 - 0.25 * radius**3) + [0.06, 0., 0.] * radius**4
    color = np.array(complexion['eyes']) * streaks * (0.7 + 0.6 * radius / iris)

    def inside(limit):
        return np.clip((limit - radius) * size / 3 + 0.5, 0, 1)

    image = white + inside(iris) * (color * np.clip((iris - radius) / 0.06 + 0.35, 0.35, 1) - white)
    return to_srgb_fast(image + inside(pupil) * (0.004 - image))
