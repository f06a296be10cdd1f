"""Body parts as PNGs of class ids, the labels that segmentation is trained on."""
import os
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from ..utils.files import replacing
from ..utils.text import count
from ..vocabularies.body_parts import PART_COLORS
from .labels import Labels, place


def write(labels: Iterable[Labels], path: str | os.PathLike) -> list[Path]:
    """Writes a new folder with an indexed ``NAME.png``, without the image's suffix, for each image; returns it.

    Images without parts are left out with a warning. Raises a ValueError for names that :func:`~.labels.place` refuses,
    or other classes than those before.
    """
    path, names, files, without = Path(path), None, {}, 0
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f'{path}: got a folder with files, expected a new one')
    with replacing(path) as part:
        Path(part).mkdir()
        for image in labels:
            if image.parts is None:
                without += 1
                continue
            names = names or image.part_names
            if image.part_names != names:
                raise ValueError(f'{image.file_name}: got {len(image.part_names)} classes, expected the {len(names)} '
                                 'of earlier images; convert them separately')
            target = place(image, Path(part), '.png', files)
            classes = Image.fromarray(image.parts)
            classes.putpalette(np.array(PART_COLORS, np.uint8).tobytes())
            classes.save(target)
        if not files:
            raise ValueError('labels: got no parts, expected a segmentation; run with --save json,png, or export masks')
    if without:
        warnings.warn(f'{path}: left out {count(without, "image")} without parts', stacklevel=2)
    return [path]
