"""COCO annotations: keypoints and boxes in one file, body parts in a second one."""
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..utils.files import parse_json, read_json, remove, replacing
from ..utils.people import owners
from ..utils.text import some
from ..vocabularies.body_parts import PART_IDS, PART_NAMES
from .labels import (
    KeypointSet,
    Labels,
    Person,
    arrange,
    category_set,
    in_known_order,
    labeled,
    naming,
    numbers,
    of_one_set,
    rounded,
    set_of_size,
)
from .rle import decode_coco, encode_coco, fill_polygon


def write(labels: Iterable[Labels], path: str | os.PathLike) -> list[Path]:
    """Writes annotations, and parts to ``<stem>_parts.json`` if an image has them; returns the files."""
    lines = AnnotationLines(path, f'{os.fspath(path)}.lines')
    try:
        for image in of_one_set(labels):
            if image.file_name in lines.names:
                raise ValueError(f'{image.file_name}: got two images of this name, expected different names')
            lines.append(image)
        return lines.finish()
    finally:
        lines.close()
        remove(lines.path)


def parts_path(path: str | os.PathLike) -> Path:
    path = Path(path)
    return path.with_name(f'{path.stem}_parts.json')


class AnnotationLines:
    """Annotations as a file of JSON lines, one for each image, from which :meth:`finish` makes COCO's file.

    A killed process leaves whole lines and possibly a part of one, which is dropped; of several lines for one image the
    last counts.

    Attributes:
        names: File names of the images in it.
        keypoint_names: Those of all images; None if none has keypoints.
    """

    def __init__(self, target: str | os.PathLike, path: str | os.PathLike, resume: bool = False):
        self.target, self.path = Path(target), Path(path)
        self.names: set[str] = set()
        self._file, self.keypoint_names = None, None
        self._started = resume and self.path.exists()  # else an earlier file is replaced
        if self._started:
            self._drop_partial_line()
            for line in self._lines():
                self.names.add(line['image']['file_name'])
                self.keypoint_names = self.keypoint_names or line['category'].get('keypoints')

    def append(self, image: Labels) -> None:
        """Writes the line of an image; a ValueError if earlier lines have another keypoint set."""
        line = dict(image=dict(file_name=image.file_name, width=image.width, height=image.height),
                    category=_category(image.keypoint_set), annotations=[_annotation(p) for p in image.people])
        names = line['category'].get('keypoints')
        if names and self.keypoint_names and names != self.keypoint_names:
            raise ValueError(f'{self.path}: got {len(names)} keypoints, expected the {len(self.keypoint_names)} of '
                             'earlier images; use another folder')
        self.keypoint_names = self.keypoint_names or names
        if image.parts is not None:
            line |= dict(parts=_part_annotations(image), part_names=list(image.part_names))
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, 'a' if self._started else 'w', encoding='utf-8')  # noqa: SIM115
            self._started = True
        self._file.write(json.dumps(line) + '\n')
        self._file.flush()
        self.names.add(image.file_name)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def finish(self) -> list[Path]:
        """Writes the files of annotations from the lines, and returns them."""
        self.close()
        last = {line['image']['file_name']: number for number, line in enumerate(self._lines())}
        ids = {number: index for index, number in enumerate(sorted(last.values()), 1)}
        category, part_names = _category(None), []
        for line in self._lines():
            category = line['category'] if line['category'].get('keypoints') else category
            part_names = line.get('part_names', part_names)

        def entries(key: str) -> Iterator[dict]:
            for number, line in enumerate(self._lines()):
                for entry in ([line['image']] if key == 'image' else line.get(key, ())) if number in ids else ():
                    yield dict(id=ids[number], **entry) if key == 'image' else dict(image_id=ids[number], **entry)

        def numbered(key: str) -> Iterator[dict]:
            return (dict(id=number, **entry) for number, entry in enumerate(entries(key), 1))

        _write_file(self.target, images=entries('image'), annotations=numbered('annotations'), categories=[category])
        if not part_names:
            return [self.target]
        _write_file(parts_path(self.target), images=entries('image'), annotations=numbered('parts'), categories=[
            dict(id=index, name=name, supercategory='person') for index, name in enumerate(part_names) if index])
        return [self.target, parts_path(self.target)]

    def _lines(self) -> Iterator[dict]:
        if self._started:
            with open(self.path, 'rb') as file:
                for number, line in enumerate(file, 1):
                    try:
                        yield parse_json(line)
                    except ValueError as error:
                        raise ValueError(f'{self.path}: got damaged JSON in line {number}, expected one image in each '
                                         'line; remove the file') from error

    def _drop_partial_line(self) -> None:
        with open(self.path, 'rb+') as file:
            end = position = file.seek(0, os.SEEK_END)
            while position:
                position = max(0, position - 65536)
                file.seek(position)
                newline = file.read(min(65536, end - position)).rfind(b'\n')
                if newline >= 0:
                    file.truncate(position + newline + 1)
                    return
                end = position
            file.truncate(0)


def _write_file(path: Path, **lists: Iterable[dict]) -> None:
    with replacing(path) as part, open(part, 'w', encoding='utf-8') as file:
        start = '{'
        for key, entries in lists.items():
            file.write(f'{start}"{key}": [')
            start = ''
            for entry in entries:
                file.write(start + '\n' + json.dumps(entry, ensure_ascii=False))
                start = ','
            start = '],\n'
        file.write(']}\n')


def _category(keypoints: KeypointSet | None) -> dict:
    category = dict(id=1, name='person', supercategory='person')
    if keypoints is not None:
        category |= dict(keypoints=list(keypoints.names), skeleton=[[a + 1, b + 1] for a, b in keypoints.links])
    return category


def _annotation(person: Person) -> dict:
    x0, y0, x1, y1 = person.box
    area = (x1 - x0) * (y1 - y0) if person.area is None else person.area
    entry = dict(category_id=1, bbox=rounded([x0, y0, x1 - x0, y1 - y0]), area=round(area, 3), iscrowd=0)
    entry |= {} if person.segmentation is None else dict(segmentation=person.segmentation)
    if person.keypoints is not None:
        shown = person.visible > 0
        points = np.round(np.where(shown[:, None], person.keypoints, 0), 3).tolist()
        entry['keypoints'] = [value for point, visible in zip(points, person.visible.tolist())
                              for value in (*point, visible)]
        entry['num_keypoints'] = int(shown.sum())
        if person.keypoint_scores is not None:
            entry['keypoint_scores'] = np.round(person.keypoint_scores, 4).tolist()
    entry |= {} if person.score is None else dict(score=round(float(person.score), 4))
    return entry | ({} if person.track_id is None else dict(track_id=int(person.track_id)))


def _part_annotations(image: Labels) -> list[dict]:
    """One annotation for each person and part; ``person`` is the number of the person in the image, from 0.

    Pixels that are nobody's have no ``person``; see :func:`~sapiens_mm.utils.people.owners`.
    """
    links = image.keypoint_set.links if image.keypoint_set else ()
    owner = owners(image.parts != 0, np.reshape([person.box for person in image.people], (-1, 4)),
                   [_strokes(person, links) for person in image.people])
    entries = []
    for index in np.unique(owner).tolist():
        for part in np.unique(image.parts[owner == index]).tolist():
            mask = (owner == index) & (image.parts == part)
            if part:
                (x0, x1), (y0, y1) = ((int(place.min()), int(place.max()) + 1) for place in np.nonzero(mask)[::-1])
                entries.append(dict(category_id=part, bbox=[x0, y0, x1 - x0, y1 - y0], area=int(mask.sum()), iscrowd=0,
                                    segmentation=encode_coco(mask), **({} if index < 0 else dict(person=index))))
    return entries


def _strokes(person: Person, links: Iterable[tuple[int, int]]) -> np.ndarray:
    shown = set(labeled(person).tolist())
    pairs = [link for link in links if shown >= set(link)] + [(point, point) for point in shown]
    return person.keypoints[np.array(pairs)] if pairs else np.zeros((0, 2, 2))


def read(path: str | os.PathLike, keypoints: KeypointSet | None = None) -> Iterator[Labels]:
    """Yields the images of annotations, with the parts of ``<stem>_parts.json`` if that exists.

    Args:
        keypoints: The keypoint set to map to by names, or that of annotations without names of keypoints. By default
            it is the one in the file, in the order of a known set with the same names.

    Raises an OSError or a ValueError that names the file and the entry.
    """
    images = parse(read_json(path), os.fspath(path), keypoints)
    second = parts_path(path)
    parts = _read_parts(second) if second.exists() else {}
    for image in images:
        if image.file_name in parts:
            image.parts, image.part_names = parts[image.file_name]
        if image.parts is not None and image.parts.shape != (image.height, image.width):
            raise ValueError(f'{second}: {image.file_name}: got parts of {image.parts.shape[::-1]} pixels, expected '
                             f'those of the image, {(image.width, image.height)}; export it again')
        yield image


def parse(content: Any, where: str, keypoints: KeypointSet | None = None) -> list[Labels]:
    """Returns the images of the content of an annotations file; errors as :func:`read`."""
    if _is_parts(content):
        return [Labels(name, *parts.shape[::-1], parts=parts, part_names=PART_NAMES)
                for name, parts in _part_maps(content, where, PART_IDS).items()]
    with naming(where, 'COCO annotations with images, annotations and categories'):
        images = {entry['id']: Labels(str(entry['file_name']), int(entry['width']), int(entry['height']))
                  for entry in content['images']}
        annotations = list(content['annotations'])
        ids, own = _people({entry['id']: entry for entry in content['categories']}, annotations, keypoints)
    target = keypoints or own and in_known_order(own)
    left_out = dict.fromkeys(('crowds', 'annotations of other categories'), 0)
    for entry in annotations:
        with naming(f'{where}: annotation {entry.get("id") if isinstance(entry, dict) else entry}',
                    'a person with image_id of an image, bbox, and x, y, visibility of each keypoint'):
            if entry['category_id'] not in ids or entry.get('iscrowd'):
                left_out['crowds' if entry['category_id'] in ids else 'annotations of other categories'] += 1
                continue
            person = _person(entry, own)
            images[entry['image_id']].people.append(arrange(person, own.names, target) if own else person)
    for image in images.values():
        image.keypoint_set = target
    for what, number in left_out.items():
        if number:
            warnings.warn(f'{where}: left out {number} {what}', stacklevel=2)
    return list(images.values())


def _people(categories: dict, annotations: list, keypoints: KeypointSet | None) -> tuple:
    """Returns the ids of the categories of people and the keypoint set of their annotations, None without keypoints."""
    skeletons = {number for number, category in categories.items() if category.get('keypoints')}
    named = {number for number, category in categories.items() if category.get('name') == 'person'}
    ids = skeletons & named or skeletons or named or (set(categories) if len(categories) == 1 else set())
    if len(ids) != 1:
        raise ValueError(f'got the categories {some(c.get("name") for c in categories.values())}, expected one of '
                         'people; name it person')
    number, = ids
    if skeletons:
        return ids, category_set(categories[number])
    sizes = {len(entry['keypoints']) // 3 for entry in annotations
             if isinstance(entry, dict) and isinstance(entry.get('keypoints'), list) and entry['keypoints']}
    if not sizes:
        return ids, None
    own = keypoints or set_of_size(max(sizes))
    if own is None or sizes != {len(own.names)}:
        raise ValueError(f'got {some(sorted(sizes))} keypoints without names, expected '
                         f'{len(own.names) if own else "17, 133 or 308"}; give their names with --keypoints')
    return ids, own


def _person(entry: dict, own: KeypointSet | None) -> Person:
    x, y, width, height = numbers(entry['bbox'], 4)
    person = Person(np.array([x, y, x + width, y + height]))
    attributes = entry.get('attributes') or {}  # of CVAT
    person.track_id = entry.get('track_id', attributes.get('track_id'))
    person.score = entry.get('score')
    if entry.get('segmentation'):
        person.segmentation, person.area = entry['segmentation'], float(entry.get('area', width * height))
    if own is not None:
        points = numbers(entry['keypoints'], 3 * len(own.names)).reshape(-1, 3) if entry.get('keypoints') \
            else np.zeros((len(own.names), 3))
        person.keypoints, person.visible = points[:, :2], points[:, 2].astype(int)
        if 'keypoint_scores' in entry:
            person.keypoint_scores = numbers(entry['keypoint_scores'], len(own.names))
    return person


def _read_parts(path: Path) -> dict[str, tuple]:
    """Returns class ids (H, W) and names of the parts by file name."""
    content = read_json(path)
    with naming(os.fspath(path), 'the parts of sapiens-mm; write it again, or remove it'):
        names = {entry['id']: entry['name'] for entry in content['categories']}
        part_names = tuple(names.get(part, f'class_{part}' if part else 'Background') for part in range(max(names) + 1))
    ids = {name: part for part, name in names.items()}
    return {name: (parts, part_names) for name, parts in _part_maps(content, os.fspath(path), ids).items()}


def _is_parts(content: Any) -> bool:
    """Returns whether all categories are of the 28 parts, as in an export of masks."""
    categories = content.get('categories') if isinstance(content, dict) else None
    return isinstance(categories, list) and bool(categories) and all(
        isinstance(entry, dict) and entry.get('name') in PART_IDS for entry in categories)


def _part_maps(content: dict, where: str, ids: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Returns class ids (H, W) by file name, later annotations above; ``ids`` are those of the categories' names."""
    with naming(where, 'COCO annotations with a mask or polygons for each part; export it again'):
        classes = {entry['id']: ids[entry['name']] for entry in content['categories']}
        images = {entry['id']: (str(entry['file_name']), np.zeros((entry['height'], entry['width']), np.uint8))
                  for entry in content['images']}
        for entry in content['annotations']:
            parts = images[entry['image_id']][1]
            parts[_mask(entry['segmentation'], parts.shape)] = classes[entry['category_id']]
    return dict(images.values())


def _mask(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    if isinstance(segmentation, dict):
        mask = decode_coco(segmentation)
        if mask.shape != size:
            raise ValueError(f'got a mask of {mask.shape[::-1]} pixels, expected {size[::-1]}')
        return mask
    return np.any([fill_polygon(numbers(polygon).reshape(-1, 2), size) for polygon in segmentation], axis=0)
