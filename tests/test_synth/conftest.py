"""Simple meshes with known labels, a body, and small sets of people."""
import hashlib
import json
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from sapiens_mm.synth.camera import Camera, intrinsics_of
from sapiens_mm.synth.mesh import Mesh

SIZE = (72, 96)
AMBIENT = [dict(type='constant', radiance=[1.0, 1.0, 1.0])]


def sphere(steps: int = 120, radius: float = 0.5, center=(0.0, 0.0, 0.0), **options) -> Mesh:
    """A sphere of 4 * steps**2 triangles with smooth normals and a map of longitude and latitude."""
    theta, phi = np.meshgrid(np.linspace(0, np.pi, steps + 1), np.linspace(0, 2 * np.pi, 2 * steps + 1), indexing='ij')
    normals = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1).reshape(-1, 3)
    row = 2 * steps + 1
    first = np.arange(steps)[:, None] * row + np.arange(2 * steps)
    faces = np.stack([[first, first + row, first + 1], [first + 1, first + row, first + row + 1]])
    faces = np.moveaxis(faces, 1, -1).reshape(-1, 3).astype(np.int32)
    uv = np.stack([phi / (2 * np.pi), 1 - theta / np.pi], -1).reshape(-1, 2).astype(np.float32)
    made = dict(parts=np.full(len(faces), 2, np.uint8), instance=1, uv=uv, normals=normals.astype(np.float32))
    return Mesh('sphere', (normals * radius + center).astype(np.float32), faces, **(made | options))


def sheet(corners, **options) -> Mesh:
    """A flat quadrilateral of two triangles."""
    options = dict(parts=np.zeros(2, np.uint8)) | options
    return Mesh('sheet', np.array(corners, np.float32), np.array([[0, 1, 2], [0, 2, 3]], np.int32), **options)


def look_at(eye, target, size: tuple, focal: float, up=(0, 0, 1), roll: float = 0.) -> Camera:
    """A camera at ``eye`` with ``target`` in the middle of the image, rolled by degrees."""
    forward = np.subtract(target, eye)
    right = np.cross(forward, up)
    forward, right = forward / np.linalg.norm(forward), right / np.linalg.norm(right)
    right = np.cos(np.radians(roll)) * right + np.sin(np.radians(roll)) * np.cross(forward, right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return Camera(intrinsics_of(focal, size), rotation, -rotation @ eye, *size)


def pixels(camera: Camera) -> np.ndarray:
    """(H, W, 2) coordinates of the pixels' centers."""
    return np.stack(np.meshgrid(np.arange(camera.width), np.arange(camera.height)), axis=-1).astype(np.float64)


def pixel_rays(camera: Camera) -> np.ndarray:
    """(H, W, 3) directions in the camera's frame with z = 1."""
    return camera.rays(pixels(camera).reshape(-1, 2)).reshape(camera.height, camera.width, 3)


def sphere_truth(camera: Camera, radius: float, center=(0, 0, 0)) -> tuple:
    """Depth, normal (x right, y up, z to the viewer) and hit of a true sphere, by solving the quadratic equation."""
    rays, middle = pixel_rays(camera), camera.transform(np.array([center]))[0]
    a, b, c = (rays**2).sum(-1), rays @ middle, middle @ middle - radius**2
    root = b**2 - a * c
    hit = root > 0
    depth = np.where(hit, (b - np.sqrt(np.maximum(root, 0))) / a, 0)
    normal = (rays * depth[..., None] - middle) / radius * [1, -1, -1]
    return depth, normal, hit


def degrees(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles between unit vectors."""
    return np.degrees(np.arccos(np.clip((a * b).sum(-1), -1, 1)))


CAMERAS = {
    'plain': look_at([0.2, -2.5, 0.4], [0, 0, 0], SIZE, 1.5),
    'rolled, from above': look_at([1.5, -1.2, 1.6], [0.05, 0, 0], SIZE, 1.5, roll=30),
    'principal point off the middle': Camera([[150, 0, 30.25], [0, 150, 50.5], [0, 0, 1]],
                                             look_at([0, -3, 0], [0.2, 0, 0.2], SIZE, 1).rotation,
                                             [0.1, 0.2, 3.0], *SIZE),
}


# Scans: ellipsoids in the layouts of THuman2.0 and Hi4D.

#: Half axes of the person of a scan in its units: x, y (up), z (front).
ELLIPSOID = np.array([0.2, 0.5, 0.15])
FRONT, BACK = (200, 40, 40), (40, 40, 200)


def ellipsoid(steps: int, axes=ELLIPSOID, center=(0.0, 0.0, 0.0)) -> tuple:
    """Vertices, texture coordinates and faces of an ellipsoid with y up, its seam at the back (-z)."""
    theta, phi = np.meshgrid(np.linspace(0, np.pi, steps + 1), np.linspace(-np.pi, np.pi, 2 * steps + 1),
                             indexing='ij')
    unit = np.stack([np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)], -1).reshape(-1, 3)
    uv = np.stack([(phi + np.pi) / (2 * np.pi), 1 - theta / np.pi], -1).reshape(-1, 2)
    return unit * axes + center, uv, sphere(steps).faces


def ellipsoid_texture() -> np.ndarray:
    """Red in the middle, which is the front, blue at the seam."""
    image = np.full((64, 128, 3), BACK, np.uint8)
    image[:, 32:96] = FRONT
    return image


def write_obj(path: Path, vertices, faces, uv=None, head: str = '') -> None:
    lines = [head] if head else []
    lines += [f'v {x:.9g} {y:.9g} {z:.9g}' for x, y, z in vertices]
    if uv is not None:
        lines += [f'vt {u:.9g} {v:.9g}' for u, v in uv]
    lines += ['f ' + ' '.join(f'{i + 1}/{i + 1}' if uv is not None else f'{i + 1}' for i in face) for face in faces]
    path.write_text('\n'.join(lines) + '\n')


def write_thuman(root: Path, count: int = 2, steps: int = 80) -> Path:
    """THuman2.0's layout: NNNN/NNNN.obj, material0.mtl, material0.jpeg."""
    vertices, uv, faces = ellipsoid(steps)
    for i in range(count):
        folder = root / f'{i:04d}'
        folder.mkdir(parents=True)
        write_obj(folder / f'{i:04d}.obj', vertices, faces, uv, 'mtllib material0.mtl\nusemtl material0')
        (folder / 'material0.mtl').write_text('newmtl material0\nKa 1 1 1\nKd 1 1 1\nmap_Kd material0.jpeg\n')
        (folder / 'material0.jpeg').write_bytes(cv2.imencode('.jpeg', ellipsoid_texture()[..., ::-1])[1].tobytes())
    return root


def write_hi4d(root: Path, pair: int = 28, frames=(1, 7), distortion=None) -> tuple:
    """Two ellipsoids side by side, upright along y, seen by camera 4 of two. Returns the true camera and bodies."""
    sequence = root / f'pair{pair:02d}/dance{pair}'
    for name in ('cameras', 'frames', 'images/4', 'seg/mesh_seg_mask'):
        (sequence / name).mkdir(parents=True)
    size = (96, 72)
    view = look_at([0.4, 1.5, 4.0], [0, 0.9, 0], size, 1.4, up=(0, 1, 0))
    camera = Camera(view.intrinsics * [[1.02], [1], [1]], view.rotation, view.translation, *size)  # as the real ones
    np.savez(sequence / 'cameras/rgb_cameras.npz', ids=np.array([16, 4]),
             intrinsics=np.stack([np.eye(3), camera.intrinsics]),
             dist_coeffs=np.array([np.zeros(5), np.zeros(5) if distortion is None else distortion]),
             extrinsics=np.stack([np.eye(3, 4), np.hstack([camera.rotation, camera.translation[:, None]])]))
    axes = np.array([0.28, 0.85, 0.2])
    photo = np.random.default_rng(pair).integers(0, 256, (*size, 3), dtype=np.uint8)
    bodies = {}
    for frame in frames:
        bodies[frame] = [np.array([x, 0.85, 0.01 * frame]) for x in (-0.33, 0.33)]
        made = [ellipsoid(80, axes, center) for center in bodies[frame]]
        count = len(made[0][0])
        # The two persons' vertices alternate: the mask, not the order, separates them.
        order = np.arange(2 * count).reshape(2, count).T.ravel()
        vertices = np.concatenate([m[0] for m in made])[order]
        faces = np.argsort(order)[np.concatenate([made[0][2], made[1][2] + count])]
        write_obj(sequence / f'frames/mesh-f{frame:05d}.obj', vertices, faces, np.zeros((2 * count, 2)),
                  f'mtllib MatLib-F{frame:05d}.mtl')
        np.savez(sequence / f'seg/mesh_seg_mask/mesh-f{frame:05d}.npz', vertices_mask=(order >= count).astype(int))
        cv2.imwrite(str(sequence / f'images/4/{frame:06d}.jpg'), cv2.GaussianBlur(photo, (0, 0), 3))
    return sequence, camera, axes, bodies


def ellipsoid_truth(camera: Camera, axes, center) -> tuple:
    """Depth, normal and hit of a true ellipsoid with axes along the world's."""
    rays = pixel_rays(camera).reshape(-1, 3) @ camera.rotation / axes
    start = (camera.center - center) / axes
    a, b, c = (rays**2).sum(-1), rays @ start, start @ start - 1
    root = b**2 - a * c
    depth = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, 0)
    normal = (start + rays * depth[:, None]) / axes @ camera.rotation.T * [1, -1, -1]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    shape = camera.height, camera.width
    return depth.reshape(shape), normal.reshape(*shape, 3), (root > 0).reshape(shape)


def camera_of(out: Path, name: str) -> Camera:
    return Camera.from_dict(json.loads((out / f'cameras/{name}.json').read_text())['camera'])


def check_ellipsoid(out: Path, name: str, axes, center, camera: Camera, where: np.ndarray | None = None) -> None:
    """Compares the labels of an image with a true ellipsoid: ``where``, by default away from its silhouette."""
    mask = cv2.imread(str(out / f'masks/{name}.png'), cv2.IMREAD_UNCHANGED)
    depth, normal = np.load(out / f'depth/{name}.npy'), np.load(out / f'normal/{name}.npy')
    assert (depth.dtype, normal.dtype, normal.shape) == (np.float32, np.float32, (*depth.shape, 3))
    assert set(np.unique(mask)) == {0, 255}
    assert not depth[mask == 0].any()
    assert not normal[mask == 0].any()
    true_depth, true_normal, hit = ellipsoid_truth(camera, axes, center)
    sure = ellipsoid_truth(camera, axes * 0.97, center)[2] if where is None else where
    assert sure.sum() > 100
    assert (mask[sure] == 255).all()
    assert (np.abs(depth - true_depth) / np.maximum(true_depth, 1e-9))[sure].max() < 1e-3
    assert degrees(normal, true_normal)[sure].max() < 0.5
    if where is None:
        assert (hit[mask == 255]).all()


@pytest.fixture(scope='session')
def body():
    pytest.importorskip('anny')
    from sapiens_mm.synth.body import load_body
    return load_body()


@pytest.fixture(scope='session')
def wardrobe(body):
    from sapiens_mm.synth.clothes import Wardrobe
    return Wardrobe(body)


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder with two photos of 220 x 150."""
    folder = tmp_path / 'photos'
    (folder / 'sub').mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ('b.jpg', 'sub/a.PNG'):
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (150, 220, 3), dtype=np.uint8))
    (folder / 'notes.txt').write_text('no image')
    return folder


@contextmanager
def workers_in_this_process():
    """Makes ``generate`` run the work of its worker processes in this one, which has loaded the body."""
    import torch

    from sapiens_mm.synth import generate
    threads = torch.get_num_threads(), cv2.getNumThreads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, 'run_in_processes', lambda make, items, workers: map(make(), items))
        patch.setattr(generate, 'set_threads', lambda threads: None)
        yield
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])


def _generate(folder: Path, num: int, **settings) -> Path:
    pytest.importorskip('mitsuba')
    from sapiens_mm.synth.generate import Settings, generate
    done = [index for index, _ in generate(folder, num, Settings(samples=1, **settings))]
    assert sorted(done) == list(range(num))
    return folder


@pytest.fixture(scope='session')
def fresh_set(tmp_path_factory, body) -> Path:
    """8 images of all framings."""
    with workers_in_this_process():
        return _generate(tmp_path_factory.mktemp('people'), 8, size=(256, 192))


@pytest.fixture(scope='session')
def tiny_set(tmp_path_factory, body) -> Path:
    """4 images, too small to look at; made by one worker process."""
    return _generate(tmp_path_factory.mktemp('tiny'), 4, size=(64, 48), seed=7)


def _read_sample(folder: Path, name: str) -> SimpleNamespace:
    from PIL import Image
    content = json.loads((folder / f'samples/{name}.json').read_text())
    images = {kind: np.asarray(Image.open(folder / f'{kind}/{name}.png'))
              for kind in ('images', 'masks', 'instances', 'parts')}
    return SimpleNamespace(
        name=name, content=content, camera=Camera.from_dict(content['camera']), annotations=content['annotations'],
        depth=np.load(folder / f'depth/{name}.npy'), normal=np.load(folder / f'normal/{name}.npy'), **images)


@pytest.fixture(scope='session', params=['fresh', pytest.param('large', marks=pytest.mark.slow)])
def samples(request, tmp_path_factory, body) -> list:
    """The samples of a fresh set; of a larger one too in slow runs."""
    if request.param == 'fresh':
        folder = request.getfixturevalue('fresh_set')
    else:
        with workers_in_this_process():
            folder = _generate(tmp_path_factory.mktemp('large'), 24, size=(384, 288), seed=11)
    return [_read_sample(folder, path.stem) for path in sorted((folder / 'samples').iterdir())]


@pytest.fixture(scope='session')
def digests():
    """A function: SHA-256 of every file of a folder by relative path."""

    def digests(folder: Path) -> dict:
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(Path(folder).rglob('*')) if path.is_file()}

    return digests


@pytest.fixture(scope='session')
def makehuman(tmp_path_factory, body) -> Path:
    """A folder of MakeHuman's layout: a suit of shirt and trousers, a hat with a transparent half, hair and a skin."""
    root = tmp_path_factory.mktemp('assets')
    rest, faces = body.rest.vertices, body.groups['helper-tights']
    z, reach = rest[faces, 2].mean(axis=1), np.abs(rest[faces, 0]).max(axis=1)
    hip, knee, neck = (body.rest.bone_heads[bone][2] for bone in ('upperleg01.L', 'lowerleg01.L', 'neck01'))
    shirt = faces[(z > hip + 0.1) & (z < neck - 0.1) & (reach < 0.2)]
    trousers = faces[(z < hip - 0.1) & (z > knee - 0.2) & (reach < 0.3)]
    write_asset(root / 'clothes/suit', rest, np.concatenate([shirt, trousers]), [0.5, 0.3, 0.2], deleted='0 - 9 12')
    top = body.skin[rest[body.skin, 2].mean(axis=1) > rest[body.skin_vertices, 2].max() - 0.05]
    write_asset(root / 'clothes/hat', rest, top, None, offset=0.3)
    write_asset(root / 'hair/short', rest, top, [0.1, 0.1, 0.1], offset=0.1)
    (root / 'skins/female').mkdir(parents=True)
    (root / 'skins/female/female.mhmat').write_text('# skin\ndiffuseTexture ../green.png\n')
    cv2.imwrite(str(root / 'skins/green.png'), np.full((8, 8, 3), (0, 200, 0), np.uint8))
    return root


def write_asset(folder: Path, rest: np.ndarray, quads: np.ndarray, color, offset: float = 0., deleted: str = ''):
    """An asset that lies on quads of the base mesh, ``offset`` decimeters above. Without ``color``, it has a texture
    whose left half is transparent.
    """
    folder.mkdir(parents=True)
    name = folder.name
    used, corners = np.unique(quads, return_inverse=True)
    points = rest[used][:, [0, 2, 1]] * [10, 10, -10] + [0, offset, 0]
    uv = (points[:, :2] - points[:, :2].min(axis=0)) / np.ptp(points[:, :2], axis=0)
    lines = [f'v {x:.7f} {y:.7f} {z:.7f}' for x, y, z in points] + [f'vt {u:.6f} {v:.6f}' for u, v in uv]
    lines += ['f ' + ' '.join(f'{i + 1}/{i + 1}' for i in quad) for quad in corners.reshape(quads.shape)]
    (folder / f'{name}.obj').write_text('\n'.join(lines))
    exact = [str(i) for i in used] if not offset else [f'{i} {i} {i} 0.5 0.25 0.25 0 {offset} 0' for i in used]
    head = [f'name {name}', 'basemesh hm08', f'obj_file {name}.obj', 'tag Any', 'y_scale 0 13000 %.5f' % (
        10 * abs(rest[0, 2] - rest[13000, 2])), 'verts 0', f'material {name}.mhmat']
    (folder / f'{name}.mhclo').write_text('\n'.join([*head, *exact, 'delete_verts', deleted]))
    material = ['// material', 'transparent True', 'diffuseColor ' + ' '.join(map(str, color or [1, 1, 1]))]
    if color is None:
        image = np.full((16, 16, 4), 200, np.uint8)
        image[:, :8, 3] = 0
        cv2.imwrite(str(folder / f'{name}.png'), image)
        material.append(f'diffuseTexture {name}.png')
    (folder / f'{name}.mhmat').write_text('\n'.join(material))
