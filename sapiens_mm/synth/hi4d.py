"""Depth, normals and masks for Hi4D's photos from its scans (pairs 28, 32, 37, camera 4; yifeiyin04/Hi4D, dataset.md).

Assumed layout::

    pairXX/actionXX/cameras/rgb_cameras.npz          ids (8,), intrinsics (8, 3, 3), extrinsics (8, 3, 4) world to
                                                     camera (OpenCV), dist_coeffs (8, 5)
    pairXX/actionXX/frames/mesh-f00XXX.obj           the raw scan, in meters
    pairXX/actionXX/images/4/000XXX.jpg              the photo of camera 4
    pairXX/actionXX/seg/mesh_seg_mask/mesh-f00XXX.npz   vertices_mask (V,): 0 or 1 for each vertex's person (optional)

The labels are those of a camera without distortion; if ``dist_coeffs`` are not zero, the photo is undistorted. The
output has the files of `scans`.
"""
import re
from pathlib import Path

import cv2
import numpy as np

from .assets import read_photo
from .camera import Camera
from .extra import mitsuba
from .mesh import Mesh
from .render import label_buffers
from .scan_files import ScanError, seamless_normals
from .scans import check_shard, finished
from .writer import clean, write_files

HI4D_PAIRS = (28, 32, 37)
HI4D_CAMERA = 4


def read_obj(path) -> tuple:
    """Reads (V, 3) float64 vertices and (F, 3) int64 triangles of an .obj in the file's order; polygons become fans.

    Trimesh splits vertices along the seams of textures; the masks of Hi4D are per vertex of the file.

    Raises:
        ScanError: The file has no triangles, or broken lines.
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
        raise ScanError(f'{path}: cannot be read as .obj: {error}') from error
    if not len(faces) or faces.min() < 0 or faces.max() >= len(vertices):
        raise ScanError(f'{path}: got {len(vertices)} vertices and {len(faces)} triangles, expected triangles of these '
                        'vertices')
    return vertices, faces


def find_hi4d(source, pairs: tuple = HI4D_PAIRS) -> list:
    """Lists the sequences (``pairXX/actionXX``) of pairs in Hi4D's folder, or of a pair's or sequence's folder, sorted.

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
        cameras = sorted(folder.glob('*/cameras/rgb_cameras.npz'))
        if not cameras:
            raise FileNotFoundError(f'{folder}: got no sequence, expected {folder.name}/ACTION/cameras/rgb_cameras.npz')
        sequences += [path.parents[1] for path in cameras]
    return sequences


def hi4d_camera(sequence, camera: int, size: tuple) -> tuple:
    """Reads a camera of a sequence by its id (4, 16, 28, ...), for photos of ``size`` (height, width).

    Returns:
        `Camera` and (5,) distortion coefficients of OpenCV.

    Raises:
        ScanError: The file has no such key or camera.
    """
    path = Path(sequence) / 'cameras/rgb_cameras.npz'
    try:
        with np.load(path) as file:
            content = {name: file[name] for name in ('ids', 'intrinsics', 'extrinsics', 'dist_coeffs')}
    except (OSError, KeyError, ValueError) as error:
        raise ScanError(f'{path}: {error}; expected ids, intrinsics, extrinsics and dist_coeffs') from error
    at = np.flatnonzero(content['ids'].ravel() == camera)
    if len(at) != 1:
        raise ScanError(f'{path}: got the camera {camera}, expected one of {content["ids"].ravel().tolist()}')
    extrinsics = content['extrinsics'][at[0]]
    return (Camera(content['intrinsics'][at[0]], extrinsics[:, :3], extrinsics[:, 3], *size),
            np.asarray(content['dist_coeffs'][at[0]], np.float64).ravel())


def hi4d_meshes(sequence, frame: int) -> list:
    """Reads the scan of one frame: a mesh per person if the sequence has ``mesh_seg_mask``, else one mesh."""
    path = Path(sequence) / f'frames/mesh-f{frame:05d}.obj'
    vertices, faces = read_obj(path)
    normals = seamless_normals(vertices, faces)
    mask_path = Path(sequence) / f'seg/mesh_seg_mask/mesh-f{frame:05d}.npz'
    person = np.zeros(len(faces), np.int64)
    if mask_path.is_file():
        with np.load(mask_path) as file:
            if 'vertices_mask' not in file:
                raise ScanError(f'{mask_path}: got {", ".join(file.files)}, expected vertices_mask')
            mask = file['vertices_mask'].astype(np.int64).ravel()
        if len(mask) != len(vertices):
            raise ScanError(f'{mask_path}: got {len(mask)} vertices, expected {len(vertices)} as in {path.name}')
        person = np.sort(mask[faces], axis=1)[:, 1]  # two of the three corners
    return [Mesh(f'person{p}', vertices.astype(np.float32), faces[person == p].astype(np.int32),
                 np.zeros((person == p).sum(), np.uint8), instance=int(p) + 1, normals=normals)
            for p in np.unique(person)]


def label_hi4d(source, out, *, pairs: tuple = HI4D_PAIRS, camera: int = HI4D_CAMERA, stride: int = 1,
               shard: tuple = (0, 1), progress=None) -> int:
    """Writes depth, normals and masks for Hi4D's photos, and continues an interrupted run.

    Args:
        source, pairs: See `find_hi4d`.
        out: The dataset's folder.
        camera: Id of the camera.
        stride: Use every n-th frame.
        shard, progress: See `scans.render_scans`, with photos in place of scans.

    Returns:
        The number of new images.

    Raises:
        FileNotFoundError: A folder or a frame's photo is missing.
        ScanError: A mesh, mask or camera file is broken.
    """
    mitsuba()
    if stride < 1:
        raise ValueError(f'stride: got {stride}, expected at least 1')
    check_shard(shard)
    work = {}
    for sequence in find_hi4d(source, pairs):
        frames = sorted(int(p.stem[len('mesh-f'):]) for p in (sequence / 'frames').glob('mesh-f*.obj'))[::stride]
        if not frames:
            raise FileNotFoundError(f'{sequence / "frames"}: got no meshes, expected mesh-f00XXX.obj')
        for frame in frames:
            photo = sequence / f'images/{camera}/{frame:06d}.jpg'
            if not photo.is_file():
                raise FileNotFoundError(f'{photo} is missing, the photo of frames/mesh-f{frame:05d}.obj')
            work[f'{sequence.parent.name}_{sequence.name}_{camera}_{frame:06d}'] = sequence, frame, photo
    mine = list(work)[shard[0]::shard[1]]
    clean(out, set(mine).__contains__)
    made = 0
    for done, name in enumerate(mine, 1):
        if not finished(out, name, dict(camera=camera)):
            _label_photo(out, name, *work[name], camera)
            made += 1
        if progress:
            progress(done, len(mine), name)
    return made


def _label_photo(out, name: str, sequence: Path, frame: int, photo: Path, camera: int) -> None:
    image = read_photo(photo)
    view, distortion = hi4d_camera(sequence, camera, image.shape[:2])
    if distortion.any():
        image = cv2.undistort(image, view.intrinsics, distortion)
    buffers = label_buffers(hi4d_meshes(sequence, frame), view)
    if not buffers.person.any():
        raise ScanError(f'{photo}: got no pixel of the scan of frame {frame}, expected camera {camera} to see it; do '
                        'mesh and camera file belong together?')
    write_files(out, name, image, buffers, view, ('depth', 'normal'), 'cameras', dict(
        id=name, sequence=f'{sequence.parent.name}/{sequence.name}', frame=frame, settings=dict(camera=camera),
        undistorted=bool(distortion.any()), camera_id=camera), instances=buffers.instance.max() > 1)
