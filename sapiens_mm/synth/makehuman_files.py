"""Readers of MakeHuman's assets: .mhclo with its .obj and .mhmat, and skins."""
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: The base mesh that assets must be made for, and its number of vertices; Anny's body has the same vertices.
BASE_MESH, NUM_VERTICES = 'hm08', 19158
#: From MakeHuman's axes (x left, y up, z to the front, decimeters) to the body's (x left, y back, z up, meters).
_AXES = np.array([[0.1, 0, 0], [0, 0, -0.1], [0, 0.1, 0]])
_TEXTURE_ERROR = 'expected an image; complete the asset or remove its folder'


@dataclass(frozen=True)
class Material:
    """The ``texture``'s path, or None; a linear RGB ``color``; and whether texels may be ``transparent``."""
    texture: Path | None
    color: tuple
    transparent: bool
    files: tuple


@dataclass(frozen=True)
class Asset:
    """A piece of clothing, hair or eyebrows for MakeHuman's base mesh.

    Attributes:
        tags: Lower-case words, such as ``female`` or ``shoes``.
        corners, weights: (V, 3) vertices of the base mesh whose weighted mean is a vertex of the piece.
        offsets: (V, 3) meters from there, in the body's axes.
        scales: For each of these axes two vertices of the base mesh and their distance in meters on the body for which
            the offsets were made, or None.
        deleted: Vertices of the base mesh that the piece hides.
        vertices: (V, 3) meters on that body, in the body's axes.
        faces, face_uv: (F, 3) triangles' vertices and texture coordinates (rows of ``uv``, (T, 2), v up).
    """
    name: str
    tags: frozenset
    corners: np.ndarray
    weights: np.ndarray
    offsets: np.ndarray
    scales: tuple
    deleted: np.ndarray
    vertices: np.ndarray
    faces: np.ndarray
    face_uv: np.ndarray
    uv: np.ndarray
    material: Material
    files: tuple

    def fit(self, body: np.ndarray) -> np.ndarray:
        """Returns (V, 3) positions on a body with (19158, 3) vertices in the rest pose."""
        scale = np.array([1. if one is None else abs(body[one[0], axis] - body[one[1], axis]) / one[2]
                          for axis, one in enumerate(self.scales)])
        return np.einsum('ni,nij->nj', self.weights, body[self.corners]) + self.offsets * scale


def read_asset(path: Path) -> Asset:
    """Reads a .mhclo file and what it names; raises a ValueError that names the file and the value that is wrong."""
    keys, tags, verts, deleted = _read_mhclo(path)
    for key in ('obj_file', 'material'):
        if key not in keys:
            raise ValueError(f"{path}: got no line '{key}', expected one; complete the file or remove its folder")
    if keys.get('basemesh', BASE_MESH) != BASE_MESH:
        raise ValueError(f"{path}: got an asset for '{keys['basemesh']}', expected '{BASE_MESH}'; remove its folder")
    obj = path.parent / keys['obj_file']
    vertices, uv, faces, face_uv = _read_obj(obj)
    if len(verts) != len(vertices):
        raise ValueError(f"{path}: got {len(verts)} lines of vertices, expected {len(vertices)}, as {obj} has")
    corners = verts[:, :3].astype(int)
    if not ((corners >= 0) & (corners < NUM_VERTICES)).all() or max(deleted, default=0) >= NUM_VERTICES:
        raise ValueError(f'{path}: got vertices up to {max(corners.max(), *deleted)}, expected 0 to {NUM_VERTICES - 1}')
    scales = [_scale(path, keys.get(f'{axis}_scale')) for axis in 'xzy']
    material = read_material(path.parent / keys['material'])
    return Asset(keys.get('name', path.stem), frozenset(tags), corners, verts[:, 3:6], verts[:, 6:] @ _AXES.T,
                 tuple(scales), np.array(sorted(deleted), int), vertices @ _AXES.T, faces, face_uv, uv, material,
                 (path, obj, *material.files))


def _read_mhclo(path: Path) -> tuple[dict, set, np.ndarray, list]:
    keys, tags, verts, deleted, section = {}, set(), [], [], ''
    for number, line in enumerate(_lines(path), 1):
        words = line.split()
        try:
            if not words or words[0].startswith(('#', '//')):
                continue
            if words[0][0].isalpha():
                keys[words[0]] = ' '.join(words[1:])
                if words[0] in ('verts', 'delete_verts'):  # other lines may come between their numbers
                    section = words[0]
                if words[0] == 'tag':
                    tags |= {word.lower() for word in words[1:]}
            elif section == 'verts':
                values = [float(word) for word in words]
                verts.append([values[0]] * 3 + [1, 0, 0, 0, 0, 0] if len(values) == 1 else values)
                if len(verts[-1]) != 9:
                    raise ValueError
            elif section == 'delete_verts':
                deleted += _ranges(words)
        except ValueError:
            raise ValueError(f'{path}, line {number}: got {line.strip()[:60]!r}, expected numbers of {section}; '
                             'restore the file or remove its folder') from None
    return keys, tags, np.array(verts, float).reshape(-1, 9), deleted


def _ranges(words: list[str]) -> list[int]:
    out = []
    for i, word in enumerate(words):
        if word == '-':
            out += range(out[-1] + 1, int(words[i + 1]))
        else:
            out.append(int(word))
    return out


def _scale(path: Path, text: str | None) -> tuple | None:
    if text is None:
        return None
    try:
        start, end, length = text.split()
        return int(start), int(end), float(length) / 10
    except ValueError:
        raise ValueError(f'{path}: got scale {text!r}, expected two vertices and a length') from None


def _read_obj(path: Path) -> tuple[np.ndarray, ...]:
    """Returns (V, 3) vertices, (T, 2) texture coordinates, and (F, 3) their indices at the corners of triangles."""
    vertices, uv, faces, face_uv = [], [], [], []
    for number, line in enumerate(_lines(path), 1):
        words = line.split()
        try:
            if words[:1] == ['v']:
                vertices.append([float(word) for word in words[1:4]])
            elif words[:1] == ['vt']:
                uv.append([float(word) for word in words[1:3]])
            elif words[:1] == ['f']:
                pairs = [[int(index) - 1 for index in word.split('/')[:2]] for word in words[1:]]
                for i in range(1, len(pairs) - 1):
                    (a, ta), (b, tb), (c, tc) = pairs[0], pairs[i], pairs[i + 1]
                    faces.append([a, b, c])
                    face_uv.append([ta, tb, tc])
        except ValueError:
            raise ValueError(f'{path}, line {number}: got {line.strip()[:60]!r}, expected vertices, texture '
                             'coordinates and faces with both') from None
    faces, face_uv = np.array(faces, int).reshape(-1, 3), np.array(face_uv, int).reshape(-1, 3)
    for what, indices, count in (('vertices', faces, len(vertices)), ('texture coordinates', face_uv, len(uv))):
        if not len(faces) or indices.min() < 0 or indices.max() >= count:
            raise ValueError(f'{path}: got {len(faces)} faces and {count} {what}, expected faces that use them')
    return np.array(vertices), np.array(uv), faces, face_uv


def read_material(path: Path) -> Material:
    """Reads a .mhmat file; raises a ValueError if its texture is missing or a Git LFS pointer."""
    values = {words[0]: words[1:] for words in map(str.split, _lines(path)) if words}
    texture = None
    if name := ' '.join(values.get('diffuseTexture', [])):
        texture = path.parent / name
        try:
            with open(texture, 'rb') as stream:
                pointer = stream.read(7) == b'version'
        except OSError:
            raise ValueError(f'{path}: got no file {texture}, {_TEXTURE_ERROR}') from None
        if pointer:
            raise ValueError(f'{texture}: got a Git LFS pointer, expected an image; run git lfs pull')
    color = tuple(float(word) for word in values.get('diffuseColor', [])) or (0.5, 0.5, 0.5)
    return Material(texture, color, values.get('transparent', ['False'])[0].lower() == 'true',
                    (path, texture) if texture else (path, ))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text('utf-8', 'replace').splitlines()
    except OSError as error:
        raise ValueError(f'{path}: cannot read the asset: {error.strerror or error}') from error


@dataclass(frozen=True)
class AssetFiles:
    """The assets in a folder of MakeHuman's layout: ``clothes``, ``hair``, ``eyebrows`` and ``skins``."""
    assets: dict[str, dict[str, Asset]]
    skins: dict[str, Material]

    @classmethod
    def read(cls, folder: Path) -> 'AssetFiles':
        """Reads all assets; FileNotFoundError if there are none, ValueError if one is broken."""
        assets = {kind: {path.relative_to(folder).with_suffix('').as_posix(): read_asset(path)
                         for path in sorted((folder / kind).rglob('*.mhclo'))}
                  for kind in ('clothes', 'hair', 'eyebrows')}
        skins = {path.relative_to(folder).with_suffix('').as_posix(): read_material(path)
                 for path in sorted((folder / 'skins').rglob('*.mhmat'))}
        if not any(assets.values()) and not skins:
            what = 'a folder without any' if folder.is_dir() else 'no folder'
            raise FileNotFoundError(f"{folder}: got {what}, expected MakeHuman's assets (clothes/NAME/NAME.mhclo, "
                                    'hair/NAME/NAME.mhclo, skins/NAME/NAME.mhmat)')
        return cls(assets, {name: skin for name, skin in skins.items() if skin.texture})

    @property
    def paths(self) -> list[Path]:
        """Returns all files, sorted."""
        used = [*(asset for kind in self.assets.values() for asset in kind.values()), *self.skins.values()]
        return sorted({Path(os.path.normpath(path)) for one in used for path in one.files})
