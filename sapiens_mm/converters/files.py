"""Source files and the folder of a conversion."""
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..utils.files import read_json, replacing
from ..utils.images import decode, header_of
from ..utils.text import differences, first_line


def open_folder(out: str | os.PathLike, **settings: Any) -> Path:
    """Creates the folder of a conversion; a ValueError if it has other files, or a conversion with other settings."""
    out = Path(out)
    path = out / 'settings.json'
    if path.exists():
        before = read_json(path)
        differ = differences(before, settings) if isinstance(before, dict) else repr(before)
        if differ:
            raise ValueError(f'{out}: got a conversion with {differ:.500}, expected equal settings; give another '
                             'folder, or the same settings to continue it')
    elif out.exists() and any(path.name != 'settings.json.part' for path in out.iterdir()):  # of a killed process
        raise ValueError(f'{out}: got a folder with other files, expected an empty one or an earlier conversion; give '
                         'another folder')
    else:
        write_json(path, settings)
    return out


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, open(part, 'w') as file:
        json.dump(content, file, indent=1)


def read_mat(path: Path, name: str) -> np.ndarray:
    """Returns a variable of a MATLAB file up to version 7; an OSError or a ValueError that names the file."""
    from scipy.io import loadmat
    with open(path, 'rb') as file:
        try:
            content = loadmat(file)
        except Exception as error:  # a damaged file raises nearly anything
            raise ValueError(f'{path}: got {type(error).__name__} ({first_line(error)}), expected a complete .mat file '
                             'of MATLAB up to version 7; download it again') from error
    if name not in content:
        names = [key for key in content if not key.startswith('__')]
        raise ValueError(f"{path}: got the variables {', '.join(names) or 'none'}, expected '{name}'; give the file of "
                         'the dataset')
    return content[name]


def is_current(target: Path, *sources: Path) -> bool:
    """Whether a file made from ``sources`` exists and none of them is newer; an OSError if one is missing."""
    return target.exists() and target.stat().st_mtime_ns >= max(source.stat().st_mtime_ns for source in sources)


def copy_image(source: Path, target: Path) -> tuple[int, int]:
    """Copies a whole image, unless an equally large copy that is not older exists, and returns its (height, width).

    The size is as stored. An OSError if it is missing, a ValueError if it is damaged or marked as rotated, which labels
    of its pixels are not.
    """
    done = is_current(target, source) and target.stat().st_size == source.stat().st_size
    data = (target if done else source).read_bytes()
    try:
        if not done:
            decode(data, cv2.IMREAD_COLOR)
        height, width, orientation = header_of(data)
    except (ValueError, TypeError) as error:
        raise ValueError(f'{target if done else source}: got {first_line(error)}, expected a whole image; '
                         'download it again') from error
    if orientation != 1:
        raise ValueError(f'{source}: got EXIF orientation {orientation}, expected 1; remove the tag if the labels '
                         'are of the stored pixels')
    if not done:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as part:
            Path(part).write_bytes(data)
    return height, width
