"""Random light and surroundings."""
import json

import numpy as np
import pytest

from sapiens_mm.synth.assets import Assets
from sapiens_mm.synth.camera import frame_box
from sapiens_mm.synth.furniture import block
from sapiens_mm.synth.scenery import draw_scenery

PEOPLE = np.random.default_rng(0).uniform([-0.4, -0.2, 0], [0.4, 0.2, 1.8], (300, 3))
FLOOR = float(PEOPLE[:, 2].min())


def camera(azimuth: float = 0., elevation: float = 5.0, size: tuple = (72, 96)):
    return frame_box(PEOPLE, size, 1.5, azimuth=azimuth, elevation=elevation)


@pytest.mark.parametrize('kind', ['photo', 'hdri', 'moon'])
def test_kinds_without_images_are_refused(kind):
    with pytest.raises(ValueError, match=kind):
        draw_scenery(np.random.default_rng(0), camera(), PEOPLE, FLOOR, kind=kind)


@pytest.mark.parametrize('kind', ['room', 'outdoors'])
def test_the_view_of_the_people_stays_free(kind):
    """Nothing crosses a line from the camera to a person, no wall stands among the people, no lamp is in the image."""
    for seed in range(25):
        rng = np.random.default_rng(seed)
        view = camera(rng.uniform(-180, 180), rng.uniform(-10, 40))
        scenery = draw_scenery(rng, view, PEOPLE, FLOOR, kind=kind)
        for mesh in scenery.meshes:
            assert mesh.instance == 0
            assert not mesh.parts.any()
            assert not crosses(view.center, PEOPLE[::10] + [0, 0, 0.01], mesh), f'{mesh.name}, seed {seed}'
        for light in scenery.lights:
            if light['type'] == 'panel':
                uv, z = view.project([light['center']])
                assert z[0] <= 0 or not ((uv[0] > 0) & (uv[0] < [96, 72])).all()
        json.dumps(scenery.parameters)


def crosses(eye, targets, mesh) -> bool:
    """Whether any triangle lies between the eye and a target."""
    a, b, c = (mesh.vertices[mesh.faces[:, i]].astype(np.float64) for i in range(3))
    rays = targets[:, None] - eye
    across, other = np.cross(rays, c - a), np.cross(eye - a, b - a)
    with np.errstate(divide='ignore', invalid='ignore'):
        scale = (across * (b - a)).sum(-1)
        u, v, t = ((x * y).sum(-1) / scale for x, y in ((across, eye - a), (rays, other), (c - a, other)))
    return bool(((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0) & (t < 1)).any())


def test_same_generator_same_scenery(photos):
    assets = Assets.find(backgrounds=photos)
    for kind in (None, 'room', 'outdoors'):
        first, second = (
            draw_scenery(np.random.default_rng(7), camera(), PEOPLE, FLOOR, assets, kind) for _ in range(2))
        assert json.dumps(first.parameters) == json.dumps(second.parameters)
        for a, b in zip(first.meshes, second.meshes, strict=True):
            np.testing.assert_array_equal(a.vertices, b.vertices)
            np.testing.assert_array_equal(a.albedo, b.albedo)


def test_a_camera_under_the_ground_gets_no_ground():
    view = camera(elevation=-40)
    assert view.center[2] < 0
    names = {mesh.name for kind in ('room', 'outdoors') for mesh in
             draw_scenery(np.random.default_rng(0), view, PEOPLE, FLOOR, kind=kind).meshes}
    assert not names & {'floor', 'ground'}


def test_photos_are_used_when_there_are_any(photos):
    assets = Assets.find(backgrounds=photos)
    for seed in range(4):
        scenery = draw_scenery(np.random.default_rng(seed), camera(size=(96, 64)), PEOPLE, FLOOR, assets)
        assert scenery.parameters['kind'] == 'photo'
        assert (scenery.backdrop.shape, scenery.backdrop.dtype) == ((96, 64, 3), np.uint8)
        assert scenery.meshes == []
        x, y, w, h = scenery.parameters['photo']['crop']
        assert min(x, y) >= 0
        assert x + w <= 220
        assert y + h <= 150


@pytest.fixture
def hdris(tmp_path):
    """Two environment maps that are bright above."""
    pytest.importorskip('mitsuba')
    from sapiens_mm.synth.extra import mitsuba
    image = np.full((16, 32, 3), 0.01, np.float32)
    image[:6] = 1
    for name in ('a.exr', 'b.hdr'):
        mitsuba().Bitmap(image).write(str(tmp_path / name))
    return tmp_path


def test_hdris_light_the_scene(hdris):
    from sapiens_mm.synth.render import render
    assets = Assets.find(hdris=hdris)
    kinds = set()
    for seed in range(6):
        scenery = draw_scenery(np.random.default_rng(seed), camera(), PEOPLE, FLOOR, assets)
        kinds.add(scenery.parameters['kind'])
        assert scenery.lights[0]['type'] == 'hdri'
        assert scenery.parameters['lights'][0]['file'] in ('a.exr', 'b.hdr')  # without the folder
    assert kinds == {'room', 'hdri'}
    ball = block('ball', np.array([0, 0, 0.9]), (0.5, 0.5, 1.8), 0.0, (0.5, 0.5, 0.5))
    assert render([ball], camera(), scenery.lights, samples=1).rgb.max() > 0


def test_up_is_up_for_every_environment(hdris):
    """A sky that is bright above lights the top of things, whatever the renderer's convention."""
    from sapiens_mm.synth.render import render
    cube = block('cube', np.zeros(3), (1, 1, 1), 0.0, (0.5, 0.5, 0.5), roughness=1.0)
    view = frame_box(cube.vertices, (36, 48), 1.5, azimuth=10, elevation=40)
    sun = dict(type='sunsky', sun_direction=[0, 0.3, 1], turbidity=3, sun_scale=1, sky_scale=1, albedo=0.1)
    for light in (dict(type='hdri', file=str(hdris / 'a.exr'), yaw=70, scale=1), sun):
        buffers = render([cube], view, [light], samples=8)
        top = buffers.normal[..., 1] > 0.6
        assert top.any()
        assert buffers.rgb[top].mean() > 1.3 * buffers.rgb[(buffers.mesh == 0) & ~top].mean()
