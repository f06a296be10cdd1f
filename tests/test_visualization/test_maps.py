"""Drawings of labels and predictions."""
import numpy as np
import pytest

from sapiens_mm.tasks import dense_tasks
from sapiens_mm.visualization import maps
from sapiens_mm.visualization.maps import (
    color_normals,
    depth_limits,
    draw_depth,
    draw_map,
    draw_parts,
    legend,
    overlay,
    titled,
)
from sapiens_mm.vocabularies.body_parts import IGNORED_PART, PART_COLORS


def test_unknown_task():
    with pytest.raises(KeyError, match='pose'):
        draw_map('pose', np.zeros((2, 2)), np.zeros((2, 2, 3), np.uint8))


@pytest.mark.parametrize('task', [*(task.name for task in dense_tasks().values()), 'parts'])
def test_every_dense_task_has_a_drawing(task):
    values = np.full((4, 6, 3) if task == 'normal' else (4, 6), .5)
    shown = draw_map(task, values, np.zeros((4, 6, 3), np.uint8))
    assert shown.shape == (4, 6, 3)
    assert shown.dtype == np.uint8


def test_class_colors_lie_over_the_image():
    image = np.full((1, 4, 3), 100, np.uint8)
    shown = draw_parts(image, np.array([[0, 5, 27, IGNORED_PART]]))
    np.testing.assert_array_equal(shown[0, [0, 3]], 100)
    np.testing.assert_allclose(shown[0, 1:3], 0.4 * 100 + 0.6 * np.array(PART_COLORS)[[5, 27]], atol=1)


def test_near_depth_is_yellow_and_far_depth_violet():
    depth = np.array([[1., 2, 3, 0, np.nan]], np.float32)
    near, middle, far, *nobody = draw_depth(depth, depth > 0)[0].astype(int)
    assert min(near[:2]) > 200 > near[2]
    assert far[2] > far[1]
    assert far[0] > far[1]
    assert far.sum() < middle.sum() < near.sum()
    assert not np.any(nobody)
    assert not draw_depth(depth, np.zeros(depth.shape)).any()
    assert draw_depth(np.full((1, 1), -2, np.float32)).any()


def test_outliers_of_depth_do_not_take_the_contrast():
    depth = np.linspace(0, 1, 1000, dtype=np.float32).reshape(20, 50)
    plain = draw_depth(depth).astype(int)
    assert depth_limits(depth) == pytest.approx((.01, .99), abs=1e-3)
    depth[10, 25], depth[0, 0] = 1e6, np.inf
    keep = np.isfinite(depth) & (depth < 1e6)
    assert np.abs(plain - draw_depth(depth))[keep].max() < 12
    assert depth_limits(depth, np.zeros(depth.shape)) is None


def test_normals_to_the_right_are_red_up_green_and_to_the_viewer_blue():
    normals = np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0, 0, 0], [np.nan, 0, 1]]], np.float16)
    colors = [[255, 128, 128], [128, 255, 128], [128, 128, 255], [0, 128, 128], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(color_normals(normals)[0], colors)
    mask = np.array([[1, 0, 1, 0, 0, 1]])
    np.testing.assert_array_equal(color_normals(normals, mask)[0], np.array(colors) * mask[0][:, None])


def test_large_maps_are_colored_in_bands(monkeypatch):
    rng = np.random.default_rng(0)
    depth, normals = rng.uniform(0, 2, (50, 7)) * (rng.random((50, 7)) > .3), rng.normal(size=(50, 7, 3))

    def draw():
        colors = draw_depth(depth)
        return colors, color_normals(normals, depth), overlay(color_normals(normals), colors, depth)

    whole = draw()
    monkeypatch.setattr(maps, '_BAND', 30)
    assert [band.start for band in maps.bands(depth.shape)] == list(range(0, 50, 4))
    for one, other in zip(whole, draw()):
        np.testing.assert_array_equal(one, other)


def test_overlay_keeps_pixels_outside_of_the_mask():
    image, colors = np.full((1, 2, 3), 100, np.uint8), np.full((1, 2, 3), 200, np.uint8)
    np.testing.assert_array_equal(overlay(image, colors, np.array([[0, 1]]), 0.5)[0], [[100] * 3, [150] * 3])


@pytest.mark.parametrize('height', [60, 400])
def test_a_legend_has_all_colors_and_the_height_of_the_image(height):
    column = legend(height, [f'part {i}' for i in range(28)], PART_COLORS)
    assert column.shape[0] == height
    for color in PART_COLORS:
        assert (column == color).all(axis=-1).any()


def test_a_title_is_in_the_upper_left_corner():
    image = np.full((200, 150, 3), 90, np.uint8)
    changed = (titled(image, 'parts, predicted') != image).any(axis=-1)
    assert changed[:20].any()
    assert not changed[20:].any()
    assert (image == 90).all()
