"""Files of pictures and labels: their sizes without reading them, and readers whose errors name the file."""
import math
import os
import struct
import zipfile

import cv2
import numpy as np

from sapiens_mm.utils.images import MAX_PIXELS, open_image

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp')
ARRAY_SUFFIXES = ('.npy', '.npz', '.exr')
#: EXIF orientations that exchange height and width.
_TURNED = (5, 6, 7, 8)


def file_size(path: str) -> tuple[int, int]:
    """Height and width of a picture or array, from its header alone.

    Args:
        path: A file of `IMAGE_SUFFIXES` or `ARRAY_SUFFIXES`.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it has no such header.
    """
    suffix = os.path.splitext(path)[1].lower()
    try:
        if suffix in IMAGE_SUFFIXES:
            with open_image(path) as image:
                width, height = image.size
                # OpenCV turns photos as their cameras say; a PNG's EXIF lies behind its pixels and is not looked for.
                turned = suffix != '.png' and image.getexif().get(274) in _TURNED
            return (width, height) if turned else (height, width)
        if suffix == '.exr':
            return _exr_size(path)
        shape = _array_shape(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"'{path}' does not exist. Check the dataset's data_root and data_prefix") from error
    except Exception as error:  # a damaged header raises nearly anything
        raise _damaged(path, error) from error
    if len(shape) < 2:
        raise ValueError(f"'{path}' holds an array of shape {shape}; expected (H, W) or (H, W, 3)")
    # (3, H, W) is refused with an explanation when it is read.
    return shape[1:] if len(shape) == 3 and shape[0] == 3 and shape[2] != 3 else shape[:2]


def _array_shape(path: str) -> tuple[int, ...]:
    """The shape that the header of a ``.npy``, or of the first array of a ``.npz``, gives."""
    if path.lower().endswith('.npz'):
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as file:
            shape, _ = _npy_header(file)
    else:
        with open(path, 'rb') as file:
            shape, dtype = _npy_header(file)
            got, expected = os.fstat(file.fileno()).st_size - file.tell(), math.prod(shape) * dtype.itemsize
        if got < expected:
            raise ValueError(f'an array of shape {shape} has {expected} bytes, got {got}')
    if min(shape, default=0) < 0 or math.prod(shape) > 3 * MAX_PIXELS:
        raise ValueError(f'its header says shape {shape}, expected at most {MAX_PIXELS} pixels')
    return shape


def _npy_header(file) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _exr_size(path: str) -> tuple[int, int]:
    """Of OpenEXR's header (name, type, length and value of each attribute) the data window."""
    with open(path, 'rb') as file:
        header = file.read(1 << 16)
    if header[:4] != b'\x76\x2f\x31\x01':
        raise ValueError('not an OpenEXR file')
    at = 8
    while header[at] != 0:
        name_end = header.index(b'\0', at)
        type_end = header.index(b'\0', name_end + 1)
        length, = struct.unpack_from('<i', header, type_end + 1)
        if header[at:name_end] == b'dataWindow':
            left, top, right, bottom = struct.unpack_from('<4i', header, type_end + 5)
            height, width = bottom - top + 1, right - left + 1
            if min(height, width) < 1 or height * width > MAX_PIXELS:
                raise ValueError(f'its dataWindow is {height} x {width}, expected 1 to {MAX_PIXELS} pixels')
            return height, width
        if length < 0:
            raise ValueError(f'an OpenEXR attribute of {length} bytes')
        at = type_end + 5 + length
    raise ValueError('an OpenEXR file without dataWindow')


def read_image(path: str, reduction: int = 1) -> np.ndarray:
    """A picture as (H, W, 3) uint8 in BGR order.

    Args:
        path: Its file.
        reduction: 1, 2, 4 or 8: decode it at that fraction of its size (rounded up), in which a JPEG takes less time.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it cannot be decoded.
    """
    flag = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4,
            8: cv2.IMREAD_REDUCED_COLOR_8}[reduction]
    return _decode(path, flag, 'image')


def read_array(path: str, mmap: bool = False) -> np.ndarray:
    """What a label file holds, as it is stored.

    Args:
        path: PNG and the like: (H, W) or, in RGB order, (H, W, 3); a palette PNG gives the indices. EXR: float32, its
            channels R, G, B (X, Y, Z) in that order. ``.npz``: its only array.
        mmap: Leave a ``.npy`` on disk until parts of it are read.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it cannot be read.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix == '.exr':
        os.environ.setdefault('OPENCV_IO_ENABLE_OPENEXR', '1')  # OpenCV asks for it when it first meets such a file
        if os.path.isfile(path):
            file_size(path)
    if suffix not in ('.npy', '.npz'):
        if suffix == '.png' and os.path.isfile(path) and _has_palette(path):
            try:
                with open_image(path) as image:
                    return np.array(image)
            except Exception as error:  # Pillow's readers raise nearly anything
                raise _damaged(path, error) from error
        array = _decode(path, cv2.IMREAD_UNCHANGED, 'label')
        return array if array.ndim == 2 else np.ascontiguousarray(array[..., 2::-1])
    try:
        _array_shape(path)
        array = np.load(path, mmap_mode='r' if mmap and suffix == '.npy' else None, allow_pickle=False)
        if suffix == '.npz':
            with array as archive:
                if len(archive.files) != 1:
                    raise ValueError(f'it holds the arrays {", ".join(archive.files)}; expected one')
                array = archive[archive.files[0]]
    except FileNotFoundError as error:
        raise FileNotFoundError(f"label '{path}' does not exist. Check the dataset's data_root and data_prefix"
                                ) from error
    except Exception as error:  # a damaged header raises nearly anything
        raise _damaged(path, error) from error
    return array


def _has_palette(path: str) -> bool:
    with open(path, 'rb') as file:
        header = file.read(26)
    return len(header) == 26 and header[25] == 3


def _decode(path: str, flag: int, what: str) -> np.ndarray:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{what} '{path}' does not exist. Check the dataset's data_root and data_prefix")
    try:
        array = cv2.imread(path, flag)
        reason = 'OpenCV does not decode it'
    except cv2.error as error:
        array, reason = None, str(error).strip()
    if array is None:
        if path.lower().endswith('.exr') and 'OpenEXR' not in cv2.getBuildInformation():
            reason = 'this OpenCV was built without OpenEXR: install opencv-python from PyPI, or save the file as .npy'
        raise _damaged(path, reason)
    return array


def _damaged(path: str, reason) -> ValueError:
    return ValueError(f"'{path}' cannot be read ({reason}): it is empty, damaged or of another kind than its name says."
                      ' Replace it, or remove it with its partners in the other folders')
