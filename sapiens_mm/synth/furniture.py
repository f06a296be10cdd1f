"""Textured boxes, walls, floors and furniture."""
import numpy as np

from .mesh import Mesh, rotation_z
from .surfaces import draw_texture

#: Boxes in a unit cube: (middle x, y, z, width, depth, height), the front at -y; those of ``b`` have the second
#: texture.
FURNITURE = {
    'box': dict(size=np.array([0.6, 0.5, 0.7]), a=[(0, 0, 0.5, 1, 1, 1)], b=[]),
    'table': dict(size=np.array([1.4, 0.8, 0.75]), a=[(0, 0, 0.97, 1, 1, 0.06)],
                  b=[(x, y, 0.47, 0.06, 0.09, 0.94) for x in (-0.45, 0.45) for y in (-0.42, 0.42)]),
    'shelf': dict(size=np.array([0.9, 0.35, 1.9]),
                  a=[(x, 0, 0.5, 0.04, 1, 1) for x in (-0.48, 0.48)] + [(0, 0.48, 0.5, 1, 0.04, 1)] +
                  [(0, 0, z, 0.92, 1, 0.02) for z in (0.02, 0.26, 0.5, 0.74, 0.98)],
                  b=[(-0.2, 0.1, 0.36, 0.4, 0.6, 0.17), (0.15, 0.1, 0.6, 0.5, 0.6, 0.16),
                     (-0.3, 0.1, 0.84, 0.25, 0.6, 0.18), (0.25, 0.1, 0.11, 0.3, 0.6, 0.15)]),
    'sofa': dict(size=np.array([1.8, 0.85, 0.8]),
                 a=[(0, 0, 0.225, 1, 1, 0.45), (0, 0.4, 0.6, 1, 0.2, 0.8)] +
                 [(x, 0, 0.37, 0.104, 1.02, 0.74) for x in (-0.45, 0.45)],
                 b=[(x, -0.05, 0.5, 0.38, 0.7, 0.12) for x in (-0.2, 0.2)]),
    'cupboard': dict(size=np.array([1.0, 0.5, 2.0]), a=[(0, 0, 0.5, 1, 1, 1)],
                     b=[(x, -0.51, 0.5, 0.46, 0.02, 0.94) for x in (-0.245, 0.245)]),
    'lamp': dict(size=np.array([0.45, 0.45, 1.6]), a=[(0, 0, 0.86, 1, 1, 0.28)],
                 b=[(0, 0, 0.4, 0.07, 0.07, 0.8), (0, 0, 0.01, 0.6, 0.6, 0.02)]),
    'stool': dict(size=np.array([0.4, 0.4, 0.5]), a=[(0, 0, 0.95, 1, 1, 0.1)],
                  b=[(x, y, 0.45, 0.1, 0.1, 0.9) for x in (-0.4, 0.4) for y in (-0.4, 0.4)]),
}


_SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
_HALVES = np.array([[0, 1, 2], [0, 2, 3]])


def _mesh(name: str, vertices, faces, uv, texture, roughness: float) -> Mesh:
    return Mesh(name, np.asarray(vertices, np.float32), np.asarray(faces, np.int32), np.zeros(len(faces), np.uint8),
                uv=np.asarray(uv, np.float32), albedo=texture, roughness=roughness)


def upright(name: str, a, b, floor: float, height: float, texture, meters: float) -> Mesh:
    """Returns a wall from ``a`` (2,) to ``b`` (2,) whose texture repeats every ``meters``."""
    length = np.linalg.norm(b - a)
    vertices = [[*a, floor], [*b, floor], [*b, floor + height], [*a, floor + height]]
    return _mesh(name, vertices, _HALVES, _SQUARE * [length, height] / meters, texture, 1.0)


def level(name: str, corners: np.ndarray, height: float, texture, meters: float, roughness: float) -> Mesh:
    """Returns a horizontal quadrilateral at a height with ``corners`` (4, 2)."""
    vertices = np.concatenate([corners, np.full((4, 1), height)], axis=1)
    return _mesh(name, vertices, _HALVES, (corners - corners[0]) / meters, texture, roughness)


def block(name: str, center: np.ndarray, size, yaw: float, texture, meters: float | None = None,
          roughness: float = 0.6) -> Mesh:
    """Returns a box of ``size`` (width, depth, height) meters, turned by ``yaw`` radians; ``texture`` is uint8 sRGB."""
    vertices, uv = [], []
    for axis, (u, v) in enumerate(((1, 2), (0, 2), (0, 1))):
        for sign in (-1, 1):
            square = np.full((4, 3), sign / 2)
            square[:, [u, v]] = _SQUARE - 0.5
            # Counter-clockwise seen from outside.
            order = [0, 1, 2, 3] if (sign > 0) == (axis != 1) else [1, 0, 3, 2]
            vertices.append(square[order] * size)
            uv.append(_SQUARE * (1.0 if meters is None else np.array([size[u], size[v]]) / meters))
    placed = np.concatenate(vertices) @ rotation_z(yaw).T + center
    faces = np.arange(0, 24, 4)[:, None, None] + _HALVES
    return _mesh(name, placed, faces.reshape(-1, 3), np.concatenate(uv), texture, roughness)


def furnish(rng, name: str, place: np.ndarray, size: np.ndarray, yaw: float) -> tuple:
    """Returns the one or two meshes of a piece of `FURNITURE` on the floor at ``place``, and their kinds of texture."""
    meshes, textures = [], []
    turn = rotation_z(yaw)
    for boxes in (FURNITURE[name]['a'], FURNITURE[name]['b']):
        if not boxes:
            continue
        texture, kind = draw_texture(rng)
        textures.append(kind)
        blocks = [block(name, turn @ (np.array(box[:3]) * size) + place, np.array(box[3:]) * size, yaw, texture, 0.8)
                  for box in boxes]
        meshes.append(_mesh(name, np.concatenate([b.vertices for b in blocks]),
                            np.concatenate([b.faces + 24 * i for i, b in enumerate(blocks)]),
                            np.concatenate([b.uv for b in blocks]), texture, float(rng.choice([0.4, 0.7, 1.0]))))
    return meshes, textures
