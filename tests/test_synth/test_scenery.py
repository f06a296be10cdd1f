"""Random light and surroundings."""
import json
import shutil

import cv2
import numpy as np
import pytest

from sapiens_mm.synth.camera import frame_box
from sapiens_mm.synth.scenery import FURNITURE, TEXTURES, Assets, block, draw_scenery, furnish, read_photo

PEOPLE = np.random.default_rng(0).uniform([-0.4, -0.2, 0], [0.4, 0.2, 1.8], (300, 3))
FLOOR = float(PEOPLE[:, 2].min())


def camera(rng=None, elevation: float = 5.0, size: tuple = (72, 96)):
    azimuth = 0.0 if rng is None else rng.uniform(-180, 180)
    return frame_box(PEOPLE, size, 1.5, azimuth=azimuth, elevation=elevation)


@pytest.fixture
def folder(tmp_path):
    """Two photos."""
    (tmp_path / 'sub').mkdir()
    rng = np.random.default_rng(0)
    for name in ('b.jpg', 'sub/a.PNG'):
        content = cv2.imencode(name[-4:].lower(), rng.integers(0, 256, (150, 220, 3), dtype=np.uint8))[1]
        (tmp_path / name).write_bytes(content.tobytes())
    (tmp_path / 'notes.txt').write_text('no picture')
    return tmp_path


@pytest.mark.parametrize('name', TEXTURES)
def test_textures_repeat_without_a_seam(name):
    image = TEXTURES[name](np.random.default_rng(3))
    assert np.isfinite(image).all()
    same = TEXTURES[name](np.random.default_rng(3))
    np.testing.assert_array_equal(image, same)
    # Across the edge the picture jumps no more than inside.
    for axis in (0, 1):
        inside = np.abs(np.diff(image, axis=axis)).mean(axis=tuple(a for a in range(3) if a != axis)).max()
        across = np.abs(np.take(image, 0, axis) - np.take(image, -1, axis)).mean()
        assert across <= inside * 1.3 + 0.02


def test_boxes_are_closed_and_face_outwards():
    mesh = block('box', np.array([1.0, 2.0, 3.0]), (0.4, 0.6, 0.8), 0.3, (0.5, 0.5, 0.5))
    a, b, c = (mesh.vertices[mesh.faces[:, i]].astype(float) - [1, 2, 3] for i in range(3))
    np.testing.assert_allclose(np.einsum('ni,ni->n', a, np.cross(b, c)).sum() / 6, 0.4 * 0.6 * 0.8, rtol=1e-5)
    assert (np.einsum('ni,ni->n', np.cross(b - a, c - a), a + b + c) > 0).all()


@pytest.mark.parametrize('name', FURNITURE)
def test_furniture_stands_on_the_ground_within_its_size(name):
    size = FURNITURE[name]['size']
    meshes, textures = furnish(np.random.default_rng(0), name, np.array([1.0, 2.0, 0.5]), size, 0.0)
    assert len(textures) == len(meshes)
    points = np.concatenate([mesh.vertices for mesh in meshes])
    assert abs(points[:, 2].min() - 0.5) < 0.02
    assert (np.abs(points[:, :2] - [1, 2]) < size[:2] / 2 * 1.1).all()


@pytest.mark.parametrize('kind', ['room', 'outdoors'])
def test_the_view_of_the_people_stays_free(kind):
    """Nothing crosses a line from the camera to a person, no wall stands among the people, no lamp is in the image."""
    for seed in range(25):
        rng = np.random.default_rng(seed)
        view = camera(rng, elevation=rng.uniform(-10, 40))
        scenery = draw_scenery(rng, view, PEOPLE, FLOOR, kind=kind)
        targets = PEOPLE[::10] + [0, 0, 0.01]
        for mesh in scenery.meshes:
            assert mesh.instance == 0
            assert not mesh.parts.any()
            assert not crosses(view.centre, targets, mesh), f'{mesh.name}, seed {seed}'
        for light in scenery.lights:
            if light['type'] == 'panel':
                uv, z = view.project([light['centre']])
                assert z[0] <= 0 or not ((uv[0] > 0) & (uv[0] < [96, 72])).all()
        json.dumps(scenery.parameters)


def crosses(eye, targets, mesh) -> bool:
    """Whether any triangle lies between the eye and a target."""
    a, b, c = (mesh.vertices[mesh.faces[:, i]].astype(np.float64) for i in range(3))
    for target in targets:
        ray = target - eye
        across = np.cross(ray, c - a)
        scale = np.einsum('ni,ni->n', b - a, across)
        with np.errstate(divide='ignore', invalid='ignore'):
            u = np.einsum('ni,ni->n', eye - a, across) / scale
            other = np.cross(eye - a, b - a)
            v = other @ ray / scale
            t = np.einsum('ni,ni->n', c - a, other) / scale
        if ((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0) & (t < 1)).any():
            return True
    return False


def test_same_generator_same_scenery(folder):
    assets = Assets.find(backgrounds=folder)
    for kind in (None, 'room', 'outdoors'):
        first, second = (
            draw_scenery(np.random.default_rng(7), camera(), PEOPLE, FLOOR, assets, kind) for _ in range(2))
        assert json.dumps(first.parameters) == json.dumps(second.parameters)
        for a, b in zip(first.meshes, second.meshes):
            np.testing.assert_array_equal(a.vertices, b.vertices)
            np.testing.assert_array_equal(a.albedo, b.albedo)


def test_a_camera_under_the_ground_gets_no_ground():
    view = camera(elevation=-40)
    assert view.centre[2] < 0
    names = [mesh.name for kind in ('room', 'outdoors') for mesh in
             draw_scenery(np.random.default_rng(0), view, PEOPLE, FLOOR, kind=kind).meshes]
    assert 'floor' not in names
    assert 'ground' not in names


def test_photos_are_used_when_there_are_any(folder):
    assets = Assets.find(backgrounds=folder)
    assert [path.name for path in assets.photos] == ['b.jpg', 'a.PNG']
    for seed in range(4):
        scenery = draw_scenery(np.random.default_rng(seed), camera(size=(96, 64)), PEOPLE, FLOOR, assets)
        assert scenery.parameters['kind'] == 'photo'
        assert scenery.backdrop.shape == (96, 64, 3)
        assert scenery.backdrop.dtype == np.uint8
        assert scenery.meshes == []
        x, y, w, h = scenery.parameters['photo']['crop']
        assert x >= 0
        assert y >= 0
        assert x + w <= 220
        assert y + h <= 150


def test_unreadable_and_missing_pictures_are_named_at_the_start(folder, tmp_path):
    (folder / 'sub/broken.jpg').write_bytes(b'not a picture')
    with pytest.raises(ValueError, match=r'broken\.jpg'):
        Assets.find(backgrounds=folder)
    (folder / 'sub/broken.jpg').write_bytes(b'')
    with pytest.raises(ValueError, match=r'broken\.jpg'):
        Assets.find(backgrounds=folder)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='no background pictures'):
        Assets.find(backgrounds=tmp_path / 'empty')
    with pytest.raises(FileNotFoundError, match='not a folder'):
        Assets.find(hdris=tmp_path / 'nowhere')
    with pytest.raises(ValueError, match='needs pictures'):
        draw_scenery(np.random.default_rng(0), camera(), PEOPLE, FLOOR, kind='photo')
    with pytest.raises(ValueError, match='cannot read'):
        read_photo(tmp_path / 'gone.jpg')


def test_photos_are_known_by_names_and_sizes_wherever_they_are(folder, tmp_path_factory):
    before = Assets.find(backgrounds=folder).fingerprints
    assert before['backgrounds'].startswith('2 files (')
    assert before['hdris'] is None
    moved = tmp_path_factory.mktemp('elsewhere') / 'photos'
    shutil.copytree(folder, moved)
    assert Assets.find(backgrounds=moved).fingerprints == before
    (moved / 'sub').rename(moved / 'other')
    assert Assets.find(backgrounds=moved).fingerprints != before


def test_hdris_light_the_scene(tmp_path):
    pytest.importorskip('mitsuba')
    from sapiens_mm.synth.render import mitsuba, render

    mi = mitsuba()
    picture = np.full((16, 32, 3), 0.2, np.float32)
    picture[2:5, 8:12] = 30
    mi.Bitmap(picture).write(str(tmp_path / 'a.exr'))
    mi.Bitmap(picture).write(str(tmp_path / 'b.hdr'))
    assets = Assets.find(hdris=tmp_path)
    kinds = set()
    for seed in range(6):
        scenery = draw_scenery(np.random.default_rng(seed), camera(), PEOPLE, FLOOR, assets)
        kinds.add(scenery.parameters['kind'])
        assert scenery.lights[0]['type'] == 'hdri'
        assert scenery.parameters['lights'][0]['file'] in ('a.exr', 'b.hdr')  # not where it is
    assert kinds == {'room', 'hdri'}
    ball = block('ball', np.array([0, 0, 0.9]), (0.5, 0.5, 1.8), 0.0, (0.5, 0.5, 0.5))
    assert render([ball], camera(), scenery.lights, samples=1).rgb.max() > 0
    (tmp_path / 'c.hdr').write_bytes(b'#?RADIANCE\nbroken')
    with pytest.raises(ValueError, match=r'c\.hdr'):
        Assets.find(hdris=tmp_path)


def test_a_process_of_one_thread_reads_exr(tmp_path):
    """As each worker of a set is; Mitsuba alone would wait forever."""
    drjit = pytest.importorskip('drjit')
    from sapiens_mm.synth.render import mitsuba, read_hdri, set_threads

    mitsuba().Bitmap(np.ones((4, 8, 3), np.float32)).write(str(tmp_path / 'a.exr'))
    before = drjit.thread_count()
    try:
        set_threads(1)
        assert tuple(read_hdri(tmp_path / 'a.exr').size()) == (8, 4)
        assert drjit.thread_count() == 1
    finally:
        set_threads(before)


def test_up_is_up_for_every_environment(tmp_path):
    """A sky that is bright above lights the top of things, whichever convention the renderer has."""
    pytest.importorskip('mitsuba')
    from sapiens_mm.synth.render import mitsuba, render

    mi = mitsuba()
    picture = np.full((16, 32, 3), 0.01, np.float32)
    picture[:6] = 1
    mi.Bitmap(picture).write(str(tmp_path / 'a.exr'))
    cube = block('cube', np.zeros(3), (1, 1, 1), 0.0, (0.5, 0.5, 0.5), roughness=1.0)
    view = frame_box(cube.vertices, (36, 48), 1.5, azimuth=10, elevation=40)
    sun = dict(type='sunsky', sun_direction=[0, 0.3, 1], turbidity=3, sun_scale=1, sky_scale=1, albedo=0.1)
    for light in (dict(type='hdri', file=str(tmp_path / 'a.exr'), yaw=70, scale=1), sun):
        buffers = render([cube], view, [light], samples=8)
        top = buffers.normal[..., 1] > 0.6
        side = (buffers.mesh == 0) & ~top
        assert top.any()
        assert buffers.rgb[top].mean() > 1.3 * buffers.rgb[side].mean()
