"""Tests of 16-bit PNG files."""
import cv2
import numpy as np
import pytest
from PIL import Image

from sapiens_mm.formats.png import write_png16


@pytest.mark.parametrize('size', [(1, 1), (7, 5)])
def test_opencv_reads_the_same_values_and_pillow_the_texts(size, tmp_path):
    image = np.random.default_rng(0).integers(0, 65536, (*size, 3), dtype=np.uint16)
    write_png16(tmp_path / 'a.png', image, dict(convention='opengl'))
    again = cv2.imread(str(tmp_path / 'a.png'), cv2.IMREAD_UNCHANGED)
    assert again.dtype == np.uint16
    np.testing.assert_array_equal(again[..., ::-1], image)
    with Image.open(tmp_path / 'a.png') as opened:
        assert opened.text == dict(convention='opengl')
