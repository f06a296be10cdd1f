"""Scans in the layouts of THuman2.0 and Hi4D, written here and read back against what can be computed by hand."""
import errno
import json
import os
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip('mitsuba')
pytest.importorskip('trimesh')

from sapiens_mm.synth import scans as S  # noqa: E402
from sapiens_mm.synth import writer  # noqa: E402
from sapiens_mm.synth.camera import Camera, look_at  # noqa: E402
from sapiens_mm.synth.scenery import Assets  # noqa: E402
from sapiens_mm.synth.writer import TEMPORARY, write_bytes  # noqa: E402

#: Half axes of the 'person' in the scan's own units: x, y (up), z (front).
AXES = np.array([0.2, 0.5, 0.15])
FRONT, BACK = (200, 40, 40), (40, 40, 200)
SIZE = (96, 72)


def grid(steps: int, axes=AXES, centre=(0.0, 0.0, 0.0)) -> tuple:
    """Vertices, texture coordinates and faces of an ellipsoid with y up, its seam at the back (-z)."""
    theta, phi = np.meshgrid(np.linspace(0, np.pi, steps + 1), np.linspace(-np.pi, np.pi, 2 * steps + 1),
                             indexing='ij')
    unit = np.stack([np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)], -1).reshape(-1, 3)
    uv = np.stack([(phi + np.pi) / (2 * np.pi), 1 - theta / np.pi], -1).reshape(-1, 2)
    row = 2 * steps + 1
    first = np.arange(steps)[:, None] * row + np.arange(2 * steps)
    faces = np.stack([[first, first + row, first + 1], [first + 1, first + row, first + row + 1]])
    return unit * axes + centre, uv, np.moveaxis(faces, 1, -1).reshape(-1, 3)


def write_obj(path: Path, vertices, faces, uv=None, head: str = ''):
    lines = [head] if head else []
    lines += [f'v {x:.9g} {y:.9g} {z:.9g}' for x, y, z in vertices]
    if uv is not None:
        lines += [f'vt {u:.9g} {v:.9g}' for u, v in uv]
    lines += ['f ' + ' '.join(f'{i + 1}/{i + 1}' if uv is not None else f'{i + 1}' for i in face) for face in faces]
    path.write_text('\n'.join(lines) + '\n')


def texture() -> np.ndarray:
    """Red in the middle, which is the front, blue at the seam."""
    image = np.full((64, 128, 3), BACK, np.uint8)
    image[:, 32:96] = FRONT
    return image


def write_thuman(root: Path, count: int = 2, steps: int = 80) -> Path:
    """THuman2.0's layout: NNNN/NNNN.obj, material0.mtl, material0.jpeg."""
    vertices, uv, faces = grid(steps)
    for i in range(count):
        folder = root / f'{i:04d}'
        folder.mkdir(parents=True)
        write_obj(folder / f'{i:04d}.obj', vertices, faces, uv, 'mtllib material0.mtl\nusemtl material0')
        (folder / 'material0.mtl').write_text('newmtl material0\nKa 1 1 1\nKd 1 1 1\nmap_Kd material0.jpeg\n')
        (folder / 'material0.jpeg').write_bytes(cv2.imencode('.jpeg', texture()[..., ::-1])[1].tobytes())
    return root


def ellipsoid_truth(camera: Camera, axes, centre) -> tuple:
    """Depth, normal and hit of a true ellipsoid with axes along the world's."""
    uv = np.stack(np.meshgrid(np.arange(camera.width), np.arange(camera.height)), -1).reshape(-1, 2)
    rays = camera.rays(uv) @ camera.rotation / axes
    start = (camera.centre - centre) / axes
    a, b, c = (rays**2).sum(-1), rays @ start, start @ start - 1
    root = b**2 - a * c
    depth = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, 0)
    normal = (start + rays * depth[:, None]) / axes @ camera.rotation.T * [1, -1, -1]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    shape = camera.height, camera.width
    return depth.reshape(shape), normal.reshape(*shape, 3), (root > 0).reshape(shape)


def check_labels(out: Path, name: str, axes, centre, camera: Camera, who: np.ndarray | None = None):
    """Files of one picture against the true ellipsoid; away from silhouettes the labels must agree."""
    mask = cv2.imread(str(out / f'masks/{name}.png'), cv2.IMREAD_UNCHANGED)
    depth, normal = np.load(out / f'depth/{name}.npy'), np.load(out / f'normal/{name}.npy')
    assert (depth.dtype, normal.dtype, normal.shape) == (np.float32, np.float32, (*depth.shape, 3))
    assert set(np.unique(mask)) == {0, 255}
    assert not depth[mask == 0].any()
    assert not normal[mask == 0].any()
    true_depth, true_normal, hit = ellipsoid_truth(camera, axes, centre)
    sure = ellipsoid_truth(camera, axes * 0.97, centre)[2] if who is None else who
    assert sure.sum() > 100
    assert (mask[sure] == 255).all()
    assert (np.abs(depth - true_depth) / np.maximum(true_depth, 1e-9))[sure].max() < 1e-3
    angle = np.degrees(np.arccos(np.clip((normal * true_normal).sum(-1), -1, 1)))
    assert angle[sure].max() < 0.5
    if who is None:
        assert (hit[mask == 255]).all()


def camera_of(out: Path, name: str) -> Camera:
    return Camera.from_dict(json.loads((out / f'cameras/{name}.json').read_text())['camera'])


@pytest.fixture(scope='module')
def thuman(tmp_path_factory) -> Path:
    return write_thuman(tmp_path_factory.mktemp('THuman2.0_Release'))


@pytest.fixture(scope='module')
def rendered(thuman, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp('rendered')
    assert S.render_scans(thuman, out, size=SIZE, samples=2) == 6
    return out


def contents(out: Path) -> dict:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob('*')) if p.is_file()}


def test_three_pictures_per_scan_with_all_files(rendered):
    names = [f'{scan}_{framing}' for scan in ('0000', '0001') for framing in S.FRAMINGS]
    expected = {f'{kind}/{name}.{suffix}' for name in names for kind, suffix in
                (('images', 'png'), ('masks', 'png'), ('depth', 'npy'), ('normal', 'npy'), ('cameras', 'json'))}
    assert set(contents(rendered)) == expected


@pytest.mark.parametrize('framing', S.FRAMINGS)
def test_thuman_labels_are_those_of_the_ellipsoid(rendered, framing):
    """The scan is 1 high; it becomes 1.7 m, stands on the ground and faces -y."""
    name = f'0001_{framing}'
    axes = AXES[[0, 2, 1]] * 1.7
    camera = camera_of(rendered, name)
    check_labels(rendered, name, axes, np.array([0, 0, 0.85]), camera)
    assert camera.centre[1] < -0.3
    picture = cv2.imread(str(rendered / f'images/{name}.png'))
    assert picture.shape == (96, 72, 3)
    mask = cv2.imread(str(rendered / f'masks/{name}.png'), 0) > 0
    middle = picture[mask & (np.abs(np.arange(72) - np.nonzero(mask)[1].mean()) < 5)].mean(axis=0)
    assert middle[2] > 1.5 * middle[0]  # red, the front (OpenCV gives BGR)


def test_framings_show_their_region(rendered):
    tops = {}
    for framing, (share, *_) in S.FRAMINGS.items():
        camera = camera_of(rendered, f'0000_{framing}')
        uv, _ = camera.project([[0, 0, 1.7], [0, 0, 1.7 * max(share, 0.0)], [0, 0, 0]])
        assert (uv[:2] > -1).all()
        assert (uv[:2] < [72, 96]).all()
        tops[framing] = uv[2, 1] > 100  # the feet are far below the image
    assert tops == {'face': True, 'upper_body': True, 'full_body': False}


def test_an_interrupted_run_continues_to_the_same_bytes(thuman, rendered, tmp_path, monkeypatch):
    count, write = [], writer.write_json
    with monkeypatch.context() as patch:

        def stop(path, content):
            count.append(path)
            if len(count) == 3:
                raise KeyboardInterrupt
            write(path, content)

        patch.setattr(writer, 'write_json', stop)
        with pytest.raises(KeyboardInterrupt):
            S.render_scans(thuman, tmp_path, size=SIZE, samples=2)
    assert len(list(tmp_path.glob('cameras/*'))) == 2
    (tmp_path / f'depth/0000_face.npy{TEMPORARY}123').write_bytes(b'half')
    before = (tmp_path / 'images/0000_face.png').stat().st_mtime_ns
    assert S.render_scans(thuman, tmp_path, size=SIZE, samples=2) == 4
    assert (tmp_path / 'images/0000_face.png').stat().st_mtime_ns == before
    assert contents(tmp_path) == contents(rendered)
    assert S.render_scans(thuman, tmp_path, size=SIZE, samples=2) == 0
    with pytest.raises(ValueError, match=r'other settings \(samples 2 instead of 3\)'):
        S.render_scans(thuman, tmp_path, size=SIZE, samples=3)


def test_shards_make_the_whole(thuman, rendered, tmp_path):
    seen = []
    for i in range(2):
        S.render_scans(thuman, tmp_path, size=SIZE, samples=2, shard=(i, 2), progress=lambda *a: seen.append(a))
    assert contents(tmp_path) == contents(rendered)
    assert seen[:3] == [(k + 1, 3, f'0000_{framing}') for k, framing in enumerate(S.FRAMINGS)]


def test_photos_lie_behind_the_scan(thuman, tmp_path):
    (tmp_path / 'photos').mkdir()
    cv2.imwrite(str(tmp_path / 'photos/green.png'), np.full((60, 80, 3), (0, 180, 0), np.uint8))
    S.render_scans(thuman / '0000/0000.obj', tmp_path / 'out', size=SIZE, samples=2, framings=('full_body',),
                   placement=S.Placement(height=1.7), assets=Assets.find(tmp_path / 'photos'))
    picture = cv2.imread(str(tmp_path / 'out/images/0000_full_body.png'))
    np.testing.assert_array_equal(picture[2, 2], [0, 180, 0])
    with pytest.raises(ValueError, match=r'backgrounds 1 files \(.*\) instead of None\): give another output folder'):
        S.render_scans(thuman / '0000/0000.obj', tmp_path / 'out', size=SIZE, samples=2, framings=('full_body',),
                       placement=S.Placement(height=1.7))


def test_yaw_shows_the_back(thuman, tmp_path):
    for name, yaw, yaws in (('a', 180, {}), ('b', 0, {'0000': 180.0})):
        S.render_scans(thuman, tmp_path / name, size=SIZE, samples=2, framings=('upper_body',), shard=(0, 2),
                       placement=S.Placement(yaw=yaw), yaws=yaws)
        picture = cv2.imread(str(tmp_path / name / 'images/0000_upper_body.png'))
        assert picture[60, 36, 0] > 1.5 * picture[60, 36, 2]
    with pytest.raises(ValueError, match='yaws for scans that are not there: 7777'):
        S.render_scans(thuman, tmp_path / 'c', yaws={'7777': 1})


@pytest.mark.parametrize('suffix', ['.ply', '.glb'])
@pytest.mark.parametrize('colors', ['vertex', 'texture'])
def test_other_formats_give_the_same_mesh_and_colors(tmp_path, suffix, colors):
    import trimesh
    from PIL import Image

    vertices, uv, faces = grid(20)
    path = tmp_path / f'scan{suffix}'
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    if colors == 'vertex':
        front = np.abs(uv[:, :1] - 0.5) < 0.25
        mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=np.where(front, FRONT, BACK).astype(np.uint8))
    elif suffix == '.glb':
        material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(texture()))
        mesh.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    else:
        pytest.skip('trimesh writes no .ply with a texture')
    mesh.export(path)
    made, = S.load_scan(path, S.Placement(height=2.0))
    assert len(made.faces) == len(faces)
    low, high = made.vertices.min(axis=0), made.vertices.max(axis=0)
    np.testing.assert_allclose(low, [-0.4, -0.3, 0], atol=1e-4)
    np.testing.assert_allclose(high, [0.4, 0.3, 2], atol=1e-4)
    # Every triangle has its colour: looked up as the renderer does it.
    middle = made.uv[made.faces].mean(axis=1)
    h, w = made.albedo.shape[:2]
    color = made.albedo[((1 - middle[:, 1]) * h).astype(int).clip(0, h - 1), (middle[:, 0] * w).astype(int) % w]
    y = made.vertices[made.faces].mean(axis=1)[:, 1]
    assert np.abs(color[y < -0.1] - np.array(FRONT)).max() < 3
    assert np.abs(color[y > 0.1] - np.array(BACK)).max() < 3


def test_normals_have_no_seam(thuman):
    """The vertices are doubled at the seam and at the poles; their normals must agree with their neighbours'."""
    made, = S.load_scan(thuman / '0000/0000.obj', S.Placement(height=1.0))
    axes = AXES[[0, 2, 1]]
    true = (made.vertices - [0, 0, 0.5]) / axes**2
    true /= np.linalg.norm(true, axis=1, keepdims=True)
    assert np.degrees(np.arccos(np.clip((made.normals * true).sum(-1), -1, 1))).max() < 2


def test_bad_scans_are_refused_in_one_line(thuman, tmp_path):
    folder = write_thuman(tmp_path / 'set', 1, 8)
    path = folder / '0000/0000.obj'
    out = tmp_path / 'out'

    def refused(match, kind=S.ScanError, source=folder, **options):
        with pytest.raises(kind, match=match) as caught:
            S.render_scans(source, out, size=SIZE, samples=1, **options)
        assert '\n' not in str(caught.value)
        assert not list(out.rglob('*.*'))

    (folder / '0000/material0.jpeg').unlink()
    refused(r'0000\.obj has no texture.*material0\.jpeg.*--allow-untextured')
    assert S.load_scan(path, S.Placement(height=1.7), allow_untextured=True)[0].albedo == (0.5, 0.5, 0.5)
    (folder / '0000/material0.mtl').unlink()
    refused(r'material0\.mtl, which it names')
    write_obj(path, *grid(8)[::2])
    refused('mtllib')
    path.write_text('v 0 0 0\nv 1 1 1\n')
    refused('no triangles', allow_untextured=True)
    path.write_text('')
    refused('no triangles|cannot be read')
    path.unlink()
    refused(r'0000\.obj is missing', FileNotFoundError)
    refused('does not exist', FileNotFoundError, tmp_path / 'nowhere')
    (tmp_path / 'nothing').mkdir()
    refused('holds no scans', FileNotFoundError, tmp_path / 'nothing')
    (tmp_path / 'scan.stl').write_text('solid')
    refused('not a scan that can be read', source=tmp_path / 'scan.stl')
    with pytest.raises(ValueError, match='at least 1 x 1'):
        S.render_scans(thuman, out, size=(96, 0))
    with pytest.raises(ValueError, match='no framing hands'):
        S.render_scans(thuman, out, framings=('hands',))
    # One unit high as centimetres is no person.
    refused(r'0\.01 m high.*--unit', source=thuman, placement=S.Placement(unit=0.01))
    with pytest.raises(ValueError, match='not both'):
        S.Placement(unit=1.0, height=1.7)
    broken = tmp_path / 'broken.glb'
    broken.write_bytes(b'no glb at all')
    refused('cannot be read as .glb', source=broken)


def test_all_scans_without_textures_are_named_before_the_first_is_rendered(tmp_path):
    folder = write_thuman(tmp_path / 'set', 4, 8)
    (folder / '0001/material0.jpeg').unlink()
    (folder / '0003/material0.jpeg').write_bytes(b'no picture')
    with pytest.raises(S.ScanError, match=r'0001\.obj has no texture.*0001/material0\.jpeg.* \(2 of 4 .*0003\.obj\)$'):
        S.render_scans(folder, tmp_path / 'out', size=SIZE, samples=1)
    assert not (tmp_path / 'out').exists()
    with pytest.raises(S.ScanError, match=r'0003\.obj has no texture.* can be read as .*material0\.jpeg[^(]*$'):
        S.render_scans(folder, tmp_path / 'out', size=SIZE, samples=1, shard=(3, 4))
    assert S.render_scans(folder, tmp_path / 'out', size=SIZE, samples=1, shard=(0, 2), framings=('face',)) == 2


@pytest.mark.parametrize('suffix', ['.obj', '.ply', '.glb'])
def test_colors_are_seen_without_reading_the_whole_scan(tmp_path, suffix):
    import trimesh

    vertices, _, faces = grid(4)
    bare = trimesh.Trimesh(vertices, faces, process=False)
    bare.export(tmp_path / f'bare{suffix}')
    bare.visual = trimesh.visual.ColorVisuals(bare, vertex_colors=np.full((len(vertices), 3), 90, np.uint8))
    bare.export(tmp_path / f'colored{suffix}')
    S.check_textures([tmp_path / f'colored{suffix}'])
    assert len(S.load_scan(tmp_path / f'colored{suffix}', S.Placement(height=1.7))[0].albedo) > 1
    with pytest.raises(S.ScanError, match=r'bare.* has no texture'):
        S.check_textures([tmp_path / f'colored{suffix}', tmp_path / f'bare{suffix}'])
    with pytest.raises(S.ScanError, match=r'bare.* has no texture'):
        S.load_scan(tmp_path / f'bare{suffix}', S.Placement(height=1.7))


def test_a_broken_record_is_named(thuman, tmp_path):
    path = tmp_path / 'cameras/0000_face.json'
    path.parent.mkdir()
    path.write_text('{"id": ')
    with pytest.raises(ValueError, match=r'0000_face\.json cannot be read as JSON .*: remove it'):
        S.render_scans(thuman, tmp_path, size=SIZE, samples=1, framings=('face',))


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match=r'disk is full.*a\.bin'):
        write_bytes(tmp_path / 'deep/a.bin', b'x' * 100)
    assert not [p for p in tmp_path.rglob('*') if p.is_file()]


# Hi4D


def write_hi4d(root: Path, pair: int = 28, frames=(1, 7), distortion=None) -> tuple:
    """Two ellipsoids side by side, upright along y, seen by camera 4 of two. Returns the true camera and bodies."""
    sequence = root / f'pair{pair:02d}/dance{pair}'
    for name in ('cameras', 'frames', 'images/4', 'seg/mesh_seg_mask'):
        (sequence / name).mkdir(parents=True)
    view = look_at([0.4, 1.5, 4.0], [0, 0.9, 0], SIZE, 1.4, up=(0, 1, 0))
    intrinsics = view.intrinsics.copy()
    intrinsics[0] *= 1.02  # the real ones are not square either
    camera = Camera(intrinsics, view.rotation, view.translation, *SIZE)
    dist = np.zeros((2, 5)) if distortion is None else np.array([np.zeros(5), distortion])
    np.savez(sequence / 'cameras/rgb_cameras.npz', ids=np.array([16, 4]),
             intrinsics=np.stack([np.eye(3), camera.intrinsics]), dist_coeffs=dist,
             extrinsics=np.stack([np.eye(3, 4), np.hstack([camera.rotation, camera.translation[:, None]])]))
    axes = np.array([0.28, 0.85, 0.2])
    bodies = {}
    photo = np.random.default_rng(pair).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    photo = cv2.GaussianBlur(photo, (0, 0), 3)
    for frame in frames:
        bodies[frame] = [np.array([x, 0.85, 0.01 * frame]) for x in (-0.33, 0.33)]
        made = [grid(80, axes, centre) for centre in bodies[frame]]
        count = len(made[0][0])
        # The two persons' vertices alternate: the mask, not the order, tells them apart.
        order = np.arange(2 * count).reshape(2, count).T.ravel()
        place = np.argsort(order)
        vertices = np.concatenate([m[0] for m in made])[order]
        faces = place[np.concatenate([made[0][2], made[1][2] + count])]
        write_obj(sequence / f'frames/mesh-f{frame:05d}.obj', vertices, faces, np.zeros((2 * count, 2)),
                  f'mtllib MatLib-F{frame:05d}.mtl')
        np.savez(sequence / f'seg/mesh_seg_mask/mesh-f{frame:05d}.npz', vertices_mask=(order >= count).astype(int))
        cv2.imwrite(str(sequence / f'images/4/{frame:06d}.jpg'), photo)
    return sequence, camera, axes, bodies


def test_hi4d_labels_lie_on_the_photos(tmp_path):
    written = {pair: write_hi4d(tmp_path / 'Hi4D', pair, (1, 7) if pair == 28 else (2,)) for pair in (28, 32)}
    (tmp_path / 'Hi4D/pair00').mkdir()
    out = tmp_path / 'out'
    assert S.label_hi4d(tmp_path / 'Hi4D', out, pairs=(28, 32)) == 3
    for pair, (sequence, camera, axes, bodies) in written.items():
        for frame, centres in bodies.items():
            name = f'pair{pair}_dance{pair}_4_{frame:06d}'
            photo = cv2.imread(str(sequence / f'images/4/{frame:06d}.jpg'))
            np.testing.assert_array_equal(cv2.imread(str(out / f'images/{name}.png')), photo)
            persons = cv2.imread(str(out / f'instances/{name}.png'), cv2.IMREAD_UNCHANGED)
            assert set(np.unique(persons)) == {0, 1, 2}
            np.testing.assert_allclose(camera_of(out, name).intrinsics, camera.intrinsics)
            for k, centre in enumerate(centres):
                sure = ellipsoid_truth(camera, axes * 0.97, centre)[2] & (persons == k + 1)
                check_labels(out, name, axes, centre, camera, who=sure)
                # Seen where nothing stands before it.
                nearer = ellipsoid_truth(camera, axes, centres[1 - k])[2]
                assert (persons[ellipsoid_truth(camera, axes * 0.97, centre)[2] & ~nearer] == k + 1).all()
    assert S.label_hi4d(tmp_path / 'Hi4D', out, pairs=(28, 32)) == 0


def test_hi4d_photos_are_undistorted(tmp_path):
    distortion = np.array([-0.9, 0.2, 0.002, -0.001, 0])
    sequence, camera, axes, bodies = write_hi4d(tmp_path, frames=(3,), distortion=distortion)
    centre = bodies[3][0]
    # A photo that a lens with this distortion takes of the first ellipsoid's outline.
    hit = ellipsoid_truth(camera, axes, centre)[2] | ellipsoid_truth(camera, axes, bodies[3][1])[2]
    flat = np.where(hit, 255, 0).astype(np.uint8)
    seen = np.stack(np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0])), -1).reshape(-1, 1, 2).astype(np.float64)
    source = cv2.undistortPoints(seen, camera.intrinsics, distortion, P=camera.intrinsics).reshape(*SIZE, 2)
    bent = cv2.remap(flat, source.astype(np.float32), None, cv2.INTER_LINEAR)
    cv2.imwrite(str(sequence / 'images/4/000003.jpg'), np.repeat(bent[..., None], 3, -1),
                [cv2.IMWRITE_JPEG_QUALITY, 100])
    assert S.label_hi4d(sequence, tmp_path / 'out') == 1
    name = 'pair28_dance28_4_000003'
    picture = cv2.imread(str(tmp_path / f'out/images/{name}.png'), 0) > 127
    mask = cv2.imread(str(tmp_path / f'out/masks/{name}.png'), 0) > 0
    straight = (picture & mask).sum() / (picture | mask).sum()
    assert straight > 0.97
    assert straight > ((bent > 127) & mask).sum() / ((bent > 127) | mask).sum() + 0.01


def test_hi4d_that_is_broken_is_refused(tmp_path):
    sequence, *_ = write_hi4d(tmp_path, frames=(1,))
    out = tmp_path / 'out'
    with pytest.raises(FileNotFoundError, match='pair32 holds no sequence'):
        S.label_hi4d(tmp_path, out)
    (sequence / 'images/40').symlink_to('4')
    with pytest.raises(S.ScanError, match=r'cameras \[16, 4\], not 40'):
        S.label_hi4d(sequence, out, camera=40)
    mask = sequence / 'seg/mesh_seg_mask/mesh-f00001.npz'
    np.savez(mask, vertices_mask=np.zeros(5, int))
    with pytest.raises(S.ScanError, match='5 vertices'):
        S.label_hi4d(sequence, out)
    mask.unlink()
    (sequence / 'images/4/000001.jpg').unlink()
    with pytest.raises(FileNotFoundError, match=r'000001\.jpg is missing'):
        S.label_hi4d(sequence, out)
    np.savez(sequence / 'cameras/rgb_cameras.npz', ids=[4])
    cv2.imwrite(str(sequence / 'images/4/000001.jpg'), np.zeros((96, 72, 3), np.uint8))
    with pytest.raises(S.ScanError, match='intrinsics'):
        S.label_hi4d(sequence, out)
    assert not list(out.rglob('*.*'))


def test_the_tool(thuman, root, tmp_path, capsys):
    main = runpy.run_path(str(root / 'tools/dataset_converters/render_scans.py'))['main']
    arguments = [str(thuman / '0000/0000.obj'), str(tmp_path / 'out'), '--size', '96', '72', '--samples', '1',
                 '--height', '1.7']
    assert main(arguments) == 0
    assert '3 new pictures' in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / 'out/images/0000_face.png')).shape == (96, 72, 3)
    assert main(arguments) == 0
    assert '0 new pictures' in capsys.readouterr().out
    assert main([*arguments, '--backgrounds', str(tmp_path / 'nowhere')]) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert error.count('\n') == 1
    for content in ('90', '{', '["0000"]'):
        (tmp_path / 'yaws.json').write_text(content)
        assert main([*arguments, '--yaws', str(tmp_path / 'yaws.json')]) == 1
        error = capsys.readouterr().err
        assert f'error: {tmp_path}/yaws.json ' in error
        assert error.count('\n') == 1
    write_hi4d(tmp_path / 'Hi4D', 37, frames=(1,))
    assert main([str(tmp_path / 'Hi4D'), str(tmp_path / 'hi4d'), '--layout', 'hi4d', '--pairs', '37']) == 0


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp', '.tif'])
def test_postscript_is_no_picture_of_a_scan(postscript, tmp_path, suffix):
    vertices, uv, faces = grid(8)
    path = tmp_path / 'scan.obj'
    write_obj(path, vertices * 2, faces, uv, 'mtllib a.mtl\nusemtl a')
    (tmp_path / 'a.mtl').write_text(f'newmtl a\nmap_Kd a{suffix}\n')
    (tmp_path / f'a{suffix}').write_bytes(postscript)
    for function in (S.load_scan, lambda path: S.check_textures([path])):
        with pytest.raises(S.ScanError, match=f'a{suffix}'):
            function(path)


def test_postscript_inside_of_a_scan(postscript, tmp_path):
    trimesh = pytest.importorskip('trimesh')
    vertices, uv, faces = grid(8)
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(texture()))
    mesh = trimesh.Trimesh(vertices * 2, faces, visual=trimesh.visual.TextureVisuals(uv, material), process=False)
    path = tmp_path / 'scan.glb'
    content = mesh.export(file_type='glb')
    begin = content.index(b'\x89PNG')
    path.write_bytes(content[:begin] + postscript + content[begin + len(postscript):])
    with pytest.raises(S.ScanError, match='scan.glb'):
        S.load_scan(path)


def test_records_of_version_0_1_0_had_width_first(tmp_path):
    (tmp_path / 'cameras').mkdir()
    (tmp_path / 'cameras/a.json').write_text(json.dumps(dict(settings=dict(size=[72, 96], seed=1))))
    assert S.finished(tmp_path, 'a', dict(size_hw=[96, 72], seed=1))
    with pytest.raises(ValueError, match=r'size_hw \[96, 72\] instead of \[72, 96\]'):
        S.finished(tmp_path, 'a', dict(size_hw=[72, 96], seed=1))


def test_sizes_are_height_and_width(thuman, tmp_path):
    S.render_scans(thuman, tmp_path, size=(48, 32), samples=1, framings=('face', ), shard=(0, 2))
    assert cv2.imread(str(next((tmp_path / 'images').iterdir()))).shape == (48, 32, 3)
