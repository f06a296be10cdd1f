"""Size and EXIF orientation of JPEG, PNG and WebP files from their headers.

Pillow would decode a PNG to get its orientation, apply XMP's, which OpenCV ignores, and refuse damaged optional chunks.
"""
import struct
from typing import BinaryIO, NamedTuple

from PIL import Image

_ORIENTATION = 274  # tag of EXIF
_PNG = b'\x89PNG\r\n\x1a\n'
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of the segment with a JPEG's size


class Header(NamedTuple):
    """Size of the stored image in pixels, and its EXIF orientation, 1 to 8."""
    height: int
    width: int
    orientation: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) after applying the orientation."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def read_header(file: BinaryIO) -> Header | None:
    """Reads the header of an image file, which may end behind it; None for other formats, ValueError if damaged."""
    head = file.read(12)
    file.seek(0)
    read = _jpeg if head[:2] == b'\xff\xd8' else _png if head[:8] == _PNG else (
        _webp if head[:4] == b'RIFF' and head[8:] == b'WEBP' else None)
    try:
        return read and read(file)
    except (struct.error, IndexError) as error:
        raise ValueError('the header is damaged or truncated') from error


def _jpeg(file: BinaryIO) -> Header:
    file.seek(2)
    orientation = 1
    while True:
        marker = file.read(1)
        while marker == b'\xff':  # padding before a marker
            marker = file.read(1)
        code = marker[0]
        if code in (0x01, *range(0xD0, 0xD9)):
            continue
        length, = struct.unpack('>H', file.read(2))
        if code in _FRAMES:
            _, height, width = struct.unpack('>BHH', file.read(5))
            return Header(height, width, orientation)
        if code in (0xD9, 0xDA):
            raise ValueError('got a JPEG without a size')
        if code == 0xE1 and orientation == 1:
            orientation = _orientation(file.read(length - 2))
        else:
            file.seek(length - 2, 1)


def _png(file: BinaryIO) -> Header:
    kind, width, height = struct.unpack('>12x4sII', file.read(24))
    if kind != b'IHDR' or not width:
        raise ValueError('got a PNG without a size')
    file.seek(33)
    while len(chunk := file.read(8)) == 8:
        length, kind = struct.unpack('>I4s', chunk)
        if kind == b'eXIf':
            return Header(height, width, _orientation(b'Exif\0\0' + file.read(min(length, 1 << 16))))
        if kind == b'IEND':
            break
        file.seek(length + 4, 1)
    return Header(height, width)


def _webp(file: BinaryIO) -> Header:
    file.seek(12)
    shape = None
    orientation = 1
    while len(chunk := file.read(8)) == 8:
        kind, length = struct.unpack('<4sI', chunk)
        after = file.tell() + length + length % 2
        if kind == b'VP8X':
            data = file.read(10)
            shape = int.from_bytes(data[7:10], 'little') + 1, int.from_bytes(data[4:7], 'little') + 1
        elif kind == b'VP8 ' and shape is None:
            width, height = struct.unpack('<HH', file.read(10)[6:])
            shape = height & 0x3FFF, width & 0x3FFF
        elif kind == b'VP8L' and shape is None:
            bits = int.from_bytes(file.read(5)[1:], 'little')
            shape = (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
        elif kind == b'EXIF':
            orientation = _orientation(file.read(min(length, 1 << 16)))
        file.seek(after)
    if shape is None:
        raise ValueError('got a WebP without a size')
    return Header(*shape, orientation)


def _orientation(data: bytes) -> int:
    exif = Image.Exif()
    try:
        exif.load(data)
        value = exif.get(_ORIENTATION, 1)
    except Exception:  # Pillow raises nearly any type for damaged EXIF
        return 1
    return value if value in range(1, 9) else 1
