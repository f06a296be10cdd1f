"""Images read without handing their bytes to another program: opened by Pillow, or decoded by OpenCV."""
import contextlib
import os
import struct
import threading
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image

from .image_headers import Header, read_header

#: Pillow finds the format by a file's content, and runs Ghostscript for PostScript. These formats it decodes itself.
FORMATS = ('AVIF', 'BMP', 'GIF', 'HEIF', 'JPEG', 'JPEG2000', 'MPO', 'PNG', 'PPM', 'TIFF', 'WEBP')
#: The most pixels of an image: where Pillow itself stops. Its warning from half as many on is not asked for.
MAX_PIXELS = 178_956_970
_JPEG, _TIFF = b'\xff\xd8', (b'MM\0*', b'II*\0', b'MM\0+', b'II+\0')
_JPEG2000 = b'\0\0\0\x0cjP', b'\xff\x4f\xff\x51'
_MAX_TILE = 1 << 22  # pixels of a TIFF's tile where the image is smaller: decoders allocate whole tiles
_INTEGERS = {1: 'B', 3: 'H', 4: 'I', 6: 'b', 8: 'h', 9: 'i', 16: 'Q', 17: 'q'}  # of a TIFF's tags: type -> struct's
_ORIENTATION = 274  # tag of EXIF
_lock = threading.RLock()


def open_image(file: str | os.PathLike | BinaryIO, max_pixels: int | None = MAX_PIXELS) -> Image.Image:
    """Opens an image and reads its header.

    Args:
        file: A path or a binary file.
        max_pixels: Largest width x height; None for any.

    Raises:
        PIL.UnidentifiedImageError: The content is none of `FORMATS`.
        PIL.Image.DecompressionBombError: The image has more than ``max_pixels`` pixels.
        OSError, ValueError, SyntaxError: The file is missing or damaged, or a TIFF whose tiles are far larger than it.
    """
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]
    with _lock:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(file, formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = before
    width, height = image.size
    if max_pixels is not None and width * height > max_pixels:
        image.close()
        raise Image.DecompressionBombError(f'got {width} x {height} pixels, expected at most {max_pixels}')
    if image.format == 'TIFF':
        try:
            _check_tiles(image.fp, width * height)
        except ValueError:
            image.close()
            raise
    return image


def _check_tiles(file: BinaryIO, pixels: int) -> None:
    """Checks that the tiles of a TIFF's first image are not far larger than the image.

    Of a tag that is there twice the largest value counts, since readers differ in which one they take.

    Raises:
        ValueError: They are, or the table of tags is damaged.
    """
    file.seek(0)
    head = file.read(16)
    order, big = '<' if head[:2] == b'II' else '>', b'+' in head[2:4]
    sides = {322: 0, 323: 0}
    try:
        file.seek(struct.unpack_from(order + ('Q' if big else 'I'), head, 8 if big else 4)[0])
        count, = struct.unpack(order + ('Q' if big else 'H'), file.read(8 if big else 2))
        if count > 1 << 16:
            raise ValueError(f'got {count} tags, expected a TIFF')
        width = 20 if big else 12
        table = file.read(count * width)
        for at in range(0, len(table) - width + 1, width):
            tag, kind = struct.unpack_from(order + 'HH', table, at)
            if tag not in sides or kind not in _INTEGERS:
                continue
            value = table[at + width - (8 if big else 4):at + width]
            if kind in (16, 17) and not big:  # too long for the table, which says where it is
                file.seek(struct.unpack(order + 'I', value)[0])
                value = file.read(8)
            sides[tag] = max(sides[tag], struct.unpack_from(order + _INTEGERS[kind], value)[0])
    except struct.error as error:
        raise ValueError(f'the table of tags is damaged ({error})') from error
    if sides[322] * sides[323] > max(pixels, _MAX_TILE):
        raise ValueError(f'got tiles of {sides[322]} x {sides[323]} pixels in a TIFF of {pixels}, expected at most '
                         f'{max(pixels, _MAX_TILE)}; save it anew')


def header_of(data: bytes) -> Header | None:
    """Size and orientation of an image file; None where Pillow does not know its format, or it is damaged.

    Raises:
        ValueError: The image has more than `MAX_PIXELS` pixels, or is a TIFF whose tiles are far larger than it, or a
            damaged JPEG 2000, whose pixels are decoded here: on some of these OpenCV ends the process.
    """
    try:
        header = read_header(BytesIO(data))
        if header is None:
            with open_image(BytesIO(data)) as image:
                header = Header(image.height, image.width, image.getexif().get(_ORIENTATION, 1))
                if image.format == 'JPEG2000':
                    image.load()
    except Image.UnidentifiedImageError:
        if data.startswith(_JPEG2000):
            raise ValueError('this is no whole JPEG 2000') from None
        if data.startswith(_TIFF):  # of values that Pillow has no mode for
            _check_tiles(BytesIO(data), 0)
        return None
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from error
    except (OSError, SyntaxError) as error:
        if data.startswith(_JPEG2000):
            raise ValueError(str(error)) from error
        return None  # the decoder says what is wrong
    if header.height * header.width > MAX_PIXELS:
        raise ValueError(f'got {header.width} x {header.height} pixels, expected at most {MAX_PIXELS}')
    return header


def decode(data: bytes, flags: int) -> np.ndarray:
    """Decodes an image file whole, turned as its EXIF orientation says, in every format.

    Args:
        data: The file.
        flags: Of ``cv2.imdecode``.

    Returns:
        (H, W) or (H, W, C), channels in OpenCV's order.

    Raises:
        ValueError: The content is cut off, damaged, or no image.
    """
    header = header_of(data)
    # From memory: of a file on disk OpenCV fills what is cut off with grey.
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION) if data else None
    except cv2.error as error:
        raise ValueError(str(error).strip().splitlines()[0]) from error
    if image is None or ends_in_zeros(data):
        raise ValueError('it is empty, cut off, damaged or no image' if data else 'it is empty')
    # OpenCV always turns a TIFF.
    return image if header is None or data.startswith(_TIFF) else turn(image, header.orientation)


def turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """An image (H, W, ...) as its EXIF orientation shows it: mirrored and rotated copies of what the file stores."""
    if orientation >= 5:
        image = cv2.transpose(image)
    if orientation in (2, 3, 6, 7):
        image = cv2.flip(image, 1)
    if orientation in (3, 4, 7, 8):
        image = cv2.flip(image, 0)
    return image


def ends_in_zeros(data: bytes) -> bool:
    """Whether the end of a JPEG or WebP was never written, as an interrupted copy leaves it."""
    if data.startswith(_JPEG):
        return data[-16:] == bytes(16) and not data.rstrip(b'\0').endswith(b'\xff\xd9')
    if data[:4] == b'RIFF':  # whose length stands behind
        return data[:8 + int.from_bytes(data[4:8], 'little')][-64:] == bytes(64)
    return False


@contextlib.contextmanager
def no_other_formats() -> Iterator[None]:
    """Restricts Pillow to `FORMATS` in all threads, for libraries that open images themselves."""
    Image.init()
    with _lock:
        before = list(Image.ID)
        Image.ID[:] = [name for name in before if name in FORMATS]
        try:
            yield
        finally:
            Image.ID[:] = before
