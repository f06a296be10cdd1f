"""Files of a dataset: images, arrays and JSON, each written atomically."""
import errno
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..tasks import Task, get_task
from ..utils.files import parse_json, replacing
from ..vocabularies.body_parts import PART_COLORS
from .camera import Camera
from .render import Buffers

#: Stored with every sample, so that a file explains itself.
NORMAL_CONVENTION = 'camera space, unit length: x right, y up, z to the viewer'
DEPTH_CONVENTION = 'meters along the optical axis'
#: Part of the names of files that are not complete.
TEMPORARY = '.part-'
#: The label image of each task that has one.
LABEL_IMAGES = dict(seg=lambda buffers: buffers.part, depth=Buffers.person_depth, normal=Buffers.person_normal)


def write_bytes(path, content: bytes) -> None:
    """Writes a file, and creates its folder if missing; a failure leaves the old file.

    Raises:
        OSError: The file cannot be written; ``filename`` is ``path``.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, unique=True) as part, open(part, 'wb') as file:
            file.write(content)
    except OSError as error:
        message = f'cannot write: {error.strerror}'
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = (f'the disk is full, {len(content)} bytes did not fit; free some space and run the same command '
                       'again, finished samples are kept')
        raise OSError(error.errno, message, str(path)) from None


def write_image(path, image: np.ndarray) -> None:
    """Writes (H, W, 3) uint8 RGB or (H, W) uint8 or uint16 as a PNG; ``path`` ends in ``.png``."""
    if image.ndim == 3:
        image = image[..., ::-1]
    done, content = cv2.imencode('.png', np.ascontiguousarray(image))
    if not done:
        raise ValueError(f'image for {path}: got {image.dtype} {image.shape}, expected uint8 RGB or one channel')
    write_bytes(path, content.tobytes())


def write_array(path, array: np.ndarray) -> None:
    """Writes a ``.npy`` file."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def write_parts(path, parts: np.ndarray) -> None:
    """Writes (H, W) uint8 body parts as a palette PNG of their colors; 255 (ignored) is white."""
    palette = np.zeros((256, 3), np.uint8)
    palette[:len(PART_COLORS)] = PART_COLORS
    palette[255] = 255
    image = Image.fromarray(np.ascontiguousarray(parts), mode='P')
    image.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format='PNG')
    write_bytes(path, buffer.getvalue())


def write_json(path, content) -> None:
    """Writes indented JSON with sorted keys."""
    write_bytes(path, (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + '\n').encode())


def read_json(path, remedy: str) -> dict:
    """Reads a file of `write_json`.

    Raises:
        ValueError: The file is not a JSON object; the message names it and ends in ``remedy``.
    """
    try:
        content = parse_json(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f'{path}: got {error}, expected complete JSON; {remedy}') from error
    if not isinstance(content, dict):
        raise ValueError(f'{path}: got {type(content).__name__}, expected a JSON object; {remedy}')
    return content


def clean(folder, mine: Callable[[str], bool] = lambda name: True) -> None:
    """Removes the incomplete files that a killed run left in a folder and its subfolders.

    ``mine`` returns for a name without suffixes whether the file may be removed: no other process writes it.
    """
    for path in Path(folder).rglob(f'*{TEMPORARY}*'):
        if mine(path.name.split('.')[0]):
            path.unlink(missing_ok=True)


def label_path(folder: Path, task: Task, name: str) -> Path:
    """Returns the path of a sample's label: a PNG of classes, else a ``.npy`` array."""
    return Path(folder) / task.result / f'{name}.{"png" if task.kind == "classes" else "npy"}'


def write_files(folder, name: str, image: np.ndarray, buffers: Buffers, camera: Camera, tasks: Iterable[str],
                record: str, about: dict, instances: bool = True) -> None:
    """Writes the files of one image, the JSON last.

    Args:
        folder: Folder of the dataset.
        name: Name of the image without a suffix.
        image: (H, W, 3) uint8 RGB.
        buffers, camera: Its labels and its camera.
        tasks: Tasks whose labels are written besides the person mask.
        record: Folder of the JSON.
        about: Further content of the JSON.
        instances: Whether to write the number of the person at each pixel.

    Raises:
        OSError: A file cannot be written; the sample then does not count as finished.
    """
    folder = Path(folder)
    write_image(folder / f'images/{name}.png', image)
    write_image(folder / f'masks/{name}.png', buffers.person.astype(np.uint8) * 255)
    if instances:
        write_image(folder / f'instances/{name}.png', buffers.instance)
    for task in map(get_task, tasks):
        if task.name in LABEL_IMAGES:
            # Not float16: normals' lengths are off by up to 5e-4, which an arccos of a product turns into 1.8 degrees.
            write = write_parts if task.kind == 'classes' else write_array
            write(label_path(folder, task, name), LABEL_IMAGES[task.name](buffers))
    write_json(folder / f'{record}/{name}.json', dict(
        about, camera=camera.to_dict(), normals=NORMAL_CONVENTION, depth=DEPTH_CONVENTION))

