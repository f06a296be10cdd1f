"""Boxes and furniture."""
import numpy as np
import pytest

from sapiens_mm.synth.furniture import FURNITURE, block, furnish


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
