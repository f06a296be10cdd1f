"""Tests of safe image reading."""
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from sapiens_mm.utils.image_headers import read_header
from sapiens_mm.utils.images import decode, open_image

POSTSCRIPT = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(x) = {} loop\n%%EOF\n'


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.eps', '.tif'])
def test_postscript_is_refused_under_any_name(tmp_path, suffix, monkeypatch):
    path = tmp_path / f'photo{suffix}'
    path.write_bytes(POSTSCRIPT)
    monkeypatch.setattr('subprocess.Popen', lambda *args, **kwargs: pytest.fail('a program was run'))
    with pytest.raises(UnidentifiedImageError):
        open_image(path).load()


def test_the_limit_of_pixels_holds_before_decoding(tmp_path):
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


def tiff(tags, big=False, order='<', **types):
    """A TIFF of 64 x 64 pixels in one strip, with more tags (number, value) of type LONG or ``tagN``."""
    tags = [(256, 64), (257, 64), (258, 8), (259, 8), (262, 1), (277, 1), *tags]
    head = b'II' if order == '<' else b'MM'
    kinds = {tag: types.get(f'tag{tag}', 4) for tag, _ in tags}
    if big:
        head += struct.pack(order + 'HHHQQ', 43, 8, 0, 16, len(tags))
        body = b''.join(struct.pack(order + 'HHQQ' if kinds[tag] == 16 or order == '<' else order + 'HHQI4x',
                                    tag, kinds[tag], 1, value) for tag, value in tags)
    else:
        head += struct.pack(order + 'HIH', 42, 8, len(tags))
        body = b''.join(struct.pack(order + 'HHII', tag, kinds[tag], 1, value) for tag, value in tags)
    return (head + body + bytes(8)).ljust(500, b'\0')


TILES = {
    'tiles': tiff([(322, 40000), (323, 40000), (324, 300), (325, 100)]),
    'big endian': tiff([(322, 40000), (323, 40000), (324, 300), (325, 100)], order='>'),
    'BigTIFF': tiff([(322, 40000), (323, 40000), (324, 300), (325, 100)], big=True),
    'first of two': tiff([(322, 40000), (322, 16), (323, 40000), (323, 16), (324, 300), (325, 100)]),
    'second of two': tiff([(322, 16), (322, 40000), (323, 16), (323, 40000), (324, 300), (325, 100)]),
    'elsewhere': tiff([(322, 400), (323, 40000), (324, 300), (325, 100)], tag322=16)[:400] + struct.pack('<Q', 40000),
    'a long side': tiff([(322, 1 << 20), (323, 16), (324, 300), (325, 100)]),
}


@pytest.mark.parametrize('kind', TILES)
def test_tiles_far_larger_than_the_image_are_refused(kind, monkeypatch):
    monkeypatch.setattr('cv2.imdecode', lambda *args: pytest.fail('it was decoded'))
    with pytest.raises((OSError, ValueError, SyntaxError)) as error:
        open_image(io.BytesIO(TILES[kind]))
    assert isinstance(error.value, UnidentifiedImageError) or '40000' in str(error.value) or 'tiles' in str(error.value)
    with pytest.raises(ValueError, match='tiles of'):
        decode(TILES[kind], -1)


def test_usual_tiles_and_strips_pass():
    for tags in ([(322, 512), (323, 512)], [(278, 2**32 - 1), (273, 300), (279, 10)], []):
        open_image(io.BytesIO(tiff([*tags, (324, 300), (325, 100)]))).close()
    content = cv2.imencode('.tif', np.full((70, 90), 3.5, np.float32))[1].tobytes()
    assert decode(content, -1)[0, 0] == 3.5


def large_png(width, height, *chunks):
    png = b'\x89PNG\r\n\x1a\n'
    for kind, content in ((b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)), *chunks,
                          (b'IDAT', zlib.compress(bytes(50))), (b'IEND', b'')):
        png += struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))
    return png


def test_too_many_pixels_are_not_decoded(monkeypatch):
    monkeypatch.setattr('cv2.imdecode', lambda *args: pytest.fail('it was decoded'))
    with pytest.raises(ValueError, match='30000 x 30000'):
        decode(large_png(30000, 30000), -1)


def test_the_orientation_of_a_png_needs_no_pixels(monkeypatch):
    exif = Image.Exif()
    exif[274] = 6
    monkeypatch.setattr('PIL.ImageFile.ImageFile.load', lambda *args: pytest.fail('it was decoded'))
    assert read_header(io.BytesIO(large_png(30000, 30000, (b'eXIf', exif.tobytes()[6:])))).orientation == 6
    assert read_header(io.BytesIO(large_png(30000, 30000, (b'tEXt', b'a\0eXIf EXIF')))).orientation == 1


@pytest.mark.parametrize('part', [(b'ihdr', 4), (b'\xff\x51', 6)])
def test_a_damaged_header_of_jpeg_2000_never_reaches_opencv(part, monkeypatch):
    """OpenCV 4.11 ends the process on some."""
    file = io.BytesIO()
    Image.new('L', (300, 300)).save(file, 'JPEG2000')
    content = bytearray(file.getvalue())
    assert decode(bytes(content), -1).shape == (300, 300)
    begin = content.index(part[0]) + part[1]
    content[begin:begin + 8] = struct.pack('>II', 64, 64)
    monkeypatch.setattr('cv2.imdecode', lambda *args: pytest.fail('it was decoded'))
    with pytest.raises(ValueError):
        decode(bytes(content), -1)
