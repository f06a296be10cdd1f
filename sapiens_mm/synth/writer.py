"""Files that are whole or absent: pictures, arrays and JSON, each put in place at once.

A sample is several files. The one that says that it is finished (its JSON) is written last, so that a run that was
killed at any moment can go on: what has no JSON is made again.
"""
import errno
import io
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

#: In the names of files that are not yet whole.
TEMPORARY = '.part-'


def write_bytes(path, content: bytes):
    """Writes a file so that it is never seen half-written, and leaves nothing behind where that fails.

    Args:
        path: Its folder is made where missing.
        content: All of it.

    Raises:
        OSError: It names the file; a full disk says so.
    """
    path = Path(path)
    temporary = path.with_name(f'{path.name}{TEMPORARY}{socket.gethostname()}-{os.getpid()}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, 'wb') as file:
            file.write(content)
            file.flush()
            # Without this a full disk or a power cut may leave a file of the right name and no content.
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(error.errno, f'the disk is full ({len(content)} bytes were to be written); finished samples '
                          'are kept: free some space and run the same command again', str(path)) from None
        raise OSError(error.errno, f'cannot write: {error.strerror}', str(path)) from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_image(path, image: np.ndarray):
    """Writes a PNG.

    Args:
        path: Ends in ``.png``.
        image: (H, W, 3) uint8 in RGB order, or (H, W) uint8 or uint16.
    """
    if image.ndim == 3:
        image = image[..., ::-1]
    done, content = cv2.imencode('.png', np.ascontiguousarray(image))
    if not done:
        raise ValueError(f'cannot make a PNG of {image.dtype} {image.shape} for {path}')
    write_bytes(path, content.tobytes())


def write_array(path, array: np.ndarray):
    """Writes a ``.npy`` file."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def write_json(path, content):
    """Writes indented JSON that is the same for the same content."""
    write_bytes(path, (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + '\n').encode())


def clean(folder, mine: Callable[[str], bool] = lambda name: True):
    """Removes what a killed run left half-written. Call it before any process writes there.

    Args:
        folder: With all folders in it.
        mine: Of the names of files without their endings, those that nobody else may be writing at the moment.
    """
    for path in Path(folder).rglob(f'*{TEMPORARY}*'):
        if mine(path.name.split('.')[0]):
            path.unlink(missing_ok=True)


def write_parts(path, parts: np.ndarray):
    """Writes (H, W) uint8 body parts as a PNG indexed by their colours; 255 (to be ignored) is white."""
    from PIL import Image  # OpenCV writes no palettes

    from sapiens_mm.vocabularies.body_parts import PART_COLORS

    palette = np.zeros((256, 3), np.uint8)
    palette[:len(PART_COLORS)] = PART_COLORS
    palette[255] = 255
    image = Image.fromarray(np.ascontiguousarray(parts), mode='P')
    image.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format='PNG')
    write_bytes(path, buffer.getvalue())
