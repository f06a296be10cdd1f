"""Mitsuba scenes: meshes that are refused, and cameras."""
import numpy as np
import pytest

pytest.importorskip('mitsuba')

from sapiens_mm.synth.extra import mitsuba  # noqa: E402
from sapiens_mm.synth.scene import check_meshes, shape, trace  # noqa: E402

from .conftest import CAMERAS, pixels, sheet, sphere  # noqa: E402


@pytest.mark.parametrize(('changes', 'value'), [
    (dict(faces=np.array([[0, 1, 4]])), '4'), (dict(vertices=np.full((4, 3), np.nan)), 'nan'),
    (dict(vertices=np.zeros((4, 2))), r'\(4, 2\)'), (dict(parts=np.zeros(3)), r'\(3,\)'), (dict(instance=256), '256'),
    (dict(uv=np.zeros((3, 2))), r'\(3, 2\)'), (dict(normals=np.zeros((4, 2))), r'\(4, 2\)')])
def test_broken_meshes_are_refused_by_name(changes, value):
    wall = sheet([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    for name, content in changes.items():
        setattr(wall, name, content)
    with pytest.raises(ValueError, match=rf"mesh 1 \('sheet'\).*{value}"):
        check_meshes([sphere(4), wall])


@pytest.mark.parametrize(('changes', 'value'), [
    (dict(albedo=np.zeros((2, 2, 3), np.uint8), uv=None), 'texture'),
    (dict(albedo=np.zeros((2, 2, 3))), 'float64')])
def test_textures_that_mitsuba_cannot_show_are_refused(changes, value):
    with pytest.raises(ValueError, match=f'sphere.*{value}'):
        shape(sphere(4, **changes))


@pytest.mark.parametrize('name', CAMERAS)
def test_the_renderers_ray_passes_through_the_pixels_center(name):
    camera = CAMERAS[name]
    wall = sheet((np.array([[-9, 9, 5], [9, 9, 5], [9, -9, 5], [-9, -9, 5]]) - camera.translation) @ camera.rotation)
    scene = mitsuba().load_dict(dict(type='scene', ball=shape(sphere()), wall=shape(wall)))
    position = trace(scene, camera, 'aov', aovs='position:position')[..., -3:]
    uv, z = camera.project(position.reshape(-1, 3))
    assert (z > 0).all()
    assert np.abs(uv - pixels(camera).reshape(-1, 2)).max() < 0.01
