"""The camera and its framings, without a renderer."""
import json

import numpy as np
import pytest

from sapiens_mm.synth.camera import Camera, frame_box, intrinsics_of, view_rotation

from .conftest import look_at

SIZE = (48, 64)


@pytest.fixture
def points() -> np.ndarray:
    """(200, 3) points in a person-sized box."""
    return np.random.default_rng(0).uniform([-0.4, -0.2, 0], [0.4, 0.2, 1.8], (200, 3))


@pytest.mark.parametrize(('make', 'value'), [
    (lambda: intrinsics_of(1.0, (48, 0)), '48 x 0'),
    (lambda: intrinsics_of(0.0, SIZE), '0.0'),
    (lambda: frame_box(np.zeros((0, 3)), SIZE, 1.0), '0 points'),
    (lambda: frame_box(np.zeros((1, 3)), SIZE, 1.0, margin=0.5), '0.5'),
    (lambda: Camera(np.eye(3), 2 * np.eye(3), np.zeros(3), *SIZE), '2.0'),
    (lambda: Camera([[1, 0.5, 0], [0, 1, 0], [0, 0, 1]], np.eye(3), np.zeros(3), *SIZE), '0.5'),
    (lambda: Camera.from_dict(dict(rotation=1)), 'translation')])
def test_bad_cameras_are_refused(make, value):
    with pytest.raises(ValueError, match=value):
        make()


def test_project_is_opencv_with_the_first_pixels_center_at_zero():
    camera = Camera([[100, 0, 4], [0, 200, 3], [0, 0, 1]], np.eye(3), np.zeros(3), 7, 9)
    uv, z = camera.project([[0, 0, 2], [0.02, -0.01, 1], [0, 0, -1]])
    np.testing.assert_allclose(uv[:2], [[4, 3], [6, 1]])
    np.testing.assert_allclose(z, [2, 1, -1])
    assert np.isnan(uv[2]).all()


def test_rays_invert_project(points):
    camera = frame_box(points, SIZE, 1.3, azimuth=30, elevation=20, roll=5)
    uv, z = camera.project(points)
    np.testing.assert_allclose(camera.rays(uv) * z[:, None], camera.transform(points), atol=1e-12)


@pytest.mark.parametrize(('azimuth', 'elevation', 'roll'), [(0, 0, 0), (70, 30, 0), (-160, -20, 20)])
def test_angles_are_those_of_a_camera_that_looks_at_the_origin(azimuth, elevation, roll):
    a, e = np.radians([azimuth, elevation])
    eye = 3 * np.array([np.sin(a) * np.cos(e), -np.cos(a) * np.cos(e), np.sin(e)])
    camera = look_at(eye, [0, 0, 0], SIZE, 1.0, roll=roll)
    np.testing.assert_allclose(camera.rotation, view_rotation(azimuth, elevation, roll), atol=1e-12)
    np.testing.assert_allclose(camera.center, eye)
    uv, z = camera.project([[0, 0, 0]])
    np.testing.assert_allclose(uv, [[31.5, 23.5]], atol=1e-9)
    np.testing.assert_allclose(z, 3)


def test_azimuth_zero_stands_on_minus_y_with_x_to_the_right_and_z_up(points):
    camera = frame_box(points, SIZE, 1.0)
    assert camera.center[1] < -1
    uv, _ = camera.project([[0, 0, 0.9], [0.1, 0, 0.9], [0, 0, 1.0]])
    assert uv[1, 0] > uv[0, 0]
    assert uv[2, 1] < uv[0, 1]
    assert frame_box(points, SIZE, 1.0, azimuth=90).center[0] > 1


@pytest.mark.parametrize('size', [(48, 64), (64, 48)])
@pytest.mark.parametrize('margin', [0.0, 0.1])
def test_framed_points_fill_the_image_and_no_more(points, size, margin):
    uv, _ = frame_box(points, size, 1.2, margin, azimuth=25, elevation=15, roll=8).project(points)
    size_wh = np.array(size[::-1])
    free = size_wh * margin
    low, high = uv.min(axis=0) + 0.5 - free, size_wh - free - (uv.max(axis=0) + 0.5)
    assert min(low.min(), high.min()) > -1e-9
    assert ((low < 1e-9) & (high < 1e-9)).any()


def test_near_points_stay_in_front():
    _, z = frame_box(np.array([[0.0, 0, 0]]), SIZE, 1.0, near=0.3).project([[0, 0, 0]])
    np.testing.assert_allclose(z, 0.3)


def test_json_keeps_every_digit(points):
    camera = frame_box(points, SIZE, 1.37, azimuth=12.3, roll=4.5)
    again = Camera.from_dict(json.loads(json.dumps(camera.to_dict())))
    for name in ('intrinsics', 'rotation', 'translation'):
        np.testing.assert_array_equal(getattr(again, name), getattr(camera, name))
    assert (again.height, again.width) == SIZE
