"""Triangle meshes in world coordinates, and their normals."""
from dataclasses import dataclass

import numpy as np


@dataclass
class Mesh:
    """A triangle mesh in the world: meters, z up.

    Attributes:
        name: A readable name, such as ``'skin'``, ``'hair'``, ``'floor'``.
        vertices, normals: (V, 3) float32; unit normals for smooth shading, or None for flat faces.
        faces: (F, 3) int32, counter-clockwise seen from outside.
        parts: (F,) uint8, each face's class among the 28 body parts (``0``: Background).
        instance: Number of the person from 1; 0 for everything else.
        uv: (V, 2) float32 texture coordinates (0 to 1, v up), or None if ``albedo`` is one color.
        albedo: Linear RGB (3,), 0 to 1, or a texture of sRGB bytes (h, w, 3) uint8.
        roughness: 0 (mirror) to 1 (chalk).
        part_weights: (V, 28) weight of each class at the vertices, or None: where a face's vertices differ in the
            largest, the class at each of its points is that of the largest interpolated weight.
    """
    name: str
    vertices: np.ndarray
    faces: np.ndarray
    parts: np.ndarray
    instance: int = 0
    uv: np.ndarray | None = None
    albedo: np.ndarray | tuple = (0.5, 0.5, 0.5)
    roughness: float = 0.6
    normals: np.ndarray | None = None
    part_weights: np.ndarray | None = None


def rotation_z(angle: float) -> np.ndarray:
    """Returns the (3, 3) rotation about the vertical by radians, counter-clockwise seen from above."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def triangles(quads: np.ndarray) -> np.ndarray:
    """Splits (F, 4) quads into (2 F, 3) int32 triangles: all first halves, then all second halves."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)


def subdivide(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Divides (F, 3) triangles at the middles of their edges: all first quarters, then all second ones, ...

    Returns (4 F, 3) faces of the old vertices and M new ones, and the (M,) ends of the edges of the new ones.
    """
    count = faces.max() + 1
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    unique, number = np.unique(edges, axis=0, return_inverse=True)
    (a, b, c), (ab, bc, ca) = faces.T, (count + number.reshape(-1, 3)).T
    quarters = [np.stack(corners, axis=1) for corners in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
    return np.concatenate(quarters), unique[:, 0], unique[:, 1]


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the (N, 3) cross products, several times as fast as NumPy."""
    (a0, a1, a2), (b0, b1, b2) = a.T, b.T
    return np.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], axis=1)


def face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Returns the (F, 3) normals of the faces; their length is twice the face's area."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return cross(b - a, c - a)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Returns (V, 3) float32 unit normals: means of the adjacent faces weighted by area; 0 without faces."""
    per_face = face_normals(vertices.astype(np.float64), faces)
    normals = np.zeros((len(vertices), 3))
    for corner in range(3):
        for axis in range(3):
            normals[:, axis] += np.bincount(faces[:, corner], per_face[:, axis], len(vertices))
    return (normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)).astype(np.float32)
