import io

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from sapiens_mm.utils.images import open_image

POSTSCRIPT = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(x) = {} loop\n%%EOF\n'


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.eps', '.tif'])
def test_postscript_is_no_image_under_any_name(tmp_path, suffix, monkeypatch):
    path = tmp_path / f'photo{suffix}'
    path.write_bytes(POSTSCRIPT)
    monkeypatch.setattr('subprocess.Popen', lambda *args, **kwargs: pytest.fail('a program was run'))
    with pytest.raises(UnidentifiedImageError):
        open_image(path).load()


def test_the_limit_of_pixels_holds_before_decoding_and_pillows_stays(tmp_path):
    path = tmp_path / 'large.png'
    Image.new('1', (2000, 1000)).save(path)
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(Image.DecompressionBombError):
        open_image(path, max_pixels=1_999_999)
    with open_image(path, max_pixels=2_000_000) as image:
        assert image.size == (2000, 1000)
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize('name', ['JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF', 'GIF'])
def test_usual_formats_are_read(name):
    file = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), 200, np.uint8)).save(file, name)
    assert open_image(file).size == (6, 4)
