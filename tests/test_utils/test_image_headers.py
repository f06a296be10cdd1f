"""Tests of image size and orientation from file headers."""
import io

import numpy as np
import pytest
from PIL import Image

from sapiens_mm.utils.image_headers import read_header


def encode(form, orientation, size=(30, 50), **options):
    file, exif = io.BytesIO(), Image.Exif()
    exif[274] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, form, exif=exif, **options)
    return file.getvalue()


@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
@pytest.mark.parametrize(('form', 'options'), [
    ('JPEG', {}), ('JPEG', dict(progressive=True)), ('JPEG', dict(icc_profile=bytes(200_000))), ('PNG', {}),
    ('WEBP', dict(lossless=True)), ('WEBP', dict(quality=50))])
def test_the_header_is_what_pillow_reads(form, options, orientation):
    header = read_header(io.BytesIO(encode(form, orientation, **options)))
    assert header == (30, 50, orientation)
    assert header.shape == ((50, 30) if orientation in (6, 8) else (30, 50))


@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'WEBP'])
def test_files_without_exif_and_without_their_end(form):
    file = io.BytesIO()
    Image.new('RGB', (500, 300), 'red').save(file, form)
    assert read_header(io.BytesIO(file.getvalue())) == (300, 500, 1)
    assert read_header(io.BytesIO(file.getvalue()[:-20])) == (300, 500, 1)


@pytest.mark.parametrize('data', [b'\xff\xd8', b'\xff\xd8\xff\xda\0\2', b'\x89PNG\r\n\x1a\n', b'RIFF\0\0\0\0WEBP',
                                  b'\xff\xd8\xff\xc0\0\x11\x08', b'RIFF\0\0\0\0WEBPVP8 \xff\xff\xff\xff'])
def test_damaged_headers(data):
    with pytest.raises(ValueError):
        read_header(io.BytesIO(data))


@pytest.mark.parametrize('data', [b'', b'GIF89a', b'%!PS', b'II*\0', bytes(100)])
def test_other_formats(data):
    assert read_header(io.BytesIO(data)) is None
