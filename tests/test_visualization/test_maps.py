"""Labels and predictions as colours."""
import numpy as np

from sapiens_mm.visualization import maps
from sapiens_mm.visualization.maps import color_depth, color_normals, color_parts, legend, overlay, titled
from sapiens_mm.vocabularies.body_parts import IGNORED_PART, PART_COLORS


def test_parts_have_the_colours_of_their_vocabulary():
    parts = np.array([[0, 5, 27, IGNORED_PART]], np.uint8)
    np.testing.assert_array_equal(color_parts(parts)[0], [PART_COLORS[0], PART_COLORS[5], PART_COLORS[27], [255] * 3])


def test_near_is_yellow_far_is_violet_and_nobody_is_black():
    near, middle, far, nobody = color_depth(np.array([[1., 2, 3, 0]], np.float32))[0].astype(int)
    assert min(near[:2]) > 200 > near[2]
    assert far[2] > far[1]
    assert far[0] > far[1]
    assert far.sum() < middle.sum() < near.sum()
    assert nobody.tolist() == [0, 0, 0]
    assert not color_depth(np.zeros((2, 2), np.float32)).any()
    assert color_depth(np.full((1, 1), 2, np.float32)).any()


def test_normals_to_the_right_are_red_up_green_and_to_the_viewer_blue():
    normals = np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0, 0, 0]]], np.float16)
    np.testing.assert_array_equal(
        color_normals(normals)[0], [[255, 128, 128], [128, 255, 128], [128, 128, 255], [0, 128, 128], [0, 0, 0]])


def test_a_mask_and_limits_say_what_is_shown():
    depth = np.array([[-1., 0, 1, np.nan, 9]], np.float32)
    shown = color_depth(depth, np.array([[1, 1, 1, 1, 0]]), limits=(-1, 1))[0].astype(int)
    assert shown[0].sum() > shown[1].sum() > shown[2].sum() > 0
    assert not shown[3:].any()
    normals = np.array([[[0, 0, 1], [0, 0, 1], [np.nan, 0, 1]]], np.float32)
    np.testing.assert_array_equal(color_normals(normals, np.array([[1, 0, 1]]))[0], [[128, 128, 255], [0] * 3, [0] * 3])


def test_large_maps_are_coloured_in_bands(monkeypatch):
    rng = np.random.default_rng(0)
    depth, normals = rng.uniform(0, 2, (50, 7)) * (rng.random((50, 7)) > .3), rng.normal(size=(50, 7, 3))

    def draw():
        colors = color_depth(depth)
        return colors, color_normals(normals, depth), overlay(color_normals(normals), colors, depth)

    whole = draw()
    monkeypatch.setattr(maps, '_BAND', 30)
    assert [band.start for band in maps.bands(depth.shape)] == list(range(0, 50, 4))
    for one, other in zip(whole, draw()):
        np.testing.assert_array_equal(one, other)


def test_overlay_leaves_what_is_not_masked():
    image, colors = np.full((1, 2, 3), 100, np.uint8), np.full((1, 2, 3), 200, np.uint8)
    np.testing.assert_array_equal(overlay(image, colors, np.array([[0, 1]]), 0.5)[0], [[100] * 3, [150] * 3])


def test_a_legend_is_as_high_as_the_picture_and_has_all_colours():
    names, colors = [f'part {i}' for i in range(28)], PART_COLORS
    for height in (60, 400):
        column = legend(height, names, colors)
        assert column.shape[0] == height
        for color in colors:
            assert (column == color).all(axis=-1).any()


def test_titles_are_in_the_upper_left_corner_of_what_is_wide_enough():
    picture = np.full((200, 150, 3), 90, np.uint8)
    changed = (titled(picture, 'parts, predicted') != picture).any(axis=-1)
    assert changed[:20].any()
    assert not changed[20:].any()
    assert (picture == 90).all()
    np.testing.assert_array_equal(titled(picture[:, :60], 'parts'), picture[:, :60])
