"""Files that are whole or absent: pictures, arrays and JSON, each put in place at once; and the layout of sets.

A sample is several files. The one that says that it is finished (its JSON) is written last, so that a run that was
killed at any moment can go on: what has no JSON is made again.
"""
import errno
import io
import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from sapiens_mm.utils.files import parse_json

from .camera import Camera
from .render import Buffers

#: Written beside every sample, so that a file explains itself.
NORMAL_CONVENTION = 'camera space, unit length: x right, y up, z to the viewer'
DEPTH_CONVENTION = 'metres along the optical axis'
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
        with suppress(OSError):  # of a disk that became read-only nothing can be removed either
            temporary.unlink()
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


def read_json(path, remedy: str) -> dict:
    """What `write_json` wrote.

    Args:
        path: The file.
        remedy: What to do where it holds something else.

    Raises:
        ValueError: It holds no JSON object; the message names it.
    """
    try:
        content = parse_json(Path(path).read_bytes())
    except ValueError as error:  # of characters, too
        raise ValueError(f'{path} cannot be read as JSON ({error}): {remedy}') from error
    if not isinstance(content, dict):
        raise ValueError(f'{path} holds {type(content).__name__} instead of names and values: {remedy}')
    return content


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


def write_files(folder, name: str, image: np.ndarray, buffers: Buffers, camera: Camera, kinds: tuple, record: str,
                about: dict):
    """Writes the files of one image; the JSON, which says that all are there, last.

    Args:
        folder: The set's.
        name: The image's, without an ending.
        image: (H, W, 3) uint8 RGB.
        buffers: Its labels.
        camera: Its camera.
        kinds: Which labels to write besides the person mask, of ``instances``, ``parts``, ``depth``, ``normal``.
        record: Folder of the JSON.
        about: What else the JSON says.

    Raises:
        OSError: If the disk is full; what was written does not count as a sample.
    """
    folder = Path(folder)
    write_image(folder / f'images/{name}.png', image)
    write_image(folder / f'masks/{name}.png', buffers.person.astype(np.uint8) * 255)
    if 'instances' in kinds:
        write_image(folder / f'instances/{name}.png', buffers.instance)
    if 'parts' in kinds:
        write_parts(folder / f'parts/{name}.png', buffers.part)
    if 'depth' in kinds:
        write_array(folder / f'depth/{name}.npy', buffers.person_depth())
    if 'normal' in kinds:
        # Not float16: its lengths are off by up to 5e-4, which an arccos of a product turns into 1.8 degrees.
        write_array(folder / f'normal/{name}.npy', buffers.person_normal())
    write_json(folder / f'{record}/{name}.json', dict(
        about, camera=camera.to_dict(), normals=NORMAL_CONVENTION, depth=DEPTH_CONVENTION))


def differences(before: dict, now: dict) -> str:
    """How the settings that a set was made with differ from those that it is to be continued with, or ''."""
    now = json.loads(json.dumps(now))  # as they are once written
    return '; '.join(f'{name} {before.get(name)} instead of {value}' for name, value in now.items()
                     if before.get(name) != value)
