"""Tests of background replacement and photometric distortion."""
import cv2
import numpy as np
import pytest
from mmseg.registry import TRANSFORMS

from sapiens_mm.dense.transforms import SapiensLoadLabels, SapiensRandomBackground, SapiensRandomWarp
from sapiens_mm.dense.transforms.appearance import person_mask, replace_background


def test_bad_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        SapiensRandomBackground(str(tmp_path / 'nowhere'))
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        SapiensRandomBackground(str(tmp_path))
    with pytest.raises(ValueError, match='prob: got 2'):
        SapiensRandomBackground(str(tmp_path), prob=2)


def test_no_label_that_shows_the_person():
    with pytest.raises(ValueError, match='a.png'):
        person_mask(dict(img_path='a.png'))


@pytest.mark.parametrize('labels', [
    dict(gt_person_mask=np.array([[0, 1, 0]], np.uint8)), dict(gt_seg_map=np.array([[0, 9, 255]], np.uint8)),
    dict(gt_depth_map=np.float32([[0, 2, 0]])), dict(gt_normal_map=np.float32([[[0, 0, 0], [-1, 0, 0], [0, 0, 0]]]))])
def test_person_of_each_label(labels):
    assert person_mask(labels).tolist() == [[0, 1, 0]]


def test_no_halo():
    """A red disc, antialiased over green, before blue: no green is left anywhere."""
    fine = np.zeros((640, 640), np.uint8)
    cv2.circle(fine, (320, 320), 200, 255, -1)
    alpha = cv2.resize(fine, (80, 80), interpolation=cv2.INTER_AREA).astype(np.float32)[..., None] / 255
    image = (alpha * [0, 0, 255] + (1 - alpha) * [0, 255, 0]).round().astype(np.uint8)
    blue = np.full((80, 80, 3), (255, 0, 0), np.uint8)
    mask = (alpha[..., 0] >= 0.5).astype(np.uint8)
    out = replace_background(image, mask, blue)
    assert out[..., 1].max() == 0
    plain = np.where(mask[..., None] > 0, image, blue)
    assert plain[..., 1].max() > 100  # what a hard cut leaves
    red = out[..., 2].astype(float)
    assert red[cv2.erode(mask, np.ones((7, 7), np.uint8)) > 0].min() == 255
    assert red[cv2.dilate(mask, np.ones((9, 9), np.uint8)) == 0].max() == 0
    assert np.abs(red / 255 - alpha[..., 0]).max() < 0.35  # soft, and where the edge was
    assert np.abs(out[..., 0].astype(float) + red - 255).max() <= 1


def test_thin_parts_stay():
    image = np.full((30, 30, 3), 90, np.uint8)
    mask = np.zeros((30, 30), np.uint8)
    mask[5:25, 14:16] = 1
    image[mask > 0] = 255
    out = replace_background(image, mask, np.zeros((30, 30, 3), np.uint8))
    assert out[15, 14:16].min() > 120
    assert out[:, :10].max() == 0


def test_nobody():
    photo = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    out = replace_background(np.zeros_like(photo), np.zeros((9, 8), np.uint8), photo)
    np.testing.assert_array_equal(out, photo)
    assert out is not photo


def test_transform(tmp_path):
    (tmp_path / 'more').mkdir()
    for i, name in enumerate(('a.jpg', 'b.png', 'more/c.webp')):
        cv2.imwrite(str(tmp_path / name), np.full((300 >> i, 200, 3), 100 + 50 * i, np.uint8))
    mask = np.zeros((64, 48), np.uint8)
    mask[16:48, 12:36] = 1
    parts = mask * 3
    parts[0] = 255
    transform = SapiensRandomBackground(str(tmp_path), prob=0.7)
    seen, changed = set(), 0
    np.random.seed(0)
    for _ in range(100):
        image = np.zeros((64, 48, 3), np.uint8)
        out = transform(dict(img=image, gt_person_mask=mask, gt_seg_map=parts.copy()))
        np.testing.assert_array_equal(out['gt_seg_map'], parts)
        assert image.max() == 0
        assert out['img'][32, 24].max() == 0
        changed += out['img'] is not image
        seen.add(int(out['img'][0, 0, 0]) // 10 * 10)
    assert 55 < changed < 85
    assert seen >= {0, 100, 150, 200}


@pytest.fixture
def on_disk(tmp_path):
    """A sample whose files are not read yet, and photos that are blue."""
    (tmp_path / 'photos').mkdir()
    cv2.imwrite(str(tmp_path / 'photos/a.png'), np.full((60, 90, 3), (255, 0, 0), np.uint8))
    person = np.zeros((200, 150), np.uint8)
    person[40:160, 30:120] = 1
    cv2.imwrite(str(tmp_path / 'a.jpg'), np.full((200, 150, 3), 60, np.uint8))
    np.save(tmp_path / 'parts.npy', person * np.uint8(3))
    np.save(tmp_path / 'depth.npy', person * np.float32(2))
    np.save(tmp_path / 'normal.npy', person[..., None] * np.float32([0, 0, 1]))
    paths = {f'{key}_path': str(tmp_path / name) for key, name in (
        ('img', 'a.jpg'), ('seg_map', 'parts.npy'), ('depth_map', 'depth.npy'), ('normal_map', 'normal.npy'))}
    return lambda key: dict(img_path=paths['img_path'], flip_indices=range(28), **{key: paths[key]})


@pytest.mark.parametrize('key', ['seg_map_path', 'depth_map_path', 'normal_map_path'])
def test_before_the_warp(key, on_disk, tmp_path):
    """The photo goes through the warp with the person; padding keeps its color, and labels on disk are read."""
    sample = SapiensLoadLabels(mmap=True)(on_disk(key))
    label, = (sample[name] for name in sample['seg_fields'])
    assert isinstance(label, np.memmap)
    replaced = SapiensRandomBackground(str(tmp_path / 'photos'), prob=1)(dict(sample))
    assert replaced['img'].shape == (200, 150, 3)
    assert (replaced['img'][50:150, 40:110] == 60).all()
    assert (replaced['img'][:35] == (255, 0, 0)).all()
    assert all(replaced[name] is sample[name] for name in sample['seg_fields'])
    np.random.seed(0)
    out = SapiensRandomWarp((100, 100), (0.5, 0.5), rotate_prob=1, cat_max_ratio=1, stock_padding=True)(replaced)
    colors = {tuple(color) for color in out['img'].reshape(-1, 3).tolist()}
    assert {(60, 60, 60), (255, 0, 0), (104, 116, 124)} <= colors


def test_an_image_without_a_new_background_is_not_decoded(on_disk, tmp_path):
    sample = SapiensLoadLabels(mmap=True)(on_disk('seg_map_path'))
    assert 'img' not in SapiensRandomBackground(str(tmp_path / 'photos'), prob=0)(sample)


def test_photometric_distortion_equals_mmseg():
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    ours = TRANSFORMS.build(dict(type='SapiensPhotometricDistortion'))
    stock = TRANSFORMS.build(dict(type='PhotoMetricDistortion'))
    changed = 0
    for seed in range(60):
        outs = []
        for transform in (ours, stock):
            np.random.seed(seed)
            outs.append(transform(dict(img=image.copy()))['img'])
        np.testing.assert_array_equal(*outs)
        changed += not np.array_equal(outs[0], image)
    assert changed > 40
