"""Triangle meshes and their normals."""
import numpy as np

from sapiens_mm.synth.mesh import cross, face_normals, rotation_z, triangles, vertex_normals

SQUARE = np.array([[0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1, 0], [9, 9, 9]], np.float32)


def test_a_quarter_turn_about_the_vertical_takes_x_to_y():
    np.testing.assert_allclose(rotation_z(np.pi / 2) @ [2, 0, 5], [0, 2, 5], atol=1e-15)


def test_normals_of_the_triangles_of_a_quad():
    faces = triangles(np.array([[0, 1, 2, 3]]))
    assert faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    np.testing.assert_array_equal(face_normals(SQUARE, faces), [[0, 0, 2], [0, 0, 2]])
    # The last vertex has no face.
    np.testing.assert_allclose(vertex_normals(SQUARE, faces), [[0, 0, 1]] * 4 + [[0, 0, 0]])


def test_larger_faces_count_more():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 3, 0], [0, 0, 1]], np.float32)
    normals = vertex_normals(vertices, np.array([[0, 1, 2], [0, 3, 1]]))  # areas 1.5 to +z and 0.5 to +y
    np.testing.assert_allclose(normals[0], np.array([0, 1, 3]) / 10**0.5, rtol=1e-6)


def test_cross_products_are_numpys():
    a, b = np.random.default_rng(0).normal(size=(2, 5, 3))
    np.testing.assert_array_equal(cross(a, b), np.cross(a, b))
    assert cross(a[:0], b[:0]).shape == (0, 3)
