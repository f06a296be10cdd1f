import cv2
import numpy as np
import pytest
from mmpose.registry import TRANSFORMS

import sapiens_mm.pose  # noqa: F401


def build(**options):
    return TRANSFORMS.build(dict(type='SapiensRandomBlur', **options))


@pytest.mark.parametrize(('options', 'message'), [
    (dict(kind='box'), "kind: got 'box', expected 'mean' or 'median'"),
    (dict(prob=1.5), 'prob: got 1.5'),
    *[(dict(kernel_size=size), 'kernel_size: got .*, expected .smallest, largest., odd and at least 3')
      for size in ((1, 7), (7, 3), (3, 6), (4, 7), (3.5, 7))],
])
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


@pytest.mark.parametrize(('kind', 'true'), [
    ('mean', lambda window: np.rint(window.mean((-2, -1)))), ('median', lambda window: np.median(window, (-2, -1)))])
def test_mean_and_median_of_squares_of_all_odd_sides(kind, true):
    img = np.random.default_rng(0).integers(0, 256, (20, 16, 3), dtype=np.uint8)
    before, transform, sides = img.copy(), build(kind=kind, prob=1., kernel_size=(3, 7)), []
    np.random.seed(0)
    for _ in range(60):
        out = transform(dict(img=img))['img']
        assert (out.shape, out.dtype) == (img.shape, np.uint8)
        sides.append(next(side for side in (3, 5, 7) if np.abs(
            true(np.lib.stride_tricks.sliding_window_view(img, (side, side), (0, 1)).astype(float))
            - out[side // 2:-(side // 2), side // 2:-(side // 2)]).max() <= 1))
    np.testing.assert_array_equal(img, before)  # the array may be a cache's
    assert all(sides.count(side) > 10 for side in (3, 5, 7))


def test_probability():
    img = cv2.resize(np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8), (16, 16))
    np.random.seed(0)
    transform = build(prob=0.1)
    changed = sum(transform(dict(img=img))['img'] is not img for _ in range(1000))
    assert 70 < changed < 130
