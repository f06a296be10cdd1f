"""Point clouds (PLY) and textured meshes (GLB) of the people in an image."""
import json
import os
import struct
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
from PIL import Image

from ..version import __version__

#: Depth in meters between neighboring pixels from which they belong to two surfaces.
EDGE = .05


@dataclass
class Surface:
    """Points of people on the grid of an image's pixels.

    Attributes:
        points: (H, W, 3) float32 meters in glTF's axes: x right, y up, z to the viewer, who is at 0; any off people.
        owner: (H, W) int, number of the person, -1 off people.
        image: (H, W, 3) uint8 RGB.
        normals: (H, W, 3) float32 unit normals in these axes, or None.
        notes: How the points were computed, JSON values.
    """
    points: np.ndarray
    owner: np.ndarray
    image: np.ndarray
    normals: np.ndarray | None = None
    notes: dict = field(default_factory=dict)

    def cloud(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Returns points (N, 3) float32, colors (N, 3) uint8 and normals (N, 3) float32 or None of all people."""
        at = self.owner >= 0
        return self.points[at], self.image[at], None if self.normals is None else self.normals[at]

    def reduced(self, height: int) -> 'Surface':
        """Returns every n-th row and column, so that at most ``height`` rows remain."""
        step = slice(None, None, max(1, -(-len(self.owner) // height)))
        return Surface(self.points[step, step], self.owner[step, step], self.image[step, step],
                       None if self.normals is None else self.normals[step, step], self.notes)

    def scene(self, edge: float = EDGE):
        """Returns a ``trimesh.Scene`` with a mesh ``person_000``, ... of each person who has triangles.

        No triangle connects pixels whose depths differ by more than ``edge`` meters. Raises a ValueError without
        trimesh.
        """
        trimesh = import_trimesh()
        scene = trimesh.Scene(metadata=self.notes)
        faces = triangulate(self.points[..., 2], self.owner, edge)
        owner = self.owner.ravel()[faces[:, 0]]
        for person in np.unique(owner):
            pixels, corners = np.unique(faces[owner == person], return_inverse=True)
            name = f'person_{person:03d}'
            scene.add_geometry(self._mesh(trimesh, pixels, corners.reshape(-1, 3)), name, name)
        return scene

    def _mesh(self, trimesh, pixels: np.ndarray, faces: np.ndarray):
        rows, columns = np.unravel_index(pixels, self.owner.shape)
        top, left, height, width = rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1
        texture = Image.fromarray(self.image[top:top + height, left:left + width])
        uv = np.stack([(columns - left + .5) / width, 1 - (rows - top + .5) / height], axis=1)
        material = trimesh.visual.material.PBRMaterial(
            baseColorTexture=texture, metallicFactor=0., roughnessFactor=1., doubleSided=True)
        return trimesh.Trimesh(
            self.points[rows, columns], faces, process=False,
            vertex_normals=None if self.normals is None else self.normals[rows, columns],
            visual=trimesh.visual.TextureVisuals(uv, material=material))


def triangulate(z: np.ndarray, owner: np.ndarray, edge: float) -> np.ndarray:
    """Returns triangles (F, 3) of pixel numbers, counter-clockwise seen by the viewer.

    Each connects neighboring pixels of one owner (H, W), from 0, whose depths z (H, W) differ by at most ``edge``. A
    square is divided along the diagonal with the smaller difference.
    """
    number = np.arange(owner.size).reshape(owner.shape)
    a, b, c, d = (number[rows, columns].ravel() for rows in (slice(-1), slice(1, None))
                  for columns in (slice(-1), slice(1, None)))
    z, owner = z.ravel().astype(np.float64), owner.ravel()

    def gap(start: np.ndarray, end: np.ndarray) -> np.ndarray:
        same = (owner[start] == owner[end]) & (owner[start] >= 0)
        return np.where(same, np.abs(z[start] - z[end]), np.inf)

    along = gap(a, d) <= gap(b, c)
    faces = np.concatenate([
        np.stack([a, c, np.where(along, d, b)], axis=1), np.stack([np.where(along, a, c), d, b], axis=1)])
    gaps = [gap(faces[:, i], faces[:, j]) for i, j in ((0, 1), (1, 2), (2, 0))]
    return faces[np.max(gaps, axis=0) <= edge]


def import_trimesh():
    """Returns ``trimesh``, or raises a ValueError that says how to install it."""
    try:
        import trimesh
    except ImportError as error:
        raise ValueError(f"ply, glb: meshes need trimesh ({error}): pip install 'sapiens_mm[mesh]'") from error
    return trimesh


def write_ply(path: str | os.PathLike, surface: Surface) -> None:
    """Writes the point cloud of all people with colors, normals if known, and the notes as a comment."""
    import_trimesh()
    from trimesh.exchange.ply import export_ply
    points, colors, normals = surface.cloud()
    colors = np.column_stack([colors, np.full((len(colors), 1), 255, np.uint8)])
    # Not trimesh's PointCloud, which has no normals, and cannot be empty.
    cloud = SimpleNamespace(vertices=points, vertex_normals=normals,
                            visual=SimpleNamespace(kind='vertex', vertex_colors=colors))
    content = export_ply(cloud, vertex_normal=normals is not None, include_attributes=False)
    head, rest = content.split(b'comment', 1)
    comment = f'comment sapiens_mm {__version__} {json.dumps(surface.notes)}\n'.encode()
    with open(path, 'wb') as file:
        file.write(head + comment + b'comment' + rest)


def write_glb(path: str | os.PathLike, surface: Surface, edge: float = EDGE) -> None:
    """Writes :meth:`Surface.scene`, with the notes as ``extras`` of the scene."""
    scene = surface.scene(edge)
    with open(path, 'wb') as file:
        file.write(scene.export(file_type='glb', tree_postprocessor=_sign) if scene.geometry else
                   _empty_glb(surface.notes))


def _sign(tree: dict) -> None:
    tree['asset']['generator'] = f'sapiens_mm {__version__} by {tree["asset"].get("generator", "trimesh")}'


def _empty_glb(notes: dict) -> bytes:
    """Returns a scene without meshes, which trimesh does not write."""
    tree = dict(asset=dict(version='2.0', generator=''), scene=0, scenes=[dict(extras=notes)])
    _sign(tree)
    content = json.dumps(tree).encode()
    content += b' ' * (-len(content) % 4)
    return struct.pack('<4sIII4s', b'glTF', 2, 20 + len(content), len(content), b'JSON') + content
