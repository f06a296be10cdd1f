"""Tests of label file reading."""
import io
import struct
import zipfile
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from sapiens_mm.dense.label_files import file_size, read_array, read_image


@pytest.fixture
def arrays(tmp_path):
    """Files of all kinds, 5 high and 7 wide."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    vectors = rng.normal(size=(5, 7, 3)).astype(np.float32)
    for suffix in ('png', 'jpg', 'webp'):
        cv2.imwrite(str(tmp_path / f'image.{suffix}'), image)
    np.save(tmp_path / 'vectors.npy', vectors)
    np.savez_compressed(tmp_path / 'vectors.npz', normal=vectors)
    read_array_exr(tmp_path / 'vectors.exr', vectors)
    return tmp_path, image, vectors


def read_array_exr(path, vectors):
    import os
    os.environ.setdefault('OPENCV_IO_ENABLE_OPENEXR', '1')
    assert cv2.imwrite(str(path), vectors[..., ::-1])


@pytest.mark.parametrize('name', ['a.png', 'a.npy', 'a.npz', 'a.exr'])
def test_missing_and_damaged_files_are_named(tmp_path, name):
    path = str(tmp_path / name)
    for function in (file_size, read_array):
        with pytest.raises(FileNotFoundError, match=f"{name}' does not exist"):
            function(path)
    (tmp_path / name).write_bytes(b'not what it says')
    for function in (file_size, read_array):
        with pytest.raises(ValueError, match=f"{name}' cannot be read"):
            function(path)


def test_image_errors_name_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="image '.*a.jpg' does not exist"):
        read_image(str(tmp_path / 'a.jpg'))
    (tmp_path / 'a.jpg').write_bytes(b'')
    with pytest.raises(ValueError, match="a.jpg' cannot be read"):
        read_image(str(tmp_path / 'a.jpg'))


def test_archive_of_several_arrays(tmp_path):
    np.savez(tmp_path / 'a.npz', depth=np.zeros((2, 2)), other=np.zeros(1))
    with pytest.raises(ValueError, match='depth, other'):
        read_array(str(tmp_path / 'a.npz'))


def test_scalars_have_no_size(tmp_path):
    np.save(tmp_path / 'a.npy', np.zeros(3))
    with pytest.raises(ValueError, match=r'\(3,\), expected \(H, W\)'):
        file_size(str(tmp_path / 'a.npy'))


@pytest.mark.parametrize('name', ['image.png', 'image.jpg', 'image.webp', 'vectors.npy', 'vectors.npz', 'vectors.exr'])
def test_size_of_the_header_is_that_of_the_content(arrays, name):
    folder, image, vectors = arrays
    assert file_size(str(folder / name)) == (5, 7)
    content = (read_image if name.endswith('jpg') else read_array)(str(folder / name))
    assert content.shape == (5, 7, 3)
    if name.startswith('vectors'):
        np.testing.assert_array_equal(content, vectors)
        assert content.dtype == np.float32
    elif name.endswith('png'):
        np.testing.assert_array_equal(content, image[..., ::-1])
        np.testing.assert_array_equal(read_image(str(folder / name)), image)


def test_a_turned_photo_has_the_size_that_it_is_read_with(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 9, 3), np.uint8)).save(buffer, 'JPEG', exif=exif)
    (tmp_path / 'a.jpg').write_bytes(buffer.getvalue())
    assert file_size(str(tmp_path / 'a.jpg')) == read_image(str(tmp_path / 'a.jpg')).shape[:2] == (9, 4)


def test_palette_gives_indices(tmp_path):
    image = Image.fromarray(np.array([[0, 7], [255, 1]], np.uint8), mode='P')
    image.putpalette(list(range(256))[::-1] * 3)
    image.save(tmp_path / 'a.png')
    np.testing.assert_array_equal(read_array(str(tmp_path / 'a.png')), [[0, 7], [255, 1]])


def test_16_bits_stay(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.array([[0, 40000]], np.uint16))
    assert read_array(str(tmp_path / 'a.png')).tolist() == [[0, 40000]]


def test_memory_map(arrays):
    folder, _, vectors = arrays
    content = read_array(str(folder / 'vectors.npy'), mmap=True)
    assert isinstance(content, np.memmap)
    np.testing.assert_array_equal(content, vectors)


def test_reduced_image(tmp_path):
    image = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8), (67, 45))
    cv2.imwrite(str(tmp_path / 'a.jpg'), image)
    for reduction in (1, 2, 4, 8):
        small = read_image(str(tmp_path / 'a.jpg'), reduction)
        assert small.shape[:2] == (-(-45 // reduction), -(-67 // reduction))


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp', '.jpeg'])
def test_postscript_is_no_label_under_any_name(postscript, tmp_path, suffix):
    path = tmp_path / f'a{suffix}'
    palette = postscript[:25] + b'\3' + postscript[26:]  # where a PNG says that it has a palette
    for content in (postscript, palette):
        path.write_bytes(content)
        for function in (file_size, read_array, read_image):
            with pytest.raises(ValueError, match=f"a{suffix}' cannot be read"):
                function(str(path))


def npy_header(shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, dict(descr='<f4', fortran_order=False, shape=shape))
    return file.getvalue()


def npz(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a.npy', content)
    return file.getvalue()


def png_header(width, height):
    content = b'IHDR' + struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + content + struct.pack('>I', zlib.crc32(content))


def exr_window(*window, length=16):
    return b'\x76\x2f\x31\x01\2\0\0\0dataWindow\0box2i\0' + struct.pack('<i4i', length, *window) + bytes(64)


@pytest.mark.parametrize(('name', 'content'), [
    ('a.npy', npy_header((10**6, 10**6)) + bytes(100)),
    ('a.npy', npy_header((-5, -7)) + bytes(100)),
    ('a.npy', b'\x93NUMPY\1\0\xff\xff' + b'(' * 65535),
    ('a.npy', b'\x93NUMPY\1\0\x40\0' + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1e9, 2)}".ljust(64)),
    ('a.npz', npz(npy_header((10**6, 10**6)) + bytes(100))),
    ('a.npz', npz(npy_header((100_000, 100_000)) + bytes(1 << 20))),
    ('a.npz', npz(b'(' * 1000)),
    ('a.png', png_header(2**31 - 1, 2**31 - 1)),
    ('a.png', png_header(2**31, 5)),
    ('a.exr', exr_window(0, 0, 2**31 - 1, 2**31 - 1)),
    ('a.exr', exr_window(-2**31, -2**31, 2**31 - 1, 2**31 - 1)),
    ('a.exr', exr_window(10, 10, 5, 5)),
    ('a.exr', b'\x76\x2f\x31\x01\2\0\0\0x\0y\0' + struct.pack('<i', -16) + bytes(64)),
])
def test_huge_and_broken_headers_name_the_file(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    for function in (file_size, read_array):
        with pytest.raises(ValueError, match=f"{name}' cannot be read"):
            function(str(tmp_path / name))
