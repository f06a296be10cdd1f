"""Masks of public datasets as indexed images of the 28 body parts, by an editable table of classes.

Layouts of the source folders::

    CCP                 label_list.mat: label_list;  annotations/pixel-level/0001.mat: groundtruth;  photos/0001.jpg
    CelebAMask          masks/NAME.png: class ids, indexed;  images/NAME.jpg
    Human Segmentation  Ground_Truth/1.png: above 127 on people, of any size;  Training_Images/1.jpg
"""
import csv
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..utils.files import replacing
from ..utils.images import header_of, open_image
from ..utils.text import first_line, some
from ..vocabularies.body_parts import IGNORED_PART, PART_COLORS, PART_IDS
from .files import copy_image, is_current, open_folder, read_mat

CELEBAMASK_CLASSES = ('background', 'skin', 'nose', 'eyeglasses', 'l_eye', 'r_eye', 'l_brow', 'r_brow', 'l_ear',
                      'r_ear', 'mouth', 'u_lip', 'l_lip', 'hair', 'hat', 'earring', 'necklace', 'neck', 'cloth')
#: A class beside CCP's own: see :func:`split_face`.
CCP_FACE = 'skin of the head'
#: CCP's classes that are worn or found above the collar.
CCP_HEAD = ('null', 'skin', 'hair', 'hat', 'glasses', 'sunglasses', 'earrings', 'necklace', 'accessories')
Progress = Callable[[Iterable, str], Iterable]


def convert_ccp(source: str | os.PathLike, out: str | os.PathLike, table: str | os.PathLike,
                progress: Progress = lambda items, name: items) -> tuple[dict[str, int], list[str]]:
    """Converts the photos of CCP that have a mask per pixel; every fifth is in test.txt. See :func:`convert_parts`."""
    source = Path(source)
    names = read_mat(source / 'label_list.mat', 'label_list').ravel()
    classes = [str(name.item()) if isinstance(name, np.ndarray) and name.size == 1 else str(name) for name in names]
    masks = _files(source / 'annotations/pixel-level', '.mat')

    def read(path: Path) -> np.ndarray:
        return split_face(_check_labels(read_mat(path, 'groundtruth'), len(classes), path), classes)

    return convert_parts(masks, source / 'photos', read, [*classes, CCP_FACE], out, table, 5, progress)


def split_face(labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Returns CCP's class ids (H, W), face and neck given the id after the last, ``len(classes)``.

    CCP labels all skin alike. Above the collar, skin that touches the hair is the face or the neck.
    """
    ids = {name: index for index, name in enumerate(classes)}
    if not {'skin', 'hair'} <= ids.keys():
        return labels
    garments = np.cumsum((~np.isin(labels, [ids[name] for name in CCP_HEAD if name in ids])).sum(axis=1))
    # A hundredth of the garments' pixels: a bag's handle or a raised sleeve is not the collar.
    collar = np.searchsorted(garments, garments[-1] / 100, side='right')
    skin = (labels == ids['skin']).astype(np.uint8)
    skin[collar:] = 0
    hair = cv2.dilate((labels == ids['hair']).astype(np.uint8), np.ones((5, 5), np.uint8))
    _, regions = cv2.connectedComponents(skin)
    face = (skin > 0) & np.isin(regions, np.unique(regions[hair > 0]))
    return np.where(face, len(classes), labels)


def convert_celebamask(source: str | os.PathLike, out: str | os.PathLike, table: str | os.PathLike,
                       progress: Progress = lambda items, name: items) -> tuple[dict[str, int], list[str]]:
    """Converts faces of CelebAMask-HQ; every tenth is in test.txt. See :func:`convert_parts`."""
    masks = _files(Path(source) / 'masks', '.png')

    def read(path: Path) -> np.ndarray:
        return _check_labels(_read_indices(path), len(CELEBAMASK_CLASSES), path)

    return convert_parts(masks, Path(source) / 'images', read, CELEBAMASK_CLASSES, out, table, 10, progress)


def convert_human_segmentation(source: str | os.PathLike, out: str | os.PathLike,
                               progress: Progress = lambda items, name: items) -> tuple[dict[str, int], list[str]]:
    """Converts the Human Segmentation Dataset; every tenth is in test.txt. See :func:`convert_parts`."""
    masks, images = _files(Path(source) / 'Ground_Truth', '.png'), Path(source) / 'Training_Images'

    def read(path: Path) -> np.ndarray:
        mask = _read_indices(path)
        if mask.ndim != 2 or mask.dtype != np.uint8:
            raise ValueError(f'{path}: got {mask.dtype} of shape {mask.shape}, expected a gray mask; download it again')
        photo = images / f'{path.stem}.jpg'
        try:
            height, width, _ = header_of(photo.read_bytes())
        except (ValueError, TypeError) as error:
            raise ValueError(f'{photo}: got {first_line(error)}, expected a whole image; download it again') from error
        if abs(mask.shape[1] * height / (mask.shape[0] * width) - 1) > 0.02:
            raise ValueError(f'{path}: got (H, W) of {mask.shape}, expected the proportions of its image, '
                             f'{(height, width)}; take both from the same source')
        # Most masks are smaller than their photo.
        return (cv2.resize(mask, (width, height)) > 127).astype(np.uint8)

    return convert_parts(masks, images, read, ('background', 'person'), out, None, 10, progress)


def convert_parts(masks: Sequence[Path], images: Path, read: Callable[[Path], np.ndarray], classes: Sequence[str],
                  out: str | os.PathLike, table: str | os.PathLike | None, held_out: int,
                  progress: Progress = lambda items, name: items) -> tuple[dict[str, int], list[str]]:
    """Writes ``images/``, ``parts/``, ``masks/``, train.txt and test.txt, or what an earlier call left out.

    Args:
        masks: Label files, of the same names as the .jpg ``images``.
        read: Returns the class ids (H, W) of a label file.
        classes: Names by class id; the first is the background.
        table: See :func:`read_table`; without it, no ``parts/`` are written.
        held_out: Every so many samples, by name, are in test.txt.
        progress: Wraps the samples, as tqdm does.

    Returns the number of samples by list, and the names of samples without a person, which are left out. Raises an
    OSError if a file is missing, a ValueError if it is damaged or of another layout, or ``out`` holds something else.
    """
    parts = read_table(table, classes) if table else {}
    if missing := [path.stem for path in masks if not (images / f'{path.stem}.jpg').is_file()]:
        raise FileNotFoundError(f'{images}: got no image of {some(missing)}, expected a .jpg for each label file; '
                                'add them')
    out = open_folder(out, dataset='parts' if parts else 'masks',
                      **{f'class {name}': part for name, part in parts.items()})
    ids = np.array([IGNORED_PART if part == 'ignored' else PART_IDS[part] for part in parts.values()], np.uint8)
    lists, empty = dict(train=[], test=[]), []
    for index, path in enumerate(progress(masks, out.name)):
        targets = [out / f'{kind}/{path.stem}.png' for kind in ('masks', 'parts')[:1 + bool(parts)]]
        image = images / f'{path.stem}.jpg', out / f'images/{path.stem}.jpg'
        if not all(is_current(target, path, image[0]) for target in (*targets, image[1])):
            labels = read(path)
            if not labels.any():
                empty.append(path.stem)
                continue
            if (size := copy_image(*image)) != labels.shape:
                raise ValueError(f'{path}: got labels (H, W) of {labels.shape}, expected {size} as its image; take '
                                 'both from the same source')
            _write_png(targets[0], np.where(labels > 0, 255, 0))
            if parts:
                _write_png(targets[1], ids[labels], palette=True)
        lists['test' if index % held_out == held_out - 1 else 'train'].append(path.stem)
    if not any(lists.values()):
        raise ValueError(f'{masks[0].parent}: got no pixel of a person in any of {len(masks)} label files, expected '
                         'people in most; take the label files of the dataset')
    for split, names in lists.items():
        with replacing(out / f'{split}.txt') as part:
            Path(part).write_text(''.join(f'{name}\n' for name in names))
    return {split: len(names) for split, names in lists.items()}, empty


def read_table(path: str | os.PathLike, classes: Sequence[str]) -> dict[str, str]:
    """Reads the part, or ``'ignored'``, of each class from a CSV file with the columns class and part.

    A ValueError if a class is missing, unknown or repeated, a part is unknown, or the first class is a part of people.
    """
    try:
        with open(path, newline='', encoding='utf-8-sig') as file:
            rows = list(csv.DictReader(file))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f'{path}: got {first_line(error)}, expected a CSV file in UTF-8; save it as one') from error
    if not rows or not {'class', 'part'} <= rows[0].keys():
        raise ValueError(f'{path}: got the columns {some(rows[0] if rows else ())}, expected class and part')
    rows = [{key: (row[key] or '').strip() for key in ('class', 'part')} for row in rows]
    names = [row['class'] for row in rows]
    if sorted(names, key=str) != sorted(classes):
        wrong = dict.fromkeys(name for name in (*names, *classes) if names.count(name) != 1 or name not in classes)
        raise ValueError(f'{path}: got classes that are missing, repeated or unknown ({some(wrong)}), expected each of '
                         f'the {len(classes)} classes of the dataset once')
    if unknown := [row['part'] for row in rows if row['part'] != 'ignored' and row['part'] not in PART_IDS]:
        raise ValueError(f'{path}: got the parts {some(unknown)}, expected ignored or one of {", ".join(PART_IDS)}')
    parts = {row['class']: row['part'] for row in rows}
    # Masks are of all other classes.
    if parts[classes[0]] not in ('Background', 'ignored'):
        raise ValueError(f"{path}: got {parts[classes[0]]} as the part of '{classes[0]}', expected Background or "
                         'ignored, since it is not on people')
    return {name: parts[name] for name in classes}


def _files(folder: Path, suffix: str) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder}: got no such folder, expected the labels in it; give the folder above')
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() == suffix and not path.name.startswith('.'))
    if not files:
        raise FileNotFoundError(f'{folder}: got no *{suffix}, expected the labels of the dataset')
    return files


def _check_labels(labels: np.ndarray, count: int, path: Path) -> np.ndarray:
    """Returns the labels; a ValueError unless they are ``count`` class ids (H, W)."""
    if labels.dtype.kind not in 'iu' or labels.ndim != 2 or not labels.size:
        raise ValueError(f'{path}: got {labels.dtype} of shape {labels.shape}, expected class ids (H, W); download it '
                         'again')
    if unknown := sorted(set(np.unique(labels).tolist()) - set(range(count))):
        raise ValueError(f'{path}: got the classes {some(unknown)}, expected 0 to {count - 1}; take '
                         'the label files of the dataset')
    return labels


def _read_indices(path: Path) -> np.ndarray:
    try:
        with open_image(path) as image:
            return np.asarray(image)
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f'{path}: got {first_line(error)}, expected a whole PNG; download it again') from error


def _write_png(path: Path, pixels: np.ndarray, palette: bool = False) -> None:
    image = Image.fromarray(pixels.astype(np.uint8))
    if palette:
        colors = np.full((256, 3), 255, np.uint8)  # ignored pixels are white, as in synthetic people
        colors[:len(PART_COLORS)] = PART_COLORS
        image.putpalette(colors.tobytes())
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as part:
        image.save(part, format='PNG')
