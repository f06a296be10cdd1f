"""Images opened by Pillow without handing their bytes to another program."""
import contextlib
import os
import threading
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image

#: Pillow finds the format by a file's content, and runs Ghostscript for PostScript. These formats it decodes itself.
FORMATS = ('AVIF', 'BMP', 'GIF', 'HEIF', 'JPEG', 'JPEG2000', 'MPO', 'PNG', 'PPM', 'TIFF', 'WEBP')
#: Pillow warns from half as many pixels on. The warning can only be silenced for all threads, so its limit is raised.
MAX_PIXELS = 178_956_970
_lock = threading.RLock()


def open_image(file: str | os.PathLike | BinaryIO, max_pixels: int | None = MAX_PIXELS) -> Image.Image:
    """Opens an image and reads its header.

    Args:
        file: A path or a binary file.
        max_pixels: Largest width x height; None for any.

    Raises:
        PIL.UnidentifiedImageError: The content is none of `FORMATS`.
        PIL.Image.DecompressionBombError: The image has more than ``max_pixels`` pixels.
        OSError, ValueError, SyntaxError: The file is missing or damaged.
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
    return image


@contextlib.contextmanager
def no_other_formats() -> Iterator[None]:
    """Meanwhile Pillow opens `FORMATS` only, in all threads: for a library that opens images by itself."""
    Image.init()
    with _lock:
        before = list(Image.ID)
        Image.ID[:] = [name for name in before if name in FORMATS]
        try:
            yield
        finally:
            Image.ID[:] = before
