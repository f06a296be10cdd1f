"""Tests of pose transforms."""
import numpy as np
import pytest
from mmpose.registry import TRANSFORMS

import sapiens_mm.pose  # noqa: F401


def build(kind, /, **options):
    return TRANSFORMS.build(dict(type=kind, **options))


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(('kind', 'options', 'match'), [
    ('SapiensRandomBlur', dict(kind='box'), "'box'"),
    ('SapiensRandomBlur', dict(prob=1.5), '1.5'),
    *[('SapiensRandomBlur', dict(kernel_size=size), repr(size)[1:-1]) for size in (
        (1, 7), (7, 3), (3, 6), (4, 7), (3.5, 7))],
    *[('SapiensCoarseDropout', dict(size=size), repr(size)[1:-1]) for size in ((0, 0.4), (0.5, 0.4), (0.5, 1.1))],
])
def test_bad_options(kind, options, match):
    with pytest.raises(ValueError, match=match):
        build(kind, **options)


def test_missing_image(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.jpg'):
        build('SapiensLoadImage')({'img_path': str(tmp_path / 'none.jpg')})


@pytest.mark.parametrize('content', [b'', b'not an image', b'\xff\xd8\xff\xe0'])
def test_image_that_cannot_be_decoded(content, tmp_path):
    path = tmp_path / 'bad.jpg'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'bad.jpg'):
        build('SapiensLoadImage')({'img_path': str(path)})


def test_loads_images_from_files_and_memory(coco_real):
    results = build('SapiensLoadImage')({'img_path': str(coco_real / '000000000785.jpg')})
    assert results['img'].shape == (425, 640, 3)
    assert results['ori_shape'] == (425, 640)
    image = np.zeros((4, 5, 3), np.uint8)
    assert build('SapiensLoadImage')({'img': image})['img'] is image


@pytest.mark.parametrize(('kind', 'true'), [
    ('mean', lambda window: np.rint(window.mean((-2, -1)))), ('median', lambda window: np.median(window, (-2, -1)))])
def test_blur_is_the_mean_or_median_of_squares_of_all_odd_sides(kind, true):
    img = noise(20, 16)
    before, transform, sides = img.copy(), build('SapiensRandomBlur', kind=kind, prob=1., kernel_size=(3, 7)), []
    np.random.seed(0)
    for _ in range(60):
        out = transform(dict(img=img))['img']
        assert (out.shape, out.dtype) == (img.shape, np.uint8)
        sides.append(next(side for side in (3, 5, 7) if np.abs(
            true(np.lib.stride_tricks.sliding_window_view(img, (side, side), (0, 1)).astype(float))
            - out[side // 2:-(side // 2), side // 2:-(side // 2)]).max() <= 1))
    np.testing.assert_array_equal(img, before)  # the array may belong to a cache
    assert all(sides.count(side) > 10 for side in (3, 5, 7))


@pytest.mark.parametrize('kind', ['SapiensRandomBlur', 'SapiensCoarseDropout'])
def test_probability(kind):
    img = noise(16, 16)
    np.random.seed(0)
    transform = build(kind, prob=0.1)
    changed = sum(transform(dict(img=img))['img'] is not img for _ in range(1000))
    assert 70 < changed < 130
    assert build(kind, prob=0.)(dict(img=img))['img'] is img


def test_dropout_blackens_one_rectangle_of_the_stated_size():
    transform = build('SapiensCoarseDropout', size=(0.2, 0.4))
    for seed in range(30):
        np.random.seed(seed)
        img = np.full((100, 50, 3), 7, dtype=np.uint8)
        out = transform(dict(img=img))['img']
        assert (img == 7).all()
        rows, columns = np.nonzero((out == 0).all(-1))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert height * width == len(rows)
        assert 20 <= height <= 40
        assert 10 <= width <= 20
    assert (build('SapiensCoarseDropout', size=(1., 1.))(dict(img=img))['img'] == 0).all()


def test_photometric_distortion_equals_mmpose():
    image, changed = noise(40, 30), 0
    for seed in range(60):
        outs = []
        for kind in ('SapiensPhotometricDistortion', 'PhotometricDistortion'):
            np.random.seed(seed)
            outs.append(build(kind)(dict(img=image.copy()))['img'])
        np.testing.assert_array_equal(*outs)
        changed += not np.array_equal(outs[0], image)
    assert changed > 40
