"""Seamless procedural textures of walls, floors and furniture."""
import cv2
import numpy as np

#: Pixels on a side of a texture.
TEXTURE = 256
_LINE = np.arange(TEXTURE) / TEXTURE
_Y, _X = _LINE[:, None], _LINE[None]


def draw_texture(rng, names: tuple | None = None) -> tuple:
    """Returns a random texture (TEXTURE, TEXTURE, 3) uint8 sRGB of the kinds ``names`` (None: all), and its kind."""
    names = names or tuple(TEXTURES)
    name = names[rng.integers(len(names))]
    image = TEXTURES[name](rng)
    return (np.clip(image, 8 / 255, 247 / 255) * 255 + 0.5).astype(np.uint8), name


def periodic_noise(rng, cells: tuple, octaves: int = 5) -> np.ndarray:
    """Returns (TEXTURE, TEXTURE) smooth noise of about -1 to 1, whose first octave has ``cells`` (rows, columns)."""
    # `textures.smooth_noise` computes one octave of this without the faint seam that is left here where a number of
    # cells does not divide TEXTURE. Using it would change every image of every seed.
    total = np.zeros((TEXTURE, TEXTURE), np.float32)
    for octave in range(octaves):
        rows, columns = (min(TEXTURE, max(1, c << octave)) for c in cells)
        grid = np.pad(rng.uniform(-1, 1, (rows, columns)).astype(np.float32), 2, mode='wrap')
        h, w = TEXTURE * (rows + 4) // rows, TEXTURE * (columns + 4) // columns
        big = cv2.resize(grid, (w, h), interpolation=cv2.INTER_CUBIC)
        top, left = TEXTURE * 2 // rows, TEXTURE * 2 // columns
        total += big[top:top + TEXTURE, left:left + TEXTURE] * 0.55**octave
    return total / np.abs(total).max()


def _color(rng) -> np.ndarray:
    """Returns (3,) sRGB of 0 to 1, mostly muted colors."""
    hue, value = rng.uniform(0, 6), rng.uniform(0.25, 0.95)
    saturation = rng.choice([rng.uniform(0, 0.25), rng.uniform(0, 0.25), rng.uniform(0.2, 0.4)])
    ramp = np.clip(np.abs((hue + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return (value * (1 - saturation * (1 - ramp))).astype(np.float32)


def _mix(mask: np.ndarray, a, b) -> np.ndarray:
    mask = np.broadcast_to(np.asarray(mask, np.float32), (TEXTURE, TEXTURE))[..., None]
    return b + mask * (a - b)


def _grain(rng, strength: float) -> np.ndarray:
    return np.float32(strength) * periodic_noise(rng, (8, 8), 4)[..., None]


def _stripes(rng):
    wave = np.sin(2 * np.pi * int(rng.integers(2, 12)) * (_X if rng.random() < 0.5 else _Y))
    return _mix(wave > rng.uniform(-0.7, 0.7), _color(rng), _color(rng)) + _grain(rng, 0.03)


def _checks(rng):
    count = 2 * int(rng.integers(1, 5))
    return _mix((np.floor(_X * count) + np.floor(_Y * count)) % 2, _color(rng), _color(rng)) + _grain(rng, 0.04)


def _masonry(rng, rows: int, columns: int, shift: float, joint: float, spread: float):
    row = np.floor(_Y * rows).astype(int)
    along = (_X + shift * (row % 2) / columns) % 1 * columns
    shades = rng.normal(0, spread, (rows, columns))[row, np.floor(along).astype(int) % columns]
    gap = (along % 1 < joint * columns) | (_Y * rows % 1 < joint * rows)
    return _mix(gap, _color(rng), _color(rng) + shades[..., None].astype(np.float32)) + _grain(rng, 0.06)


def _wood(rng):
    boards = int(rng.integers(3, 8))
    row = np.floor(_Y * boards).astype(int)
    tone = np.array([0.62, 0.42, 0.26]) * rng.uniform(0.6, 1.3) + rng.normal(0, 0.03, 3)
    grain = periodic_noise(rng, (12, 1), 4)
    offset = rng.integers(0, TEXTURE, boards)
    grain = grain[np.arange(TEXTURE)[:, None], (np.arange(TEXTURE)[None] + offset[row]) % TEXTURE]
    shade = rng.normal(0, 0.05, boards)[row]
    seam = np.broadcast_to((_Y * boards % 1 < 0.015 * boards).astype(float), grain.shape)
    return tone * (1 + 0.25 * grain + shade)[..., None] * (1 - 0.5 * seam[..., None])


def _speckles(rng):
    spots = cv2.GaussianBlur(np.pad(rng.random((TEXTURE, TEXTURE)), 8, mode='wrap'), (0, 0), rng.uniform(0.6, 2.0))
    spots = spots[8:-8, 8:-8]
    return _mix(spots > np.quantile(spots, rng.uniform(0.6, 0.9)), _color(rng), _color(rng))


def _grass(rng):
    blades = periodic_noise(rng, (24, 48), 3) + 0.6 * periodic_noise(rng, (4, 4), 3)
    return np.array([0.26, 0.38, 0.14]) * rng.uniform(0.7, 1.4) * (1 + 0.45 * blades[..., None])


TEXTURES = dict(
    plain=lambda rng: _color(rng) + _grain(rng, 0.02),
    noise=lambda rng: _mix(0.5 + 0.5 * periodic_noise(rng, (4, 4), 6), _color(rng), _color(rng)),
    stripes=_stripes,
    checks=_checks,
    bricks=lambda rng: _masonry(rng, 2 * int(rng.integers(4, 8)), int(rng.integers(3, 6)), 0.5, 0.012, 0.06),
    tiles=lambda rng: _masonry(rng, *[int(rng.integers(2, 6))] * 2, 0.0, 0.008, 0.03),
    panels=lambda rng: _masonry(rng, 1, int(rng.integers(3, 8)), 0.0, 0.006, 0.03),
    wood=_wood,
    speckles=_speckles,
    grass=_grass,
)
