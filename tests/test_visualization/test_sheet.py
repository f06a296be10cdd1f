"""Images side by side."""
import numpy as np
import pytest

from sapiens_mm.visualization.sheet import MAX_HEIGHT, sheet


def images(*sizes):
    return {f'image {i}': np.full((*size, 3), 20 * i + 20, np.uint8) for i, size in enumerate(sizes)}


@pytest.mark.parametrize(('sizes', 'columns'), [
    ([(400, 300)] * 4 + [(400, 420)], 3),  # portrait, one with a legend beside it
    ([(300, 400)] * 5, 3),
    ([(300, 400)], 1),
])
def test_rows_are_those_that_a_screen_shows_largest(sizes, columns):
    shown = sheet(images(*sizes))
    height, width = sizes[0]
    margin = height // 100 + 1
    assert shown.dtype == np.uint8
    assert shown.shape[0] == -(-len(sizes) // columns) * (height + 2 * margin)
    for i in range(len(sizes)):  # row by row
        row, column = divmod(i, columns)
        y, x = ((row + 0.5) * (height + 2 * margin), (column + 0.5) * (width + 2 * margin))
        assert shown[round(y), round(x)].tolist() == [20 * i + 20] * 3
    assert (shown[0] == 255).all()


def test_heights_become_those_of_the_first_which_is_bounded():
    shown = sheet(images((200, 100), (100, 100)))
    assert shown.shape == (206, 100 + 200 + 4 * 3, 3)
    assert len(sheet(images((3000, 1500)))) == MAX_HEIGHT + 2 * 11


def test_images_without_a_title_and_a_number_of_columns():
    shown = sheet([('', image) for image in images((200, 300), (200, 60), (200, 300)).values()], columns=2)
    assert shown.shape == (2 * 206, 306 + 66, 3)
    assert (shown[3:203, 3:303] == 20).all()
    assert (shown[3:203, 309:369] == 40).all()
    assert (shown[206:, 306:] == 255).all()


def test_titles_of_images():
    panels = [('one', images((200, 300))['image 0']), ('', np.full((200, 60, 3), 20, np.uint8))]
    shown = sheet(panels, columns=2)
    assert (shown[3:20, 3:303] > 150).any()
    assert (shown[3:203, 309:369] == 20).all()  # narrow, but without a title


def test_a_narrow_image_leaves_all_titles_out():
    shown = sheet(images((200, 60), (200, 300)))
    assert {tuple(color) for color in np.unique(shown.reshape(-1, 3), axis=0).tolist()} == {
        (20, 20, 20), (40, 40, 40), (255, 255, 255)}
