"""Textures of cloth, skin and eyes."""
import numpy as np
import pytest

from sapiens_mm.synth.color import to_linear
from sapiens_mm.synth.textures import (
    SKIN_SIZE,
    draw_cloth,
    draw_eye,
    draw_skin,
    line_mask,
    outline_mask,
    sample_cloth,
    sample_complexion,
    skin_masks,
    smooth_noise,
)

PATTERNS = ('plain', 'stripes', 'checks', 'dots', 'noise', 'denim')


def cloth(pattern: str, **changes) -> dict:
    return dict(dict(pattern=pattern, color=[0.9, 0.1, 0.1], second=[0.1, 0.1, 0.9], repeat=5, seed=3), **changes)


def test_cloths_are_drawn_in_every_pattern_and_many_colors():
    rng = np.random.default_rng(0)
    drawn = [sample_cloth(rng) for _ in range(200)]
    assert {entry['pattern'] for entry in drawn} == set(PATTERNS)
    colors = np.array([entry['color'] for entry in drawn])
    assert 0 <= colors.min() <= colors.max() <= 1
    assert len(np.unique(colors, axis=0)) == 200


@pytest.mark.parametrize('pattern', PATTERNS)
def test_cloth_is_the_same_bytes_from_the_same_numbers(pattern):
    image = draw_cloth(cloth(pattern))
    assert (image.dtype, image.shape) == (np.uint8, (128, 128, 3))
    np.testing.assert_array_equal(image, draw_cloth(cloth(pattern)))
    assert (image != draw_cloth(cloth(pattern, seed=4))).any()


@pytest.mark.parametrize('pattern', ['plain', 'stripes', 'checks', 'dots', 'noise'])
def test_patterns_show_both_colors_and_plain_cloth_one(pattern):
    difference = draw_cloth(cloth(pattern)).astype(int) @ [1, 0, -1]
    red, blue = (difference > 60).mean(), (difference < -60).mean()
    if pattern == 'plain':
        assert (red, blue) == (1, 0)
    else:
        assert min(red, blue) > 0.1


def test_noise_is_smooth_and_periodic():
    noise = smooth_noise(np.random.default_rng(0), (128, 128), 4)
    assert noise.shape == (128, 128)
    assert 0 <= noise.min() <= noise.max() <= 1
    inside = np.abs(np.diff(noise, axis=0)).max()
    assert inside < 0.1
    assert np.abs(noise[0] - noise[-1]).max() < 2 * inside
    assert np.abs(noise[:, 0] - noise[:, -1]).max() < 2 * inside


def test_skins_range_from_light_to_dark():
    rng = np.random.default_rng(0)
    tones = np.array([sample_complexion(rng)['skin'] for _ in range(200)])
    assert tones[:, 0].max() > 0.6
    assert tones[:, 0].min() < 0.2
    assert (tones[:, 0] > tones[:, 2]).all()  # never blue


def masks(**shown) -> dict:
    """Masks that are empty but for given rectangles of rows and columns."""
    out = {name: np.zeros((SKIN_SIZE, SKIN_SIZE), np.uint8)
           for name in ('lips', 'face', 'fingernails', 'toenails', 'inside-mouth', 'brows', 'lashes')}
    for name, place in shown.items():
        out[name][place] = 255
    return skin_masks(out)


def test_lips_are_redder_and_brows_have_the_color_of_the_hair():
    complexion = dict(sample_complexion(np.random.default_rng(1)), skin=[0.66, 0.43, 0.32], lips=0.9, brows=0.9)
    lips, brows = (slice(100, 150), slice(100, 150)), (slice(300, 320), slice(50, 80))
    bare = draw_skin(complexion, masks(), [0.02, 0.02, 0.02]).astype(int)
    image = draw_skin(complexion, masks(lips=lips, brows=brows), [0.02, 0.02, 0.02]).astype(int)
    assert image.shape == (SKIN_SIZE, SKIN_SIZE, 3)
    ratio = [skin[lips][..., 0].mean() / skin[lips][..., 1].mean() for skin in (bare, image)]
    assert ratio[1] > 1.2 * ratio[0]
    assert image[brows].mean() < 0.6 * bare[brows].mean()
    elsewhere = np.ones((SKIN_SIZE, SKIN_SIZE), bool)
    elsewhere[lips] = elsewhere[brows] = False
    np.testing.assert_array_equal(image[elsewhere], bare[elsewhere])


@pytest.mark.parametrize('seed', range(12))
@pytest.mark.parametrize('hair', [[0.012, 0.009, 0.008], [0.4, 0.4, 0.4]])
def test_brows_lips_and_lashes_differ_from_any_skin(seed, hair):
    """In linear light, so at any exposure."""
    complexion = sample_complexion(np.random.default_rng(seed))
    places = {name: (slice(row, row + 30), slice(100, 150)) for name, row in
              (('lips', 100), ('brows', 200), ('lashes', 300))}
    bare, image = (to_linear(draw_skin(complexion, masks(**shown), hair)) for shown in ({}, places))
    for name, place in places.items():
        least = dict(lips=0.8, brows=0.75, lashes=0.4)[name]
        assert image[place].mean() < least * bare[place].mean(), name
    eye = to_linear(draw_eye(complexion, 0.39, 0.135))
    assert eye[64, 20].mean() > 5 * eye[64, 64].mean()


def test_a_line_is_drawn_with_v_upwards():
    rows, columns = np.nonzero(line_mask([np.array([[0.1, 0.7], [0.3, 0.7]])])[..., 0] > 0.5)
    np.testing.assert_allclose(rows, 0.3 * SKIN_SIZE, atol=3)
    assert columns.min() < 0.11 * SKIN_SIZE
    assert columns.max() > 0.29 * SKIN_SIZE


def test_outlines_are_filled_with_v_upwards():
    mask = outline_mask([np.array([[0.1, 0.7], [0.3, 0.7], [0.3, 0.9], [0.1, 0.9]])])[..., 0]
    assert mask.shape == (SKIN_SIZE, SKIN_SIZE)
    rows, columns = np.nonzero(mask > 0.5)
    np.testing.assert_allclose([rows.min(), rows.max(), columns.min(), columns.max()],
                               np.array([0.1, 0.3, 0.1, 0.3]) * SKIN_SIZE, atol=2)


def test_an_eye_has_a_dark_pupil_in_a_colored_iris_in_white():
    complexion = dict(sample_complexion(np.random.default_rng(2)), eyes=[0.1, 0.2, 0.36])
    image = draw_eye(complexion, 0.39, 0.135).astype(int)
    y, x = (np.mgrid[:128, :128] + 0.5) / 64 - 1
    radius = np.hypot(x, y)
    pupil, iris, white = (image[(radius > low) & (radius < high)].mean(axis=0)
                          for low, high in ((0, 0.09), (0.18, 0.3), (0.5, 0.8)))
    assert pupil.max() < 40
    assert iris[2] > iris[0] + 30
    assert white.min() > iris.max()
