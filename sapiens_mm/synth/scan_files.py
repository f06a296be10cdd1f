"""Textured scans: reading from .obj, .ply and .glb files, and placement in meters with z up."""
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..utils.files import parse_json
from ..utils.images import no_other_formats, open_image
from .extra import trimesh
from .mesh import Mesh, rotation_z, vertex_normals

SUFFIXES = ('.obj', '.ply', '.glb')


class ScanError(ValueError):
    """A scan that cannot be used; the message names the file."""


@dataclass
class Placement:
    """Conversion of a scan's coordinates to meters with z up, facing -y.

    Attributes:
        up: ``'y'`` (the scan faces +z) or ``'z'`` (it faces -y).
        unit: Meters per unit of the file; by default 1, or computed from ``height``.
        height: Meters from the lowest to the highest vertex; cannot be combined with ``unit``.
        yaw: Rotation about the vertical in degrees, counter-clockwise seen from above.
    """
    up: str = 'y'
    unit: float | None = None
    height: float | None = None
    yaw: float = 0.0

    def __post_init__(self):
        if self.up not in ('y', 'z'):
            raise ValueError(f'up of the scans: got {self.up!r}, expected y or z')
        if self.unit is not None and self.height is not None:
            raise ValueError(f'scans: got the unit {self.unit} and the height {self.height}, expected one of them')
        for name, value in (('unit', self.unit), ('height', self.height)):
            if value is not None and not value > 0:
                raise ValueError(f'{name} of the scans: got {value}, expected positive meters')

    def place(self, vertices: np.ndarray, path) -> np.ndarray:
        """Returns (V, 3) float64 meters, standing on z = 0 with the middle of the bounding box at x = y = 0."""
        v = np.asarray(vertices, np.float64)
        if self.up == 'y':
            v = v[:, [0, 2, 1]] * [1, -1, 1]
        v = v @ rotation_z(np.radians(self.yaw)).T
        low, high = v.min(axis=0), v.max(axis=0)
        tall = high[2] - low[2]
        if not tall > 0:
            raise ScanError(f'{path}: got a height of {tall}, expected a person; is {self.up} its up?')
        scale = self.height / tall if self.height else self.unit or 1.0
        if not 0.3 <= tall * scale <= 3.0:
            raise ScanError(f'{path}: got {tall * scale:.4g} m at {scale:g} m per unit, expected a person of 0.3 to 3 '
                            'm; give the unit (--unit 0.01 for centimeters) or the height (--height 1.7)')
        return (v - [*(low + high)[:2] / 2, low[2]]) * scale


def load_scan(path, placement: Placement | None = None, allow_untextured: bool = False) -> list:
    """Reads a textured scan as meshes of instance 1 and part 0 (scans have no parts).

    Args:
        path: ``.obj`` (with .mtl and image), ``.ply`` (with vertex colors, or texture) or ``.glb``.
        placement: Conversion of its coordinates; by default y is up and units are meters.
        allow_untextured: Whether a scan without colors is accepted and rendered gray.

    Raises:
        FileNotFoundError: The file is missing.
        ScanError: The file has another suffix, cannot be read, has no triangles or texture, or has a wrong size.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist; expected a scan ({", ".join(SUFFIXES)})')
    check_suffix(path)
    tm = trimesh()
    try:
        with no_other_formats():  # trimesh opens images by their content
            scene = tm.load_scene(str(path), process=False, maintain_order=True)
            pieces = [p for p in scene.dump(concatenate=False) if isinstance(p, tm.Trimesh) and len(p.faces)]
    except Exception as error:  # trimesh's readers raise errors of any type for broken files
        raise ScanError(f'{path}: cannot be read as {path.suffix}: {type(error).__name__}: {error}') from error
    if not pieces:
        raise ScanError(f'{path}: got no triangles, expected a textured mesh')
    positions = np.concatenate([np.asarray(piece.vertices, np.float64) for piece in pieces])
    if not np.isfinite(positions).all():
        raise ScanError(f'{path}: got vertices of nan or infinity, expected finite ones')
    # Vertices without a triangle must not affect the size.
    starts = np.cumsum([0] + [len(piece.vertices) for piece in pieces])
    faces = np.concatenate([np.asarray(piece.faces) + start for piece, start in zip(pieces, starts)])
    unused = np.ones(len(positions), bool)
    unused[faces] = False
    positions[unused] = positions[faces[0, 0]]
    positions = (placement or Placement()).place(positions, path)
    normals = seamless_normals(positions, faces)
    return [_colored(piece, positions[start:end].astype(np.float32), normals[start:end], path, allow_untextured)
            for piece, start, end in zip(pieces, starts, starts[1:])]


def check_suffix(path: Path) -> None:
    """Raises a ScanError for a file of another format."""
    if path.suffix.lower() not in SUFFIXES:
        raise ScanError(f'{path}: got {path.suffix or "no suffix"}, expected a scan ({", ".join(SUFFIXES)})')


def seamless_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Returns (V, 3) float32 vertex normals, equal for vertices within a micrometer of each other, as at seams."""
    places = np.rint(np.asarray(vertices, np.float64) * 1e6).astype(np.int64)
    _, first, same = np.unique(places, axis=0, return_index=True, return_inverse=True)
    same = same.reshape(-1)
    return vertex_normals(vertices[first], same[faces])[same]


def _colored(piece, vertices: np.ndarray, normals: np.ndarray, path: Path, allow_untextured: bool) -> Mesh:
    """Returns a piece of a scan with the colors of its file."""
    faces = np.asarray(piece.faces, np.int32)
    made = dict(name=path.stem, vertices=vertices, faces=faces, parts=np.zeros(len(faces), np.uint8), instance=1,
                normals=normals, roughness=1.0)
    visual = piece.visual
    if visual.kind == 'texture':
        material = visual.material
        image = getattr(material, 'baseColorTexture', None) or getattr(material, 'image', None)
        uv = getattr(visual, 'uv', None)
        # Trimesh replaces a missing .mtl by a default image.
        if image is not None and uv is not None and (path.suffix.lower() != '.obj' or _missing_of_obj(path) is None):
            texture = np.ascontiguousarray(np.asarray(image.convert('RGB')))
            return Mesh(uv=np.asarray(uv, np.float32)[:, :2], albedo=texture, **made)
    elif visual.kind in ('vertex', 'face'):
        # One texel per triangle: the renderer takes textures only.
        colors = np.asarray(visual.face_colors)[:, :3].astype(np.uint8)
        if visual.kind == 'vertex':
            colors = np.rint(np.asarray(visual.vertex_colors)[:, :3][faces].mean(axis=1)).astype(np.uint8)
        side = int(np.ceil(np.sqrt(len(faces))))
        texture = np.zeros((side * side, 3), np.uint8)
        texture[:len(faces)] = colors
        row, column = np.divmod(np.arange(len(faces)), side)
        uv = np.stack([(column + 0.5) / side, 1 - (row + 0.5) / side], axis=1).astype(np.float32)
        made.update(vertices=vertices[faces.ravel()], normals=normals[faces.ravel()],
                    faces=np.arange(faces.size, dtype=np.int32).reshape(-1, 3))
        return Mesh(uv=np.repeat(uv, 3, axis=0), albedo=texture.reshape(side, side, 3), **made)
    if not allow_untextured:
        raise ScanError(_untextured(path, _missing_texture(path)))
    return Mesh(albedo=(0.5, 0.5, 0.5), **made)


def check_textures(paths: list) -> None:
    """Raises a ScanError for scans without colors; reads only the beginnings of the files, before hours of rendering.

    `load_scan` detects the remaining cases, such as missing texture coordinates.
    """
    missing = [(path, what) for path in paths if (what := _missing_texture(path))]
    if missing:
        names = [str(path) for path, _ in missing[1:5]] + ['...'] * (len(missing) > 5)
        more = f' ({len(missing)} of {len(paths)} scans have none: also {", ".join(names)})' if names else ''
        raise ScanError(_untextured(*missing[0]) + more)


def _untextured(path: Path, missing: str | None) -> str:
    if missing is None:
        missing = ('texture coordinates, and an image for each of its materials' if path.suffix.lower() == '.obj' else
                   'an image in the file, or vertex colors')
    return f'{path}: got no texture, expected {missing}; add it, or give --allow-untextured to render the scan gray'


def _missing_texture(path: Path) -> str | None:
    """Returns what a scan without colors lacks, from the beginning of its file; None for broken files."""
    suffix = path.suffix.lower()
    if suffix == '.obj':
        with open(path, errors='replace') as file:
            vertex = next((line for line in file if line.startswith('v ')), '')
        # Of seven words the last three are red, green and blue.
        return None if not vertex or len(vertex.split()) >= 7 else _missing_of_obj(path)
    with open(path, 'rb') as file:
        if suffix == '.ply':
            head = file.read(1 << 16).split(b'end_header')[0].lower()
            if head.startswith(b'ply') and b' red' not in head and b'texturefile' not in head:
                return 'vertex colors, or a line "comment TextureFile IMAGE" in its header'
            return None
        try:
            _, _, _, length, kind = struct.unpack('<4s2II4s', file.read(20))
            content = parse_json(file.read(length)) if kind == b'JSON' else {}
        except (struct.error, ValueError):
            return None
    shapes = [shape for mesh in content.get('meshes', []) for shape in mesh.get('primitives', [])]
    if shapes and not content.get('textures') and not any('COLOR_0' in shape.get('attributes', {}) for shape in shapes):
        return 'an image in the file, or vertex colors'
    return None


def _missing_of_obj(path: Path) -> str | None:
    """Returns the first missing reference from an .obj to its image."""
    with open(path, errors='replace') as file:
        name = next((line.split(maxsplit=1)[1].strip() for line in file if line.startswith('mtllib ')), None)
    if name is None:
        return 'a line "mtllib NAME.mtl" in it, and that file with a line "map_Kd IMAGE"'
    material = path.parent / name
    if not material.is_file():
        return f'its material {material}'
    lines = [line.strip() for line in material.read_text(errors='replace').splitlines()]
    images = [path.parent / line.split(maxsplit=1)[1].strip() for line in lines if line.startswith('map_Kd ')]
    if not images:
        return f'a line "map_Kd IMAGE" in {material}'
    for image in images:
        try:
            open_image(image).close()
        except Exception as error:  # Pillow's readers raise errors of any type
            return f'the image {image} of {name} ({error})' if image.is_file() else f'the image {image} of {name}'
    return None
