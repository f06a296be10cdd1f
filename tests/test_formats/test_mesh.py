"""Tests of point clouds and meshes, on bodies whose depth is computed by hand."""
import json
import sys

import numpy as np
import pytest

from sapiens_mm.formats.mesh import EDGE, Surface, triangulate, write_glb, write_ply

SIZE = (90, 70)
NOTES = dict(units='meters', depth_from='a "test", äöü\nof two lines')


def body(**changes) -> Surface:
    """A person 2.4 m away, whose arm is 0.4 m in front of the trunk, and a second person beside."""
    y, x = np.mgrid[:SIZE[0], :SIZE[1]]
    z = np.full(SIZE, np.inf)
    owner = np.full(SIZE, -1)
    for person, (rows, columns), radius, near in ((0, (45, 25), 20, 2.4), (1, (45, 55), 14, 2.41), (0, (50, 25), 6, 2)):
        height = radius**2 - (y - rows)**2 - (x - columns)**2
        ball = near - np.sqrt(np.maximum(height, 0)) / 100
        front = (height > 0) & (ball < z)
        z[front], owner[front] = ball[front], person
    z[owner < 0] = 9
    points = np.stack([(x - 34.5) * z / 70, -(y - 44.5) * z / 70, -z], axis=-1).astype(np.float32)
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    normals = np.random.default_rng(1).normal(size=(*SIZE, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return Surface(**{**dict(points=points, owner=owner, image=image, normals=normals, notes=NOTES), **changes})


def test_without_trimesh_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'trimesh', None)
    for write in (write_ply, write_glb):
        with pytest.raises(ValueError, match=r'sapiens_mm\[mesh\]'):
            write(tmp_path / 'a', body())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('surface', [
    body(owner=np.full(SIZE, -1)),
    Surface(np.zeros((1, 1, 3), np.float32), np.zeros((1, 1), int), np.zeros((1, 1, 3), np.uint8), None, NOTES),
    Surface(np.zeros((1, 5, 3), np.float32), np.zeros((1, 5), int), np.zeros((1, 5, 3), np.uint8))],
    ids=['nobody', 'one pixel', 'one row'])
def test_images_without_triangles_are_written(surface, tmp_path):
    trimesh = pytest.importorskip('trimesh')
    write_ply(tmp_path / 'a.ply', surface)
    write_glb(tmp_path / 'a.glb', surface)
    number = int((surface.owner >= 0).sum())
    header = (tmp_path / 'a.ply').read_bytes().split(b'end_header')[0].decode()
    assert f'element vertex {number}\n' in header
    scene = trimesh.load_scene(tmp_path / 'a.glb')
    assert not scene.geometry
    assert scene.metadata.get('units') == surface.notes.get('units')


def test_no_triangle_crosses_a_jump_or_two_people():
    surface = body()
    z, owner = surface.points[..., 2], surface.owner.ravel()
    faces = triangulate(z, surface.owner, EDGE)
    depths = z.ravel()[faces]
    assert np.ptp(depths, axis=1).max() <= EDGE
    assert (owner[faces] == owner[faces][:, :1]).all()
    assert owner[faces].min() == 0
    # Corners are neighbors.
    rows, columns = np.unravel_index(faces, SIZE)
    assert max(np.ptp(rows, axis=1).max(), np.ptp(columns, axis=1).max()) == 1
    # With a larger limit the arm is connected to the trunk, and nothing else changes.
    joined = {tuple(face) for face in triangulate(z, surface.owner, .6).tolist()}
    assert len(joined) > len(faces)
    assert sum(tuple(face) not in joined for face in faces.tolist()) == 0


def test_flat_people_have_all_triangles():
    faces = triangulate(np.zeros((4, 6)), np.zeros((4, 6), int), EDGE)
    assert len(faces) == 2 * 3 * 5
    corners = np.stack([faces % 6, -(faces // 6)], axis=-1).astype(float)
    (x0, y0), (x1, y1) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    assert (x0 * y1 - y0 * x1 == 1).all()  # counter-clockwise, and no square is covered twice


def test_a_corner_is_cut_off_where_a_square_has_three_pixels():
    owner = np.array([[0, 0], [0, -1]])
    assert sorted(triangulate(np.zeros((2, 2)), owner, EDGE)[0].tolist()) == [0, 1, 2]
    assert len(triangulate(np.array([[0, 0], [0, 1.]]), np.zeros((2, 2), int), EDGE)) == 1


def test_ply_is_read_again(tmp_path):
    trimesh = pytest.importorskip('trimesh')
    surface = body()
    write_ply(tmp_path / 'a.ply', surface)
    cloud = trimesh.load(tmp_path / 'a.ply')
    points, colors, normals = surface.cloud()
    np.testing.assert_array_equal(cloud.vertices, points)
    np.testing.assert_array_equal(cloud.colors[:, :3], colors)
    lines = (tmp_path / 'a.ply').read_bytes().split(b'end_header\n')[0].decode('ascii').splitlines()
    comment, = (line for line in lines if line.startswith('comment sapiens_mm'))
    assert json.loads(comment.split(' ', 3)[3]) == NOTES
    assert 'property float nx' in lines
    data = np.frombuffer((tmp_path / 'a.ply').read_bytes().split(b'end_header\n', 1)[1], '<f4,<f4,<f4,3<f4,4u1')
    np.testing.assert_array_equal(data['f3'], normals)


def test_glb_is_read_again(tmp_path):
    trimesh = pytest.importorskip('trimesh')
    surface = body()
    write_glb(tmp_path / 'a.glb', surface)
    scene = trimesh.load_scene(tmp_path / 'a.glb', process=False)
    assert scene.metadata == NOTES
    assert list(scene.geometry) == ['person_000', 'person_001']
    faces = triangulate(surface.points[..., 2], surface.owner, EDGE)
    people = surface.owner.ravel()[faces[:, 0]]
    for person, mesh in enumerate(scene.geometry.values()):
        assert len(mesh.faces) == (people == person).sum()
        pixels = np.unique(faces[people == person])
        np.testing.assert_array_equal(mesh.vertices, surface.points.reshape(-1, 3)[pixels])
        np.testing.assert_allclose(mesh.vertex_normals, surface.normals.reshape(-1, 3)[pixels], atol=1e-6)
        # Each vertex has its pixel's color in the texture.
        texture = np.asarray(mesh.visual.material.baseColorTexture.convert('RGB'))
        columns, rows = (mesh.visual.uv * texture.shape[1::-1]).T
        colors = texture[len(texture) - 1 - rows.astype(int), columns.astype(int)]
        np.testing.assert_array_equal(colors, surface.image.reshape(-1, 3)[pixels])


def test_reduced_surfaces_have_every_nth_pixel():
    surface = body()
    small = surface.reduced(40)
    assert small.owner.shape == (30, 24)
    np.testing.assert_array_equal(small.points, surface.points[::3, ::3])
    np.testing.assert_array_equal(small.normals, surface.normals[::3, ::3])
    assert surface.reduced(90).owner.shape == SIZE
