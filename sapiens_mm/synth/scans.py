"""Depth, normals and masks of textured scans: the paper's benchmark protocol, whose renderer was never released.

THuman2.0 (``0000/0000.obj``, ``0000/material0.mtl``, ``0000/material0.jpeg``, ... 526 folders): three virtual cameras
per scan (face, upper body, full body), 1578 pictures over random backgrounds. What is relied on:

* y is up and the person faces +z, more or less: the scans are not turned to one direction. `--yaw` turns all, a JSON
  file of yaws turns each.
* Their authors scaled every scan to about the same height and do not give the real ones
  (ytrock/THuman2.0-Dataset, issues 2 and 16). So the scan's height becomes 1.7 m unless another is given: depths are
  right up to one factor per scan, which the relative depth of the benchmark ignores.

Hi4D (pairs 28, 32, 37, camera 4; yifeiyin04/Hi4D, dataset.md): labels over the real photos. What is relied on::

    pairXX/actionXX/cameras/rgb_cameras.npz          ids (8,), intrinsics (8, 3, 3), extrinsics (8, 3, 4) world to
                                                     camera (OpenCV), dist_coeffs (8, 5)
    pairXX/actionXX/frames/mesh-f00XXX.obj           the raw scan, in metres
    pairXX/actionXX/images/4/000XXX.jpg              the photo of camera 4
    pairXX/actionXX/seg/mesh_seg_mask/mesh-f00XXX.npz   vertices_mask (V,): 0 or 1 for each vertex's person (optional)

The labels are those of a camera without distortion. Where ``dist_coeffs`` are not zero, the photo is undistorted.

The regions of a scan come from its height h alone: the face is the top 0.14 h, the upper body the top 0.5 h. A hand
above the head therefore moves the face's picture up.

Output: ``images/ID.png``; ``masks/ID.png`` (0 or 255); ``depth/ID.npy`` (H, W) float32 metres along the optical axis, 0
off the person; ``normal/ID.npy`` (H, W, 3) float32 unit, x right, y up, z to the viewer, 0 off the person;
``instances/ID.png`` (1, 2, ...) where there are several persons; ``cameras/ID.json``, written last.
"""
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sapiens_mm.utils.files import parse_json
from sapiens_mm.utils.images import no_other_formats, open_image

from .camera import Camera, check_size, frame_box
from .extra import needs_extra
from .mesh import Mesh, rotation_z, vertex_normals
from .render import label_buffers, mitsuba, render
from .scenery import Assets, draw_scenery, read_photo
from .writer import clean, differences, read_json, write_files

SUFFIXES = ('.obj', '.ply', '.glb')
#: Name: share of the height it begins at, focal length (units of the longer side) from .. to, margin.
FRAMINGS = {
    'face': (0.86, (1.8, 2.8), 0.08),
    'upper_body': (0.5, (1.4, 2.4), 0.05),
    'full_body': (0.0, (1.2, 2.2), 0.05),
}
#: Metres; THuman2.0's scans have no size of their own.
THUMAN_HEIGHT = 1.7
HI4D_PAIRS = (28, 32, 37)
HI4D_CAMERA = 4


class ScanError(ValueError):
    """A scan that cannot be used; the message names the file."""


@dataclass
class Placement:
    """How a scan's numbers become metres with z up, facing -y.

    Attributes:
        up: ``'y'`` (then it faces +z) or ``'z'`` (then it faces -y).
        unit: Metres per unit of the file; None: 1, or by ``height``.
        height: Metres from the lowest to the highest vertex; not with ``unit``.
        yaw: Degrees to turn it about the vertical, counter-clockwise seen from above.
    """

    up: str = 'y'
    unit: float | None = None
    height: float | None = None
    yaw: float = 0.0

    def __post_init__(self):
        if self.up not in ('y', 'z'):
            raise ValueError(f'the scan\'s up must be y or z, not {self.up!r}')
        if self.unit is not None and self.height is not None:
            raise ValueError('give the scans\' unit or their height, not both')
        for name, value in (('unit', self.unit), ('height', self.height)):
            if value is not None and not value > 0:
                raise ValueError(f'the scans\' {name} must be positive metres, not {value}')

    def place(self, vertices: np.ndarray, path) -> np.ndarray:
        """(V, 3) float64 metres, standing on z = 0 with the middle of its box at x = y = 0.

        Raises:
            ScanError: It has no height, or one that no person has.
        """
        v = np.asarray(vertices, np.float64)
        if self.up == 'y':
            v = v[:, [0, 2, 1]] * [1, -1, 1]
        v = v @ rotation_z(np.radians(self.yaw)).T
        low, high = v.min(axis=0), v.max(axis=0)
        tall = high[2] - low[2]
        if not tall > 0:
            raise ScanError(f'{path} is flat: all its vertices have the same height; is {self.up} its up?')
        scale = self.height / tall if self.height else self.unit or 1.0
        if not 0.3 <= tall * scale <= 3.0:
            raise ScanError(f'{path} is {tall * scale:.4g} m high at {scale:g} m per unit; expected a person of 0.3 to '
                            '3 m: give the unit (--unit 0.01 for centimetres) or the height (--height 1.7)')
        return (v - [*(low + high)[:2] / 2, low[2]]) * scale


def trimesh():
    """The module ``trimesh``.

    Raises:
        MissingExtra: It is not installed.
    """
    with needs_extra('reading scans'):
        import trimesh as module
    return module


def load_scan(path, placement: Placement | None = None, allow_untextured: bool = False) -> list:
    """A textured scan as meshes of instance 1 (part 0: scans come without parts).

    Args:
        path: ``.obj`` (with .mtl and picture), ``.ply`` (with vertex colours, or texture) or ``.glb``.
        placement: How its numbers become metres; y up and metres by default.
        allow_untextured: Take a scan without colours, and render it gray.

    Raises:
        FileNotFoundError: No such file.
        ScanError: Another suffix, no triangles, unreadable, no texture, or of a wrong size.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist; expected a scan ({", ".join(SUFFIXES)})')
    if path.suffix.lower() not in SUFFIXES:
        raise ScanError(f'{path} is not a scan that can be read; expected {", ".join(SUFFIXES)}')
    tm = trimesh()
    try:
        with no_other_formats():  # trimesh opens pictures by their content
            scene = tm.load_scene(str(path), process=False, maintain_order=True)
            pieces = [p for p in scene.dump(concatenate=False) if isinstance(p, tm.Trimesh) and len(p.faces)]
    except Exception as error:  # trimesh's readers raise whatever a broken file makes them
        raise ScanError(f'{path} cannot be read as {path.suffix}: {type(error).__name__}: {error}') from error
    if not pieces:
        raise ScanError(f'{path} holds no triangles; expected a textured mesh')
    positions = np.concatenate([np.asarray(piece.vertices, np.float64) for piece in pieces])
    if not np.isfinite(positions).all():
        raise ScanError(f'{path} has vertices that are not finite')
    # Vertices without a triangle must not count for the size.
    starts = np.cumsum([0] + [len(piece.vertices) for piece in pieces])
    faces = np.concatenate([np.asarray(piece.faces) + start for piece, start in zip(pieces, starts)])
    used = np.zeros(len(positions), bool)
    used[faces] = True
    positions[~used] = positions[faces[0, 0]]
    positions = (placement or Placement()).place(positions, path)
    normals = seamless_normals(positions, faces)
    meshes = []
    for piece, start in zip(pieces, starts):
        own = slice(start, start + len(piece.vertices))
        meshes.append(_colored(piece, positions[own].astype(np.float32), normals[own], path, allow_untextured))
    return meshes


def seamless_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) float32 vertex normals; vertices at one place (within a micrometre), as along seams, share theirs."""
    places = np.rint(np.asarray(vertices, np.float64) * 1e6).astype(np.int64)
    _, first, same = np.unique(places, axis=0, return_index=True, return_inverse=True)
    same = same.reshape(-1)
    return vertex_normals(vertices[first], same[faces])[same]


def _colored(piece, vertices: np.ndarray, normals: np.ndarray, path: Path, allow_untextured: bool) -> Mesh:
    """One piece of a scan with the colours that its file gives."""
    faces = np.asarray(piece.faces, np.int32)
    made = dict(name=path.stem, vertices=vertices, faces=faces, parts=np.zeros(len(faces), np.uint8), instance=1,
                normals=normals, roughness=1.0)
    visual = piece.visual
    if visual.kind == 'texture':
        material = visual.material
        image = getattr(material, 'baseColorTexture', None) or getattr(material, 'image', None)
        uv = getattr(visual, 'uv', None)
        # Trimesh puts a picture of its own in the place of a missing .mtl.
        if image is not None and uv is not None and (path.suffix.lower() != '.obj' or _obj_lacks(path) is None):
            texture = np.ascontiguousarray(np.asarray(image.convert('RGB')))
            return Mesh(uv=np.asarray(uv, np.float32)[:, :2], albedo=texture, **made)
    elif visual.kind in ('vertex', 'face'):
        # One texel per triangle: scans have millions of triangles, and textures are what the renderer takes.
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
        raise ScanError(_untextured(path, _texture_lacks(path)))
    return Mesh(albedo=(0.5, 0.5, 0.5), **made)


def _untextured(path: Path, lacks: str | None) -> str:
    if lacks is None:
        lacks = 'a picture in the file, or colours of its vertices'
        if path.suffix.lower() == '.obj':
            lacks = 'texture coordinates, and a picture for each of its materials'
    return (f'{path} has no texture; expected {lacks}: put it beside the scan, or give --allow-untextured to render it '
            'gray')


def check_textures(paths: list):
    """Refuses scans without colours by a look at the beginnings of their files, so before hours of rendering.

    `load_scan` finds what this does not see, such as missing texture coordinates.

    Raises:
        ScanError: It names the first such scan, what it lacks, and how many others there are.
    """
    lacking = [(path, lacks) for path, lacks in ((path, _texture_lacks(path)) for path in paths) if lacks]
    if lacking:
        names = [str(path) for path, _ in lacking[1:5]] + ['...'] * (len(lacking) > 5)
        more = f' ({len(lacking)} of {len(paths)} scans have none: also {", ".join(names)})' if names else ''
        raise ScanError(_untextured(*lacking[0]) + more)


def _texture_lacks(path: Path) -> str | None:
    """What a scan's files lack of its colours, as far as their beginnings tell; broken files are not judged."""
    suffix = path.suffix.lower()
    if suffix == '.obj':
        with open(path, errors='replace') as file:
            vertex = next((line for line in file if line.startswith('v ')), '')
        # Of seven words the last three are red, green and blue.
        return None if not vertex or len(vertex.split()) >= 7 else _obj_lacks(path)
    with open(path, 'rb') as file:
        if suffix == '.ply':
            head = file.read(1 << 16).split(b'end_header')[0].lower()
            if head.startswith(b'ply') and b' red' not in head and b'texturefile' not in head:
                return 'colours of its vertices, or a line "comment TextureFile PICTURE" in its head'
            return None
        try:
            _, _, _, length, kind = struct.unpack('<4s2II4s', file.read(20))
            content = parse_json(file.read(length)) if kind == b'JSON' else {}
        except (struct.error, ValueError):
            return None
    shapes = [shape for mesh in content.get('meshes', []) for shape in mesh.get('primitives', [])]
    if shapes and not content.get('textures') and not any('COLOR_0' in shape.get('attributes', {}) for shape in shapes):
        return 'a picture in the file, or colours of its vertices'
    return None


def _obj_lacks(path: Path) -> str | None:
    """The first thing missing on the way from an .obj to its picture."""
    with open(path, errors='replace') as file:
        named = next((line.split(maxsplit=1)[1].strip() for line in file if line.startswith('mtllib ')), None)
    if named is None:
        return 'a line "mtllib NAME.mtl" in it, and that file with a line "map_Kd PICTURE"'
    if not (path.parent / named).is_file():
        return f'{path.parent / named}, which it names'
    lines = (path.parent / named).read_text(errors='replace').splitlines()
    pictures = [line.strip().split(maxsplit=1)[1].strip() for line in lines if line.strip().startswith('map_Kd ')]
    if not pictures:
        return f'a line "map_Kd PICTURE" in {path.parent / named}'
    for picture in pictures:
        if not (path.parent / picture).is_file():
            return f'the picture {path.parent / picture}, which {named} names'
        try:
            open_image(path.parent / picture).close()
        except Exception:  # Pillow's readers raise nearly anything
            return f'a picture that can be read as {path.parent / picture}, which {named} names'
    return None


def find_scans(source) -> tuple:
    """The scans under a path.

    Args:
        source: A scan, a folder of scans, or a folder of THuman2.0's layout.

    Returns:
        ``(layout, {name: path})``, layout ``'thuman2'`` or ``'files'``, names sorted.

    Raises:
        FileNotFoundError: Nothing there, or no scans in it.
        ScanError: A single file of another kind.
    """
    source = Path(source)
    if source.is_file():
        if source.suffix.lower() not in SUFFIXES:
            raise ScanError(f'{source} is not a scan that can be read; expected {", ".join(SUFFIXES)}')
        return 'files', {source.stem: source}
    if not source.is_dir():
        raise FileNotFoundError(f'{source} does not exist; expected a scan, a folder of scans ({", ".join(SUFFIXES)}), '
                                'or the folder of THuman2.0 that holds 0000, 0001, ...')
    folders = sorted(p for p in source.iterdir() if p.is_dir() and re.fullmatch(r'\d{4}', p.name))
    if folders:
        scans = {folder.name: folder / f'{folder.name}.obj' for folder in folders}
        missing = [str(path) for path in scans.values() if not path.is_file()]
        if missing:
            raise FileNotFoundError(f'{missing[0]} is missing ({len(missing)} of {len(scans)} folders lack their '
                                    'scan); expected THuman2.0 as NNNN/NNNN.obj')
        return 'thuman2', scans
    paths = sorted(p for p in source.rglob('*') if p.suffix.lower() in SUFFIXES and p.is_file())
    if not paths:
        raise FileNotFoundError(f'{source} holds no scans ({", ".join(SUFFIXES)}) and no folders 0000, 0001, ...')
    names = ['_'.join(path.relative_to(source).with_suffix('').parts) for path in paths]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ScanError(f'{source} holds several scans of the name {twice[0]}; give each its own')
    return 'files', dict(zip(names, paths))


def region(meshes: list, framing: str) -> np.ndarray:
    """(N, 3) vertices of a placed scan that a framing must show: from a share of its height on.

    For the face only those near the middle of that slice, so that a raised hand beside the head does not widen it.
    """
    vertices = np.concatenate([mesh.vertices for mesh in meshes])
    height = vertices[:, 2].max()
    chosen = vertices[vertices[:, 2] >= FRAMINGS[framing][0] * height]
    if framing == 'face':
        near = np.abs(chosen[:, :2] - np.median(chosen[:, :2], axis=0)).max(axis=1) < 0.1 * height
        chosen = chosen[near] if near.any() else chosen
    return chosen


def finished(out, name: str, settings: dict) -> bool:
    """Whether a picture is there already.

    Raises:
        ValueError: It is, but was made with other settings, or its JSON is broken.
    """
    path = Path(out) / f'cameras/{name}.json'
    if not path.is_file():
        return False
    record = read_json(path, 'remove it, and the same command makes its picture again')
    before = record.get('settings', {})
    if 'size' in before:  # as version 0.1.0 wrote it: width, height
        before['size_hw'] = before.pop('size')[::-1]
    differ = differences(before, settings)
    if differ:
        raise ValueError(f'{path} was made with other settings ({differ}): give another output folder')
    return True


def render_scans(source, out, *, size: tuple = (1024, 768), samples: int = 32, seed: int = 0,
                 placement: Placement | None = None, yaws: dict | None = None, assets: Assets | None = None,
                 framings: tuple = tuple(FRAMINGS), turn: float = 20.0, shard: tuple = (0, 1),
                 allow_untextured: bool = False, progress=None) -> int:
    """Renders scans under the paper's protocol; goes on where an interrupted run stopped.

    Each picture depends on the seed, its scan's name and its framing, not on the others.

    Args:
        source: See `find_scans`.
        out: The data set's folder.
        size: ``(height, width)`` pixels.
        samples: Rays per pixel.
        seed: Of cameras, backgrounds, light and noise.
        placement: See `Placement`; THuman2.0 without one gets `THUMAN_HEIGHT`.
        yaws: Degrees by scan name, added to the placement's.
        assets: The user's photos and HDRIs.
        framings: Names from `FRAMINGS`.
        turn: Degrees that a camera may stand to the left or right of the scan's front.
        shard: ``(i, n)``: only every n-th scan from the i-th (0 .. n - 1).
        allow_untextured: See `load_scan`.
        progress: Called as ``progress(done, total, name)`` after each picture.

    Returns:
        The number of pictures made now.

    Raises:
        ValueError: Bad settings. ScanError, FileNotFoundError, OSError: see `load_scan`, `write_bytes`.
    """
    mitsuba(), trimesh()
    size = check_size(size)
    if samples < 1:
        raise ValueError(f'samples per pixel must be at least 1, not {samples}')
    unknown = set(framings) - set(FRAMINGS)
    if unknown or not framings:
        raise ValueError(f'no framing {", ".join(sorted(unknown)) or "given"}; known: {", ".join(FRAMINGS)}')
    layout, scans = find_scans(source)
    placement = placement or Placement(height=THUMAN_HEIGHT if layout == 'thuman2' else None)
    if layout == 'thuman2' and placement.unit is None and placement.height is None:
        placement = Placement(placement.up, None, THUMAN_HEIGHT, placement.yaw)
    if not 0 <= shard[0] < shard[1]:
        raise ValueError(f'shard {shard[0]} of {shard[1]}: expected 0 <= i < n')
    assets, yaws = assets or Assets(), yaws or {}
    stray = sorted(set(yaws) - set(scans))
    if stray:
        raise ValueError(f'yaws for scans that are not there: {", ".join(stray[:5])}')
    mine = list(scans.items())[shard[0]::shard[1]]
    if not allow_untextured:
        check_textures([path for _, path in mine])
    clean(out, {f'{name}_{framing}' for name, _ in mine for framing in FRAMINGS}.__contains__)
    made, total = 0, len(mine) * len(framings)
    for number, (name, path) in enumerate(mine):
        pose = Placement(placement.up, placement.unit, placement.height, placement.yaw + yaws.get(name, 0.0))
        settings = dict(size_hw=list(size), samples=samples, seed=seed, up=pose.up, unit=pose.unit, height=pose.height,
                        yaw=pose.yaw, turn=turn, **assets.fingerprints)
        meshes = None
        for k, framing in enumerate(framings):
            id_ = f'{name}_{framing}'
            if not finished(out, id_, settings):
                meshes = meshes or load_scan(path, pose, allow_untextured)
                rng = np.random.default_rng([seed, zlib.crc32(id_.encode())])
                vertices = np.concatenate([mesh.vertices for mesh in meshes])
                _, (low, high), margin = FRAMINGS[framing]
                view = dict(focal=float(rng.uniform(low, high)), azimuth=float(rng.uniform(-turn, turn)),
                            elevation=float(rng.uniform(-5, 10)), roll=float(rng.normal(0, 2)))
                camera = frame_box(region(meshes, framing), size, margin=margin, **view)
                scenery = draw_scenery(rng, camera, vertices[::max(1, len(vertices) // 2000)],
                                       float(vertices[:, 2].min()), assets)
                noise = int(rng.integers(2**32))
                buffers = render(meshes + scenery.meshes, camera, scenery.lights, samples=samples, seed=noise,
                                 backdrop=scenery.backdrop, key=scenery.key)
                if not buffers.person.any():
                    raise ScanError(f'{path}: nothing of it is seen in the framing {framing}')
                write_files(out, id_, buffers.rgb, buffers, camera, ('depth', 'normal'), 'cameras',
                            dict(id=id_, scan=name, framing=framing, view=view, scenery=scenery.parameters,
                                 noise=noise, settings=settings))
                made += 1
            if progress:
                progress(number * len(framings) + k + 1, total, id_)
    return made


# Hi4D


def read_obj(path) -> tuple:
    """Vertices and triangles of an .obj in the file's order, without anything else.

    Trimesh splits vertices along the seams of textures; the masks of Hi4D are per vertex of the file.

    Returns:
        (V, 3) float64 and (F, 3) int64. Polygons become fans.

    Raises:
        ScanError: No triangles, or broken lines.
    """
    vertices, faces = [], []
    try:
        with open(path) as file:
            for line in file:
                if line.startswith('v '):
                    vertices.append([float(x) for x in line.split()[1:4]])
                elif line.startswith('f '):
                    corners = [int(c.split('/')[0]) for c in line.split()[1:]]
                    corners = [c - 1 if c > 0 else len(vertices) + c for c in corners]
                    faces += [(corners[0], b, c) for b, c in zip(corners[1:], corners[2:])]
        vertices, faces = np.array(vertices, np.float64).reshape(-1, 3), np.array(faces, np.int64).reshape(-1, 3)
    except (ValueError, UnicodeDecodeError) as error:
        raise ScanError(f'{path} cannot be read as .obj: {error}') from error
    if not len(faces) or faces.min() < 0 or faces.max() >= len(vertices):
        raise ScanError(f'{path} holds {len(vertices)} vertices and {len(faces)} triangles, or triangles of vertices '
                        'that it lacks')
    return vertices, faces


def find_hi4d(source, pairs: tuple = HI4D_PAIRS) -> list:
    """The sequences (``pairXX/actionXX`` folders) of some pairs, sorted.

    Args:
        source: Hi4D's folder, a pair's, or a sequence's.
        pairs: Numbers; ignored where ``source`` is itself a pair or sequence.

    Raises:
        FileNotFoundError: The folder, a pair or its camera file is missing.
    """
    source = Path(source)
    if not source.is_dir():
        raise FileNotFoundError(f'{source} does not exist; expected the folder of Hi4D that holds pair00, pair01, ...')
    if (source / 'cameras/rgb_cameras.npz').is_file():
        return [source]
    folders = [source] if re.fullmatch(r'pair\d+', source.name) else [source / f'pair{pair:02d}' for pair in pairs]
    sequences = []
    for folder in folders:
        found = sorted(p.parents[1] for p in folder.glob('*/cameras/rgb_cameras.npz'))
        if not found:
            raise FileNotFoundError(f'{folder} holds no sequence; expected '
                                    f'{folder.name}/ACTION/cameras/rgb_cameras.npz as in Hi4D')
        sequences += found
    return sequences


def hi4d_camera(sequence, camera: int, size: tuple) -> tuple:
    """A camera of a sequence.

    Args:
        sequence: The ``pairXX/actionXX`` folder.
        camera: Its id (4, 16, 28, ...).
        size: ``(height, width)`` of its photos.

    Returns:
        `Camera` and (5,) distortion coefficients of OpenCV.

    Raises:
        ScanError: The file lacks a key or the camera.
    """
    path = Path(sequence) / 'cameras/rgb_cameras.npz'
    try:
        with np.load(path) as file:
            content = {name: file[name] for name in ('ids', 'intrinsics', 'extrinsics', 'dist_coeffs')}
    except (OSError, KeyError, ValueError) as error:
        raise ScanError(f'{path}: {error}; expected ids, intrinsics, extrinsics and dist_coeffs') from error
    at = np.flatnonzero(content['ids'].ravel() == camera)
    if len(at) != 1:
        raise ScanError(f'{path} has the cameras {content["ids"].ravel().tolist()}, not {camera}')
    extrinsics = content['extrinsics'][at[0]]
    return (Camera(content['intrinsics'][at[0]], extrinsics[:, :3], extrinsics[:, 3], *size),
            np.asarray(content['dist_coeffs'][at[0]], np.float64).ravel())


def hi4d_meshes(sequence, frame: int) -> list:
    """The scan of one frame, a mesh for each person where the sequence has ``mesh_seg_mask``; one mesh otherwise."""
    path = Path(sequence) / f'frames/mesh-f{frame:05d}.obj'
    vertices, faces = read_obj(path)
    normals = seamless_normals(vertices, faces)
    mask_path = Path(sequence) / f'seg/mesh_seg_mask/mesh-f{frame:05d}.npz'
    person = np.zeros(len(faces), np.int64)
    if mask_path.is_file():
        with np.load(mask_path) as file:
            if 'vertices_mask' not in file:
                raise ScanError(f'{mask_path} has {", ".join(file.files)}; expected vertices_mask')
            mask = file['vertices_mask'].astype(np.int64).ravel()
        if len(mask) != len(vertices):
            raise ScanError(f'{mask_path} is for {len(mask)} vertices, but {path.name} has {len(vertices)}')
        person = np.sort(mask[faces], axis=1)[:, 1]  # two of the three corners
    return [Mesh(f'person{p}', vertices.astype(np.float32), faces[person == p].astype(np.int32),
                 np.zeros((person == p).sum(), np.uint8), instance=int(p) + 1, normals=normals)
            for p in np.unique(person)]


def label_hi4d(source, out, *, pairs: tuple = HI4D_PAIRS, camera: int = HI4D_CAMERA, stride: int = 1,
               shard: tuple = (0, 1), progress=None) -> int:
    """Depth, normals and masks for Hi4D's photos; goes on where an interrupted run stopped.

    Args:
        source: See `find_hi4d`.
        out: The data set's folder.
        pairs: See `find_hi4d`.
        camera: Id of the camera.
        stride: Every so many frames.
        shard: ``(i, n)``: only every n-th picture from the i-th.
        progress: Called as ``progress(done, total, id)`` after each picture.

    Returns:
        The number of pictures made now.

    Raises:
        FileNotFoundError: A folder or a frame's photo is missing.
        ScanError: A mesh, mask or camera file is broken.
    """
    mitsuba()
    if stride < 1:
        raise ValueError(f'the stride must be at least 1, not {stride}')
    if not 0 <= shard[0] < shard[1]:
        raise ValueError(f'shard {shard[0]} of {shard[1]}: expected 0 <= i < n')
    work = []
    for sequence in find_hi4d(source, pairs):
        frames = sorted(int(p.stem[len('mesh-f'):]) for p in (sequence / 'frames').glob('mesh-f*.obj'))[::stride]
        if not frames:
            raise FileNotFoundError(f'{sequence / "frames"} holds no mesh-f00XXX.obj')
        for frame in frames:
            photo = sequence / f'images/{camera}/{frame:06d}.jpg'
            if not photo.is_file():
                raise FileNotFoundError(f'{photo} is missing, the photo of frames/mesh-f{frame:05d}.obj')
            work.append((sequence, frame, photo))
    settings = dict(camera=camera)
    made, mine = 0, work[shard[0]::shard[1]]
    ids = [f'{sequence.parent.name}_{sequence.name}_{camera}_{frame:06d}' for sequence, frame, _ in mine]
    clean(out, set(ids).__contains__)
    for k, ((sequence, frame, photo), id_) in enumerate(zip(mine, ids)):
        if not finished(out, id_, settings):
            image = read_photo(photo)
            view, distortion = hi4d_camera(sequence, camera, image.shape[:2])
            if distortion.any():
                image = cv2.undistort(image, view.intrinsics, distortion)
            buffers = label_buffers(hi4d_meshes(sequence, frame), view)
            if not buffers.person.any():
                raise ScanError(f'{photo}: camera {camera} does not see the scan of frame {frame}; do mesh and camera '
                                'file belong together?')
            kinds = ('instances', 'depth', 'normal') if buffers.instance.max() > 1 else ('depth', 'normal')
            write_files(out, id_, image, buffers, view, kinds, 'cameras',
                        dict(id=id_, sequence=f'{sequence.parent.name}/{sequence.name}', frame=frame,
                             settings=settings, undistorted=bool(distortion.any()), camera_id=camera))
            made += 1
        if progress:
            progress(k + 1, len(mine), id_)
    return made
