"""Lights against Mitsuba's own."""
import numpy as np
import pytest

mi = pytest.importorskip('mitsuba')

from sapiens_mm.synth.camera import Camera  # noqa: E402
from sapiens_mm.synth.extra import mitsuba  # noqa: E402
from sapiens_mm.synth.lights import emitters, sky, sunsky  # noqa: E402
from sapiens_mm.synth.scene import sensor, shape  # noqa: E402

from .conftest import AMBIENT, CAMERAS, look_at, sheet, sphere, sphere_truth  # noqa: E402

LIGHT = dict(type='sunsky', sun_direction=[0.6, -0.3, 0.5], turbidity=3.0, sun_scale=0.0, sky_scale=1.0, albedo=0.2)


def shot(lights: list, mesh, camera: Camera, **options) -> np.ndarray:
    """(H, W, 3) radiance with little noise."""
    scene = mitsuba().load_dict(dict(type='scene', mesh=shape(mesh),
                                     **{f'light{i}': light for i, light in enumerate(lights)}))
    integrator = mi.load_dict(dict(type='direct', **options))
    return np.array(mi.render(scene, sensor=sensor(camera, 256), integrator=integrator, spp=0, seed=1))[..., :3]


def test_unknown_lights_are_refused():
    with pytest.raises(ValueError, match='candle'):
        emitters([dict(type='candle')], [], CAMERAS['plain'])


def test_the_map_of_a_sky_is_mitsubas_sky_in_the_same_direction():
    emitter, place = mitsuba().load_dict(sky(LIGHT)), mi.SurfaceInteraction3f()
    directions = np.random.default_rng(0).normal(size=(200, 3)) * [1, 1, 0.5]
    directions[:, 2] = np.abs(directions[:, 2])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for direction, color in zip(directions, sunsky(LIGHT, directions)):
        place.wi = (-direction).tolist()
        np.testing.assert_allclose(np.array(emitter.eval(place, True)), color, rtol=0.15)


@pytest.mark.parametrize('scale', [0.05, 1.0])
def test_sun_and_sky_are_as_bright_as_mitsubas(scale):
    light = dict(LIGHT, sun_scale=scale)
    camera = look_at([0, -2, 2], [0, 0, 0], (16, 24), 3.0)
    floor = sheet([[-5, -5, 0], [5, -5, 0], [5, 5, 0], [-5, 5, 0]], roughness=1.0)
    expected, ours = (shot(lights, floor, camera).mean(axis=(0, 1))
                      for lights in ([light], emitters([light], [floor], camera)))
    np.testing.assert_allclose(ours, expected, rtol=0.02)


@pytest.mark.parametrize('name', CAMERAS)
def test_ambient_light_is_even_from_every_view(name):
    """A gray ball in the open reflects half of the light everywhere, and the light itself is visible beside it."""
    camera, ball = CAMERAS[name], sphere(40, albedo=(0.5, 0.5, 0.5), roughness=1.0)
    lamp = dict(type='panel', center=[0, -9, 0], target=[0, -10, 0], size=[1, 1], radiance=[1, 1, 1])  # turned away
    image = shot(emitters([*AMBIENT, lamp], [ball], camera), ball, camera, emitter_samples=1, bsdf_samples=0)
    sure, away = sphere_truth(camera, 0.45)[2], ~sphere_truth(camera, 0.55)[2]
    np.testing.assert_allclose(image[sure].mean(), 0.5, rtol=0.02)
    np.testing.assert_allclose(np.median(image[sure].mean(axis=-1)), 0.5, rtol=0.05)
    np.testing.assert_allclose(image[away], 1, rtol=1e-4)
