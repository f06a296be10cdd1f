"""Contact sheets."""
import shutil

import cv2
import numpy as np
import pytest

from sapiens_mm.synth.preview import write_preview


def test_a_folder_without_samples_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        write_preview(tmp_path)


def test_the_sheet_shows_every_sample_with_all_its_labels(fresh_set, tmp_path):
    folder = shutil.copytree(fresh_set, tmp_path / 'set')
    sheet = cv2.imread(str(write_preview(folder, num=3, height=128)))[..., ::-1]
    # 3 samples in 2 rows of 2; image, parts, depth, normals, keypoints: 96 pixels wide each, with a margin of 2.
    assert sheet.shape == (2 * 132, 2 * 5 * 100, 3)
    assert (sheet[132:, 5 * 100:] == 255).all()
    image = cv2.imread(str(folder / 'images/000000.png'))[..., ::-1]
    small = cv2.resize(image, (96, 128), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(sheet[2:130, 2:98], small)
    # The last tile is the image with keypoints on it.
    changed = (sheet[2:130, 402:498] != small).any(axis=-1)
    assert 0.005 < changed.mean() < 0.7
    # Labels that were not made are left out.
    for kind in ('parts', 'normal'):
        shutil.rmtree(folder / kind)
    assert cv2.imread(str(write_preview(folder, num=1, height=64))).shape == (66, 3 * 50, 3)
