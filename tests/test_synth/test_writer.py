import errno
import os

import cv2
import numpy as np
import pytest

from sapiens_mm.synth.writer import TEMPORARY, clean, write_array, write_bytes, write_image, write_json, write_parts
from sapiens_mm.vocabularies.body_parts import PART_COLORS


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / 'a.bin'
    write_bytes(path, b'old')

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='the disk is full') as info:
        write_bytes(path, b'new')
    assert info.value.filename == str(path)
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]


def test_not_a_number_is_no_json(tmp_path):
    with pytest.raises(ValueError, match='JSON'):
        write_json(tmp_path / 'a.json', float('nan'))
    assert not list(tmp_path.iterdir())


def test_pictures_and_arrays_come_back(tmp_path):
    rng = np.random.default_rng(0)
    image, array = rng.integers(0, 256, (5, 4, 3), dtype=np.uint8), rng.random((5, 4), np.float32)
    write_image(tmp_path / 'new/a.png', image)
    write_array(tmp_path / 'new/a.npy', array)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'new/a.png'))[..., ::-1], image)
    np.testing.assert_array_equal(np.load(tmp_path / 'new/a.npy'), array)


def test_parts_are_indices_with_their_colours(tmp_path):
    image = pytest.importorskip('PIL.Image')
    parts = np.array([[0, 27, 255]], np.uint8)
    write_parts(tmp_path / 'a.png', parts)
    np.testing.assert_array_equal(np.asarray(image.open(tmp_path / 'a.png')), parts)
    colors = np.asarray(image.open(tmp_path / 'a.png').convert('RGB'))
    np.testing.assert_array_equal(colors, [[PART_COLORS[0], PART_COLORS[27], (255, 255, 255)]])


def test_clean_removes_half_written_files_only(tmp_path):
    (tmp_path / 'a.png').write_text('')
    (tmp_path / f'a.png{TEMPORARY}12').write_text('')
    clean(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['a.png']
