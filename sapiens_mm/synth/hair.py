"""Hair: locks that grow from the scalp as a style combs them, fall, and lie on body and clothes."""
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from .color import to_srgb_fast
from .mesh import face_normals, triangles

#: Probability of each style. Hair ends a ``length`` below the eyes, if it is not short.
KINDS = dict(short=0.37, curly=0.1, bald_top=0.06, bob=0.14, long=0.19, ponytail=0.08, bun=0.06)
#: Styles that hang down from the parting.
HANGING = ('bob', 'long')
#: Styles that are combed back and tied.
TIED = ('ponytail', 'bun')
#: Meters: where tied hair is held, in the head's axes, see `HeadFrame`.
TIE = np.array([0., 0.17, 0.06])
#: Number of locks of each style.
LOCKS = dict(short=900, curly=700, bald_top=400, bob=700, long=700, ponytail=450, bun=450)
_SEGMENTS = dict(long=14, bob=11, ponytail=9, bun=9)
# Meters: hair on the face's side of this half width and this height (above the eyes) is moved aside.
_FACE_WIDTH, _FACE_TOP = 0.068, 0.055
# Meters between rows of a lock beyond which nothing is pushed out of the body.
_REACH = 0.1


@dataclass
class HeadFrame:
    """A head: the (3,) center between the eyes, axes (left, back, up) as rows, and its size relative to an adult's."""
    center: np.ndarray
    axes: np.ndarray
    scale: float

    def local(self, points: np.ndarray) -> np.ndarray:
        """Returns (N, 3) points in meters of an adult's head from the center, along the axes."""
        return (points - self.center) @ self.axes.T / self.scale

    def world(self, points: np.ndarray) -> np.ndarray:
        return points * self.scale @ self.axes + self.center


class Surface:
    """What hair lies on: (V, 3) vertices with unit normals and (V,) meters of clothes on them."""

    def __init__(self, vertices: np.ndarray, normals: np.ndarray, clothes: np.ndarray):
        self.vertices, self.normals, self.clothes = vertices, normals, clothes
        self.tree = cKDTree(vertices)

    def slide(self, points: np.ndarray, directions: np.ndarray, margin: np.ndarray) -> tuple[np.ndarray, ...]:
        """Moves (N, 3) points out to at least ``margin`` (N,) meters from the surface, if they are near it.

        Returns the points, the directions without their parts that lead into the surface, and its normals.
        """
        distance, nearest = self.tree.query(points)
        normals = self.normals[nearest]
        height = ((points - self.vertices[nearest]) * normals).sum(axis=1)
        out = np.where(distance < _REACH, np.maximum(margin + self.clothes[nearest] - height, 0), 0)
        into = np.where(out > 0, np.minimum((directions * normals).sum(axis=1), 0), 0)
        return points + out[:, None] * normals, directions - into[:, None] * normals, normals


def sample_style(rng: np.random.Generator) -> dict:
    """Samples the details of a style: meters from the middle of the ``parting``, how far the hair is swept to the
    ``back`` (-1, forward, to 1), how far it stands off (``lift``, 0 to 1), ``curl`` (0 to 1), and whether there is a
    ``fringe``.
    """
    return dict(parting=round(float(rng.choice([-0.035, 0., 0.035]) + rng.normal(0, 0.006)), 4),
                back=round(float(rng.uniform(-0.8, 1)), 3), lift=round(float(rng.uniform(0.1, 1)), 3),
                curl=round(float(rng.choice([0.05, 0.3, 0.9]) * rng.uniform(0.5, 1.2)), 3),
                fringe=bool(rng.random() < 0.4))


def scatter(vertices: np.ndarray, faces: np.ndarray, count: int, rng: np.random.Generator) -> Callable:
    """Returns a function that interpolates (V, C) values at ``count`` random points, evenly spread over the faces."""
    area = np.linalg.norm(face_normals(vertices, faces), axis=1)
    corners = faces[rng.choice(len(faces), count, p=area / area.sum())]
    u = np.sort(rng.random((count, 2)), axis=1)
    shares = np.stack([u[:, 0], u[:, 1] - u[:, 0], 1 - u[:, 1]], axis=1)
    return lambda values: np.einsum('ni,nij->nj', shares, values[corners])


def grow(roots: np.ndarray, normals: np.ndarray, head: HeadFrame, surface: Surface, piece: dict,
         thickness: float) -> tuple[np.ndarray, ...]:
    """Grows a lock from each root.

    Args:
        roots, normals: (N, 3) points on the scalp and their unit normals.
        piece: ``kind``, ``length`` (meters below the eyes), ``fold`` (seed), and the values of `sample_style`.
        thickness: Meters of hair on the scalp.
    Returns (V, 3) float32 vertices and normals, (F, 3) int32 faces, and (V, 2) float32 texture coordinates: v is 0 at
    the root and 1 at the tip.
    """
    rng, kind = np.random.default_rng(piece['fold']), piece['kind']
    count, segments = len(roots), _SEGMENTS.get(kind, 6)
    where = head.local(roots)
    fringe = _fringe(where, piece)
    lengths = _lengths(where, fringe, piece, rng) * head.scale
    step = lengths[:, None] / segments
    direction = _comb(where, fringe, piece, rng) @ head.axes
    stand = dict(curly=1., bald_top=0.1, short=0.5).get(kind, 0.) * piece['lift'] * min(1, thickness / 0.01)
    stand = np.where(fringe[:, None], 0.1, stand * rng.uniform(0.3, 1, (count, 1)))
    margin = thickness * rng.uniform(0.3, 1.25, count)
    aside = np.where(where[:, 0] > piece['parting'], 1., -1.)
    weight = np.where(fringe, 1.2, dict(long=1.2, bob=0.9, short=0.25).get(kind, 0.))
    fall = weight[:, None] * [0, 0, 1]
    rows, outward = [roots], [normals]
    for row in range(segments):
        if kind in TIED:
            aim = _to_tie(head.local(rows[-1]), segments - row) @ head.axes * head.scale
            aim -= (aim * normals).sum(axis=1, keepdims=True) * normals
            direction = np.where(fringe[:, None], direction, aim)
            step = np.where(fringe[:, None], step, np.linalg.norm(aim, axis=1, keepdims=True))
        direction = direction + stand * 0.5**row * normals - fall * (row + 1) / segments
        direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
        direction += rng.normal(0, 0.4 if kind == 'curly' else 0.06, (count, 3))
        points, direction, normals = surface.slide(
            rows[-1] + direction * step, direction, margin * min(1, (row + 1) / 2))
        if kind in HANGING:
            points = _off_face(points, head, aside, fringe)
        rows.append(points)
        outward.append(normals)
    return _strips(rows, outward, piece, rng, head.scale)


def grow_tail(head: HeadFrame, surface: Surface, piece: dict, rng: np.random.Generator) -> tuple:
    """Grows a tail, or a bun of locks wound around a ball, where hair is tied; returns what `grow` does."""
    count, bun = 120, piece['kind'] == 'bun'
    out = rng.normal(size=(count, 3))
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    if bun:
        axis, middle = np.array([0.1, 0.8, 0.6]), TIE + [0., 0.032, 0.012]
        around = np.cross(axis, out)
        around /= np.linalg.norm(around, axis=1, keepdims=True)
        turn = np.linspace(0, 2, _SEGMENTS['bun'] + 1)[:, None]
        radius = 0.037 * (1 + 0.08 * rng.normal(size=(count, 1)))
        points = np.swapaxes(np.cos(turn) * out[:, None] + np.sin(turn) * around[:, None], 0, 1)
        return _strips(head.world(middle + radius * points), points @ head.axes, piece, rng, head.scale)
    length = (0.12 + piece['length']) * rng.uniform(0.75, 1.1, (count, 1)) * head.scale
    rows, outward = [head.world(TIE + 0.016 * out)], [out @ head.axes]
    direction = (out * 0.4 + [0., 0.8, 0.3]) @ head.axes
    for row in range(_SEGMENTS['ponytail']):
        direction = direction - [0, 0, 0.25 * (row + 1)]
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        margin = 0.004 + 0.02 * rng.random(count) * (row > 0)
        points, direction, normals = surface.slide(
            rows[-1] + direction * length / _SEGMENTS['ponytail'], direction, margin)
        rows.append(points)
        outward.append(normals)
    return _strips(rows, outward, piece, rng, head.scale)


def _fringe(where: np.ndarray, piece: dict) -> np.ndarray:
    """Returns (N,) which roots belong to the fringe."""
    front = (where[:, 1] < 0.055) & (np.abs(where[:, 0]) < 0.055) & (where[:, 2] > 0.055)
    return front & piece['fringe'] & (piece['kind'] != 'bald_top')


def _lengths(where: np.ndarray, fringe: np.ndarray, piece: dict, rng: np.random.Generator) -> np.ndarray:
    """Returns (N,) meters of each lock: hanging hair ends at one height, a fringe above the eyes."""
    spread = rng.uniform(0.8, 1.15, len(where))
    match piece['kind']:
        case 'long':
            lengths = (where[:, 2] + 0.05 + piece['length']) * spread
        case 'bob':
            lengths = (where[:, 2] + 0.04 + 0.35 * piece['length']) * spread
        case 'ponytail' | 'bun':
            lengths = np.linalg.norm(where - TIE, axis=1) * spread
        case 'bald_top':
            lengths = 0.015 * spread
        case _:
            top = np.clip(where[:, 2] / 0.1, 0.2, 1)  # shorter around the ears
            lengths = (0.01 + 0.15 * piece['length'] * top) * spread
    if piece['kind'] in TIED:
        fringe = fringe & (where[:, 1] < 0.03)
    return np.where(fringe, np.clip(where[:, 2] - 0.02 + 0.9 * where[:, 1], 0.03, 0.11) * spread, lengths)


def _comb(where: np.ndarray, fringe: np.ndarray, piece: dict, rng: np.random.Generator) -> np.ndarray:
    """Returns (N, 3) unit directions in which hair leaves the scalp, in the head's axes."""
    count, kind = len(where), piece['kind']
    side = np.tanh((where[:, 0] - piece['parting']) / 0.015)
    top = np.clip((where[:, 2] - 0.04) / 0.06, 0, 1)
    if kind in TIED:
        out = TIE - where
    else:
        hanging = kind in HANGING
        back = 0.35 if hanging else piece['back']
        up = np.stack([side * (1. if hanging else 0.7), np.full(count, back), np.zeros(count)], axis=1)
        down = np.stack([0.3 * side, np.full(count, 0.25 if hanging else 0.5), np.full(count, -1.)], axis=1)
        out = top[:, None] * up + (1 - top[:, None]) * down
    forward = np.stack([0.5 * side * (rng.random(count) < 0.5), np.full(count, -1.), np.full(count, -0.3)], axis=1)
    out = np.where(fringe[:, None], forward, out)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-6)


def _to_tie(where: np.ndarray, left: int) -> np.ndarray:
    """Returns (N, 3) meters in the head's axes of one of ``left`` steps to the tie, over the head from its front."""
    out = TIE - where
    out[:, 2] += 1.5 * np.clip(0.1 - where[:, 1], 0, None)
    return out * 1.15 / left


def _off_face(points: np.ndarray, head: HeadFrame, aside: np.ndarray, fringe: np.ndarray) -> np.ndarray:
    """Moves hair in front of the face, but a fringe, to its sides."""
    local = head.local(points)
    face = (local[:, 1] < 0.05) & (local[:, 2] < _FACE_TOP) & (np.abs(local[:, 0]) < _FACE_WIDTH) & ~fringe
    local[face, 0] = 0.4 * local[face, 0] + 0.6 * _FACE_WIDTH * aside[face]
    return np.where(face[:, None], head.world(local), points)


def _strips(rows, outward, piece: dict, rng: np.random.Generator, scale: float) -> tuple:
    """Returns ribbons about middle lines, as `grow` does; their normals are those of rounded locks.

    Args:
        rows: K + 1 times (N, 3) points.
        outward: The same of unit normals of what they lie on.
    """
    middle, outward = np.stack(rows, axis=1), np.stack(outward, axis=1)
    count, rows = middle.shape[:2]
    along = np.gradient(middle, axis=1)
    side = np.cross(along, outward)
    side /= np.maximum(np.linalg.norm(side, axis=2, keepdims=True), 1e-9)
    t = np.linspace(0, 1, rows)
    curl = piece['curl'] * (0.004 if piece['kind'] not in TIED else 0.)
    phase = rng.uniform(0, 6.28, (count, 1)) + 2 * np.pi * rng.uniform(1, 2.5, (count, 1)) * t
    middle = middle + side * (curl * t * np.sin(phase))[..., None] * scale
    normal = np.cross(side, along)
    normal /= np.maximum(np.linalg.norm(normal, axis=2, keepdims=True), 1e-9)
    wide = (0.0085 if piece['kind'] in HANGING else 0.006) * rng.uniform(0.7, 1.3, (count, 1)) * scale
    half = 0.5 * (wide * (1 - t**3 * 0.95))[..., None] * side
    twist = rng.normal(0, 0.3, (count, 1, 1)) * normal * np.linalg.norm(half, axis=2, keepdims=True)
    vertices = np.stack([middle - half - twist, middle + half + twist], axis=2).reshape(-1, 3)
    normal = normal + 0.8 * outward
    normals = np.stack([normal - 0.6 * side, normal + 0.6 * side], axis=2).reshape(-1, 3)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    start = rng.random((count, 1, 1)) + [0., 0.06]
    uv = np.stack(np.broadcast_arrays(start, t[:, None]), axis=-1).reshape(-1, 2)
    first = np.arange(count)[:, None] * 2 * rows + 2 * np.arange(rows - 1)
    faces = triangles(np.stack([first, first + 1, first + 3, first + 2], axis=-1).reshape(-1, 4))
    return vertices.astype(np.float32), normals.astype(np.float32), faces, uv.astype(np.float32)


def draw_hair(color: list[float], seed: int) -> np.ndarray:
    """Returns (32, 128, 3) sRGB bytes of strands side by side, dark at the root (below) and lighter at the tip."""
    rng = np.random.default_rng(seed)
    streaks = rng.normal(0, 0.7, (1, 128))
    streaks += np.roll(streaks, 1)
    shade = np.linspace(1.2, 0.75, 32)[:, None] * np.exp(0.25 * streaks)
    return to_srgb_fast(shade[..., None] * np.array(color))
