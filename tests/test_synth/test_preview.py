"""Contact sheets."""
import shutil

import cv2
import numpy as np
import pytest

from sapiens_mm.synth.preview import draw_keypoints, write_preview
from sapiens_mm.vocabularies.goliath import METAINFO_308


def test_visible_keypoints_are_filled_occluded_hollow_and_absent_not_drawn():
    landmarks = np.zeros((308, 3))
    landmarks[0], landmarks[70], landmarks[80] = (20, 20, 2), (60, 20, 1), (20, 60, 0)
    image = draw_keypoints(np.zeros((80, 80, 3), np.uint8), landmarks, radius=6)
    color = METAINFO_308['keypoint_info'][0]['color']
    np.testing.assert_array_equal(image[20, 20], color)
    assert not image[20, 60].any()
    assert image[10:30, 50:70].any()
    assert not image[45:].any()


def test_links_join_two_keypoints_that_are_there():
    info = METAINFO_308['keypoint_info']
    index = {entry['name']: i for i, entry in info.items()}
    a, b = (index[name] for name in METAINFO_308['skeleton_info'][0]['link'])
    landmarks = np.zeros((308, 3))
    landmarks[a] = 10, 10, 2
    assert not draw_keypoints(np.zeros((80, 80, 3), np.uint8), landmarks, radius=2)[35:45, 35:45].any()
    landmarks[b] = 70, 70, 1
    assert draw_keypoints(np.zeros((80, 80, 3), np.uint8), landmarks, radius=2)[35:45, 35:45].any()


def test_the_given_image_is_not_drawn_on():
    image = np.zeros((80, 80, 3), np.uint8)
    draw_keypoints(image, np.full((308, 3), 2.))
    assert not image.any()


def test_the_sheet_shows_every_sample_with_all_its_labels(fresh_set, tmp_path):
    shutil.copytree(fresh_set, tmp_path / 'set')
    path = write_preview(tmp_path / 'set', num=3, height=128)
    sheet = cv2.imread(str(path))[..., ::-1]
    # 3 samples in 2 rows of 2; image, parts, depth, normals, keypoints: 96 pixels wide each.
    assert sheet.shape == (2 * 128, 2 * 5 * 96, 3)
    assert not sheet[128:, 5 * 96:].any()
    image = cv2.imread(str(tmp_path / 'set/images/000000.png'))[..., ::-1]
    small = cv2.resize(image, (96, 128), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(sheet[:128, :96], small)
    # The last tile is the image with keypoints on it.
    changed = (sheet[:128, 4 * 96:5 * 96] != small).any(axis=-1)
    assert 0.005 < changed.mean() < 0.7


def test_labels_that_were_not_made_are_left_out(fresh_set, tmp_path):
    shutil.copytree(fresh_set, tmp_path / 'set')
    for kind in ('parts', 'normal'):
        shutil.rmtree(tmp_path / 'set' / kind)
    assert cv2.imread(str(write_preview(tmp_path / 'set', num=1, height=64))).shape == (64, 2 * 3 * 48, 3)


def test_a_folder_without_samples_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='holds no finished sample'):
        write_preview(tmp_path)
