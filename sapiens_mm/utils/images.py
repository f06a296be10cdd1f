"""Safe image reading: no external decoders, bounded memory, EXIF orientation; with Pillow and OpenCV."""
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

#: Formats that Pillow decodes itself; for PostScript, under any file name, it would run Ghostscript.
FORMATS = ('AVIF', 'BMP', 'GIF', 'HEIF', 'JPEG', 'JPEG2000', 'MPO', 'PNG', 'PPM', 'TIFF', 'WEBP')
#: Largest number of pixels of an image, Pillow's limit.
MAX_PIXELS = 178_956_970
_JPEG, _TIFF = b'\xff\xd8', (b'MM\0*', b'II*\0', b'MM\0+', b'II+\0')
_JPEG2000 = b'\0\0\0\x0cjP', b'\xff\x4f\xff\x51'
_MAX_TILE = 1 << 22  # pixels of a tile of a smaller TIFF; decoders allocate whole tiles
_INTEGERS = {1: 'B', 3: 'H', 4: 'I', 6: 'b', 8: 'h', 9: 'i', 16: 'Q', 17: 'q'}  # type of a TIFF's tag -> struct's
_ORIENTATION = 274  # tag of EXIF
_lock = threading.RLock()


def open_image(file: str | os.PathLike | BinaryIO, max_pixels: int | None = MAX_PIXELS) -> Image.Image:
    """Opens an image of at most ``max_pixels`` (width x height; None: any) and reads its header.

    Raises a PIL.UnidentifiedImageError if it is none of `FORMATS`, a PIL.Image.DecompressionBombError if it is too
    large, an OSError, ValueError or SyntaxError if missing, damaged, or a TIFF with tiles far larger than the image.
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
    """Refuses a TIFF whose tiles exceed its first image by far, by the largest value, as readers differ in choice."""
    file.seek(0)
    head = file.read(16)
    order, big = '<' if head[:2] == b'II' else '>', b'+' in head[2:4]
    sides = {322: 0, 323: 0}
    try:
        file.seek(struct.unpack_from(order + ('Q' if big else 'I'), head, 8 if big else 4)[0])
        count, = struct.unpack(order + ('Q' if big else 'H'), file.read(8 if big else 2))
        if count > 1 << 16:
            raise ValueError(f'TIFF: got {count} tags, expected at most {1 << 16}')
        width = 20 if big else 12
        table = file.read(count * width)
        for at in range(0, len(table) - width + 1, width):
            tag, kind = struct.unpack_from(order + 'HH', table, at)
            if tag not in sides or kind not in _INTEGERS:
                continue
            value = table[at + width - (8 if big else 4):at + width]
            if kind in (16, 17) and not big:  # stored elsewhere, at the offset in the table
                file.seek(struct.unpack(order + 'I', value)[0])
                value = file.read(8)
            sides[tag] = max(sides[tag], struct.unpack_from(order + _INTEGERS[kind], value)[0])
    except struct.error as error:
        raise ValueError(f'TIFF: got a damaged table of tags ({error})') from error
    if sides[322] * sides[323] > max(pixels, _MAX_TILE):
        raise ValueError(f'TIFF: got tiles of {sides[322]} x {sides[323]} pixels in an image of {pixels}, expected at '
                         f'most {max(pixels, _MAX_TILE)}; save it again')


def header_of(data: bytes) -> Header | None:
    """Returns size and orientation of an image file; None for damaged files and formats unknown to Pillow.

    Raises a ValueError for more than `MAX_PIXELS` pixels, a TIFF with tiles far larger than the image, or a damaged
    JPEG 2000, which is decoded here because OpenCV ends the process on some of these.
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
            raise ValueError('got a damaged JPEG 2000') from None
        if data.startswith(_TIFF):  # with values that Pillow has no mode for
            _check_tiles(BytesIO(data), 0)
        return None
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from error
    except (OSError, SyntaxError) as error:
        if data.startswith(_JPEG2000):
            raise ValueError(str(error)) from error
        return None  # the decoder has the better message
    if header.height * header.width > MAX_PIXELS:
        raise ValueError(f'got {header.width} x {header.height} pixels, expected at most {MAX_PIXELS}')
    return header


def decode(data: bytes, flags: int) -> np.ndarray:
    """Decodes an image upright by flags of ``cv2.imdecode``, (H, W) or (H, W, C); a ValueError if it is damaged."""
    header = header_of(data)
    # From memory, since OpenCV fills the missing part of a truncated file with gray.
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION) if data else None
    except cv2.error as error:
        raise ValueError(str(error).strip().splitlines()[0]) from error
    if image is None or ends_in_zeros(data):
        raise ValueError('it is truncated, damaged or not an image' if data else 'it is empty')
    # OpenCV always applies the orientation of a TIFF.
    return image if header is None or data.startswith(_TIFF) else turn(image, header.orientation)


def turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation (1 to 8) to an image (H, W, ...)."""
    if orientation >= 5:
        image = cv2.transpose(image)
    if orientation in (2, 3, 6, 7):
        image = cv2.flip(image, 1)
    if orientation in (3, 4, 7, 8):
        image = cv2.flip(image, 0)
    return image


def ends_in_zeros(data: bytes) -> bool:
    """Returns whether the end of a JPEG or WebP is missing, as after an interrupted copy."""
    if data.startswith(_JPEG):
        return data[-16:] == bytes(16) and not data.rstrip(b'\0').endswith(b'\xff\xd9')
    if data[:4] == b'RIFF':  # followed by its length
        return data[:8 + int.from_bytes(data[4:8], 'little')][-64:] == bytes(64)
    return False


@contextlib.contextmanager
def no_other_formats() -> Iterator[None]:
    """Restricts Pillow to `FORMATS` in all threads, for libraries that open images with it."""
    Image.init()
    with _lock:
        before = list(Image.ID)
        Image.ID[:] = [name for name in before if name in FORMATS]
        try:
            yield
        finally:
            Image.ID[:] = before
