"""Files of images and labels: sizes from headers, and readers whose errors name the file."""
import math
import os
import struct
import zipfile
from io import BytesIO

import cv2
import numpy as np

from ..utils.image_headers import read_header
from ..utils.images import MAX_PIXELS, decode, header_of, open_image, turn
from ..utils.problems import DataError, Problem, guide, report

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp')
ARRAY_SUFFIXES = ('.npy', '.npz', '.exr')
_PNG = b'\x89PNG\r\n\x1a\n'
_GRAY, _PALETTE, _WITH_ALPHA = 0, 3, (4, 6)  # color types of PNG


def file_size(path: str) -> tuple[int, int]:
    """Returns height and width of an image or array file from its header; a ValueError if that is damaged."""
    suffix = os.path.splitext(path)[1].lower()
    try:
        if suffix in IMAGE_SUFFIXES:
            with open(path, 'rb') as file:
                header = read_header(file) or header_of(_read(path, 'image'))
            if header is None:
                raise ValueError('got no header of an image')
            if header.height * header.width > MAX_PIXELS:
                raise ValueError(f'got {header.width} x {header.height} pixels, expected at most {MAX_PIXELS}')
            return header.shape
        if suffix == '.exr':
            return _exr_size(path)
        shape = _array_shape(path)
    except FileNotFoundError as error:
        raise _missing(path, 'file') from error
    except Exception as error:  # a damaged header raises nearly anything
        raise _damaged(path, error) from error
    if len(shape) < 2:
        raise ValueError(f"'{path}': got an array of shape {shape}, expected (H, W) or (H, W, 3)")
    # The reader refuses (3, H, W) with an explanation.
    return shape[1:] if len(shape) == 3 and shape[0] == 3 and shape[2] != 3 else shape[:2]


def _array_shape(path: str) -> tuple[int, ...]:
    if path.lower().endswith('.npz'):
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as file:
            shape, _ = _npy_header(file)
    else:
        with open(path, 'rb') as file:
            shape, dtype = _npy_header(file)
            got, expected = os.fstat(file.fileno()).st_size - file.tell(), math.prod(shape) * dtype.itemsize
        if got < expected:
            raise ValueError(f'got {got} bytes, expected {expected} for an array of shape {shape}')
    if min(shape, default=0) < 0 or math.prod(shape) > 3 * MAX_PIXELS:
        raise ValueError(f'got shape {shape}, expected at most {MAX_PIXELS} pixels')
    return shape


def _npy_header(file) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _exr_size(path: str) -> tuple[int, int]:
    """Reads OpenEXR's header: name, type, length and value of each attribute."""
    with open(path, 'rb') as file:
        header = file.read(1 << 16)
    if header[:4] != b'\x76\x2f\x31\x01':
        raise ValueError('got no header of OpenEXR')
    at = 8
    while header[at] != 0:
        name_end = header.index(b'\0', at)
        type_end = header.index(b'\0', name_end + 1)
        length, = struct.unpack_from('<i', header, type_end + 1)
        if header[at:name_end] == b'dataWindow':
            left, top, right, bottom = struct.unpack_from('<4i', header, type_end + 5)
            height, width = bottom - top + 1, right - left + 1
            if min(height, width) < 1 or height * width > MAX_PIXELS:
                raise ValueError(f'got a dataWindow of {height} x {width}, expected 1 to {MAX_PIXELS} pixels')
            return height, width
        if length < 0:
            raise ValueError(f'got an OpenEXR attribute of {length} bytes')
        at = type_end + 5 + length
    raise ValueError('got OpenEXR without dataWindow')


def read_image(path: str, reduction: int = 1) -> np.ndarray:
    """Returns an image as (H, W, 3) uint8 BGR, rotated by its EXIF orientation.

    Its size is divided by ``reduction`` 1, 2, 4 or 8 (rounded up), by which a JPEG is decoded faster. Raises a
    FileNotFoundError, or a ValueError if the image cannot be decoded whole.
    """
    flag = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4,
            8: cv2.IMREAD_REDUCED_COLOR_8}[reduction]
    return _decoded(path, _read(path, 'image'), flag)


def read_array(path: str, mmap: bool = False) -> np.ndarray:
    """Returns the values in a label file; with ``mmap`` a ``.npy`` stays on disk until parts of it are read.

    PNG, lossless WebP: (H, W) or (H, W, 3) RGB, rotated by EXIF orientation; of a palette PNG the indices. EXR:
    float32, channels R, G, B (X, Y, Z). ``.npz``: its only array. Raises a FileNotFoundError, or a ValueError if the
    file cannot be read whole or its format changes values.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix == '.exr':
        return _read_exr(path)
    if suffix not in ('.npy', '.npz'):
        return _read_label_image(path)
    try:
        _array_shape(path)
        array = np.load(path, mmap_mode='r' if mmap and suffix == '.npy' else None, allow_pickle=False)
        if suffix == '.npz':
            with array as archive:
                if len(archive.files) != 1:
                    raise ValueError(f'got the arrays {", ".join(archive.files)}, expected one')
                array = archive[archive.files[0]]
    except FileNotFoundError as error:
        raise _missing(path, 'label') from error
    except Exception as error:  # a damaged header raises nearly anything
        raise _damaged(path, error) from error
    return array


def _read_exr(path: str) -> np.ndarray:
    os.environ.setdefault('OPENCV_IO_ENABLE_OPENEXR', '1')  # OpenCV reads it at its first such file
    file_size(path)
    try:
        array, reason = cv2.imread(path, cv2.IMREAD_UNCHANGED), 'OpenCV cannot decode it'
    except cv2.error as error:
        array, reason = None, str(error).strip()
    if array is None:
        if 'OpenEXR' not in cv2.getBuildInformation():
            reason = 'this OpenCV was built without OpenEXR: install opencv-python from PyPI, or save the file as .npy'
        raise _damaged(path, reason)
    return array if array.ndim == 2 else np.ascontiguousarray(array[..., 2::-1])


def _read_label_image(path: str) -> np.ndarray:
    data = _read(path, 'label')
    if not data.startswith(_PNG) and not (data[8:12] == b'WEBP' and b'VP8L' in data[:1 << 12]):
        _decoded(path, data, cv2.IMREAD_UNCHANGED)  # raises if the file is damaged
        report(Problem('lossy labels', path, 'a format that may change values (JPEG, lossy WebP, TIFF)',
                       'PNG, npy, npz or EXR; export the labels again'))
    kind, depth = png_kind(data)
    if kind == _PALETTE:
        try:
            with open_image(BytesIO(data)) as image:
                return turn(np.array(image), header_of(data).orientation)
        except Exception as error:  # Pillow's readers raise nearly anything
            raise _damaged(path, error) from error
    if kind == _GRAY and depth < 8:
        raise DataError(f'{path}: got a gray PNG of {depth} bit, which decoders stretch to 0 to 255, expected 8 bits; '
                        'save masks with 1 for the person, and classes as their ids', '1-bit labels')
    array = _decoded(path, data, cv2.IMREAD_UNCHANGED)
    return array if array.ndim == 2 else np.ascontiguousarray(array[..., 2::-1])


def png_kind(data: bytes) -> tuple[int, int]:
    """Returns color type and bits per channel of a PNG from its first bytes; -1 and 8 for other files."""
    return (data[25], data[24]) if len(data) > 25 and data.startswith(_PNG) else (-1, 8)


def has_alpha(path: str) -> bool:
    """Returns whether a label is a PNG with an alpha channel, which readers drop."""
    with open(path, 'rb') as file:
        return png_kind(file.read(26))[0] in _WITH_ALPHA


def _read(path: str, what: str) -> bytes:
    try:
        with open(path, 'rb') as file:
            return file.read()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise _missing(path, what) from error


def _decoded(path: str, data: bytes, flags: int) -> np.ndarray:
    try:
        return decode(data, flags)
    except ValueError as error:
        raise _damaged(path, error) from error


def _missing(path: str, what: str) -> FileNotFoundError:
    return FileNotFoundError(f"{what} '{path}' does not exist; check the dataset's data_root and data_prefix. "
                             f'{guide("missing files")}')


def _damaged(path: str, reason) -> ValueError:
    reason = str(reason).partition(' <_io')[0]  # Pillow's name of the file object
    return ValueError(f"'{path}' cannot be read ({reason}): it is empty, damaged or not of its suffix's kind; replace "
                      f'it, or remove it with its partners in the other folders. {guide("unreadable images")}')
