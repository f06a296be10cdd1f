"""Ultralytics' YOLO-pose: a text file of people for each image, and data.yaml."""
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import yaml

from ..utils.files import replacing
from ..utils.text import count, first_line, some
from .labels import (
    HALF_PIXEL,
    KeypointSet,
    Labels,
    Person,
    arrange,
    image_size,
    in_known_order,
    keypoint_set,
    naming,
    numbers,
    of_one_set,
    place,
    set_of_size,
)

_SUFFIXES = ('.avif', '.bmp', '.heic', '.jpeg', '.jpg', '.mpo', '.png', '.tif', '.tiff', '.webp')


def write(labels: Iterable[Labels], path: str | os.PathLike, image_root: str = '') -> list[Path]:
    """Writes a new folder with ``labels/train/NAME.txt``, ``train.txt`` and ``data.yaml``; returns them.

    With an ``image_root``, ``images/train`` is a link to this folder. Keypoints outside of the image are not labeled,
    and people outside of it are left out with a warning, since Ultralytics refuses them.
    """
    path, keypoints, outside, files = Path(path), None, 0, {}
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f'{path}: got a folder with files, expected a new one')
    if image_root and not Path(image_root).is_dir():
        raise ValueError(f"image_root: got '{image_root}', expected the folder of the images")
    with replacing(path) as part:
        folder = Path(part)
        for image in of_one_set(labels):
            if image.people and image.keypoint_set is None:
                raise ValueError(f'{image.file_name}: got no keypoints, expected a keypoint set')
            keypoints = keypoints or image.keypoint_set
            target = place(image, folder / 'labels/train', '.txt', files)
            lines = list(filter(None, (_line(person, image) for person in image.people)))
            outside += len(image.people) - len(lines)
            target.write_text(''.join(lines), encoding='utf-8')
        if keypoints is None:
            raise ValueError('labels: got no keypoints, expected a keypoint set')
        (folder / 'train.txt').write_text(''.join(f'./images/train/{name}\n' for name in files.values()), 'utf-8')
        content = dict(path=str(path.absolute()), train='train.txt', val='train.txt',
                       kpt_shape=[len(keypoints.names), 3], flip_idx=list(keypoints.flip_indices),
                       names={0: 'person'}, kpt_names={0: list(keypoints.names)})
        (folder / 'data.yaml').write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), 'utf-8')
        if image_root:
            (folder / 'images').mkdir()
            (folder / 'images/train').symlink_to(Path(image_root).absolute(), target_is_directory=True)
    if outside:
        warnings.warn(f'{path}: left out {count(outside, "person", "people")} without a box inside the image',
                      stacklevel=2)
    return [path]


def _line(person: Person, image: Labels) -> str:
    size = np.array([image.width, image.height])
    low, high = np.clip(np.reshape(person.box, (2, 2)), 0, size) / size
    if not (high > low).all():
        return ''
    values = [*(low + high) / 2, *(high - low)]
    points = (person.keypoints + HALF_PIXEL) / size
    shown = (person.visible > 0) & (points >= 0).all(1) & (points <= 1).all(1)
    for (x, y), visible in zip(points, np.where(shown, person.visible, 0)):
        values += [x, y, visible] if visible else [0, 0, 0]
    return '0 ' + ' '.join(f'{value:.6g}' for value in values) + '\n'


def read(path: str | os.PathLike, keypoints: KeypointSet | None = None, image_root: str = '') -> Iterator[Labels]:
    """Yields the images of a folder with ``data.yaml``, or of such a file; without a label file nobody is in an image.

    Args:
        keypoints: The keypoint set; by default ``kpt_names`` of the file, else the known set of this size.
        image_root: Folder of the images by which ``images/train`` is replaced; their sizes are needed.

    Raises an OSError or a ValueError that names the file.
    """
    path = Path(path)
    path = path / 'data.yaml' if path.is_dir() else path
    with naming(str(path), 'data.yaml of YOLO-pose with train and kpt_shape'):
        try:
            content = yaml.safe_load(path.read_text(encoding='utf-8'))
        except yaml.YAMLError as error:
            raise ValueError(f'got damaged YAML ({first_line(error)}), expected complete YAML') from error
        shape = [int(size) for size in content['kpt_shape']]
        classes = content.get('names') or {0: 'person'}
        classes = dict(enumerate(classes)) if isinstance(classes, list) else classes
        person = next((number for number, name in classes.items() if name == 'person'), next(iter(classes)))
        if len(classes) > 1 and classes[person] != 'person':
            raise ValueError(f'got the classes {some(classes.values())}, expected person; rename the class of people')
        names = content.get('kpt_names') or {}
        names = (names.get(person) if isinstance(names, dict) else names) or ()
        splits = {split: content[split] for split in ('train', 'val', 'test') if content.get(split)}
        splits = {split: entries for index, (split, entries) in enumerate(splits.items())
                  if entries not in list(splits.values())[:index]}  # the same images twice
        own = keypoint_set(tuple(names)) if names else keypoints or set_of_size(shape[0])
        if own is None or len(own.names) != shape[0] or shape[1:] not in ([2], [3]):
            raise ValueError(f'got kpt_shape {shape} and {len(own.names) if own else "no"} names, expected a name for '
                             'each keypoint; give them with --keypoints')
    target = keypoints or in_known_order(own)
    if len(classes) > 1:
        warnings.warn(f'{path}: classes other than person are left out', stacklevel=2)
    for split, entries in splits.items():
        for name in _images(path.parent, entries if isinstance(entries, list) else [entries]):
            prefix = 'images/' if len(splits) > 1 else f'images/{split}/'
            file_name = (name.partition(prefix) if prefix in name else name.partition('images/'))[2] or name
            image = Path(image_root) / file_name if image_root else path.parent / name
            width, height = image_size(image)
            before, _, after = name.rpartition('images/')
            labels = path.parent / f'{before}labels/{os.path.splitext(after)[0]}.txt'
            people = _people(labels, own, shape[1], np.array([width, height]), person)
            with naming(str(labels), ''):
                people = [arrange(person, own.names, target) for person in people]
            yield Labels(file_name, width, height, people, target)


def _images(folder: Path, entries: list[str]) -> Iterator[str]:
    """Yields paths of images relative to the folder of data.yaml, of lists (.txt) and of folders beside it."""
    for entry in entries:
        place = folder / entry
        if place.suffix == '.txt':
            names = place.read_text(encoding='utf-8').splitlines()
            yield from (os.path.relpath(folder / name.strip(), folder) for name in names if name.strip())
        elif place.is_dir():
            yield from sorted(os.path.relpath(os.path.join(top, name), folder) for top, _, names in
                              os.walk(place, followlinks=True) for name in names if name.lower().endswith(_SUFFIXES))
        else:
            raise FileNotFoundError(f'{place}: got no such folder, expected the images of data.yaml; add them')


def _people(path: Path, keypoints: KeypointSet, columns: int, size: np.ndarray, person: int) -> list[Person]:
    people = []
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines() if path.exists() else (), 1):
        with naming(f'{path}: line {number}', ''):
            values = numbers([float(value) for value in line.split()], 5 + columns * len(keypoints.names))
        if values[0] != person:
            continue
        center, extent = np.reshape(values[1:5], (2, 2)) * size.tolist()
        points = values[5:].reshape(-1, columns)
        visible = points[:, 2].astype(int) if columns == 3 else np.where(points.any(1), 2, 0)
        pixels = np.where(visible[:, None] > 0, points[:, :2] * size - HALF_PIXEL, 0)
        people.append(Person(np.concatenate([center - extent / 2, center + extent / 2]), pixels, visible))
    return people
