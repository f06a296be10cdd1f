"""COCO-style annotation files: reading, with checks of fields, ids and numbers.

Checks report their problems; where these are collected instead of raised, they drop the wrong entries for later checks.
"""
import hashlib
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from mmengine.fileio import get

from ..utils.files import parse_json
from ..utils.problems import DataError, Problem, report
from ..utils.text import some

#: Fields that entries of each list must have.
_FIELDS = dict(images=('id', 'file_name', 'width', 'height'), annotations=('id', 'image_id', 'category_id'),
               categories=('id', 'name'))
_UNITS = dict(images='image', annotations='annotation', categories='category')


@dataclass
class Persons:
    """The N annotated persons of a file, as arrays."""
    path: str
    entries: list[dict]
    images: list[dict]
    #: (N, 4) float64 x, y, width, height in pixels; NaN without a box.
    boxes: np.ndarray
    #: (N, K, 3) float32 x, y in pixels and visibility; 0 without keypoints.
    keypoints: np.ndarray

    @cached_property
    def labeled(self) -> np.ndarray:
        """(N, K) whether a keypoint is labeled."""
        return self.keypoints[..., 2] > 0

    @cached_property
    def crowds(self) -> np.ndarray:
        """(N, ) whether a person is a crowd."""
        return np.array([bool(entry.get('iscrowd')) for entry in self.entries], bool)

    @cached_property
    def sizes(self) -> np.ndarray:
        """(N, 2) float64 width and height of the images."""
        return np.array([(image['width'], image['height']) for image in self.images], np.float64).reshape(-1, 2)

    def ids(self, mask: np.ndarray) -> tuple[int, ...]:
        return tuple(self.entries[i]['id'] for i in np.flatnonzero(mask))

    def without(self, mask: np.ndarray) -> 'Persons':
        """Returns the persons outside of a mask (N, )."""
        if not mask.any():
            return self
        kept = np.flatnonzero(~mask)
        return Persons(self.path, [self.entries[i] for i in kept], [self.images[i] for i in kept], self.boxes[kept],
                       self.keypoints[kept])

    def report(self, mask: np.ndarray, kind: str, got: str, expected: str, total: int | None = None,
               unit: str = 'person', level: str = 'error') -> None:
        if mask.any():
            report(Problem(kind, self.path, got, expected, self.ids(mask), unit=unit, level=level,
                           total=len(mask) if total is None else int(total)))


def read_annotations(path: str, what: str = 'ann_file') -> dict:
    """Reads a COCO-style file and checks its fields and ids, which become whole numbers by :func:`whole_id`.

    Raises a FileNotFoundError that names the argument ``what``, or a DataError for another format or wrong ids.
    """
    content = read_json_of(path, what)
    if not isinstance(content, dict) or not isinstance(content.get('images'), list):
        got = type(content).__name__ if not isinstance(content, dict) else f'a dict of {some(content)}'
        raise DataError(f"{path}: got {got}, expected a COCO-style JSON file: a dict with the lists 'images', "
                        "'annotations' and 'categories'")
    content = {'annotations': [], **content}
    for name in _FIELDS:
        if name in content:
            content[name] = _check_unique_ids(path, name, _check_ids(path, name, _check_fields(
                path, name, content[name])))
    content['annotations'] = _check_crowds(path, content['annotations'])
    names = Counter(image['file_name'] for image in content['images'])
    if repeated := tuple(name for name, times in names.items() if times > 1):
        report(Problem('repeated names', path, 'are the file of several images', 'one image for each file, with all '
                       'its persons; join the images', repeated, total=len(names), unit='file', level='warning'))
    _check_references(path, content)
    _check_image_sizes(path, content)
    return content


def read_json_of(path: str, what: str) -> Any:
    """Reads a JSON file, local or of one of MMEngine's backends; ``what`` names the argument in errors."""
    try:
        return parse_json(get(path))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise FileNotFoundError(f"{what} '{path}' does not exist; correct its path") from error
    except ValueError as error:
        raise DataError(f"{what} '{path}': got {error}, expected a complete COCO-style JSON file; get it again"
                        ) from error


def whole_id(value: Any) -> int | None:
    """Returns an id as a whole number, the same in every file; None if it is not an id.

    Whole floats and text of digits are that number. Other text, and more than 18 digits, become a 48-bit hash.
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    text = str(value).strip() if isinstance(value, (int, np.integer, str)) else ''
    if re.fullmatch(r'[+-]?\d{1,18}(\.0*)?', text):
        return int(text.partition('.')[0])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), 'big') if text else None


def _refuse(kind: str, path: str, got: str, expected: str, entries: list[dict], wrong: Collection[int], name: str,
            examples: Sequence | None = None) -> list[dict]:
    if not wrong:
        return entries
    examples = [entries[i]['id'] for i in wrong] if examples is None else examples
    report(Problem(kind, path, got, expected, tuple(examples), total=len(entries), unit=_UNITS[name]))
    wrong = set(wrong)
    return [entry for i, entry in enumerate(entries) if i not in wrong]


def _check_fields(path: str, name: str, entries: Any) -> list[dict]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path}: got {type(entries).__name__} for '{name}', expected a list of dicts, as in COCO")
    fields = _FIELDS[name]
    wrong = [i for i, entry in enumerate(entries) if not all(field in entry for field in fields)
             or not isinstance(entry.get('file_name', ''), str)]
    missing = [field for field in fields if any(field not in entries[i] for i in wrong)] or ['file_name']
    return _refuse('missing fields', path, f'have no {some(map(repr, missing))}',
                   f"the fields {', '.join(fields)}; docs/your_keypoints.md has an example", entries, wrong, name,
                   [entries[i].get('id', f'number {i}') for i in wrong])


def _check_ids(path: str, name: str, entries: list[dict]) -> list[dict]:
    keys = [field for field in _FIELDS[name] if field == 'id' or field.endswith('_id')]
    if all(type(entry[key]) is int and abs(entry[key]) < 10**18 for entry in entries for key in keys):
        return entries
    converted = [{**entry, **{key: whole_id(entry[key]) for key in keys}} for entry in entries]
    wrong = [i for i, entry in enumerate(converted) if any(entry[key] is None for key in keys)]
    return _refuse('invalid ids', path, f'have {" or ".join(keys)} that is not a whole number or text',
                   'whole numbers; renumber them', converted, wrong, name,
                   [str({key: entries[i][key] for key in keys}) for i in wrong])


def _check_unique_ids(path: str, name: str, entries: list[dict]) -> list[dict]:
    counts = Counter(entry['id'] for entry in entries)
    if len(counts) == len(entries):
        return entries
    repeated = tuple(number for number, times in counts.items() if times > 1)
    report(Problem('repeated ids', path, f'share their id with another of the {name}',
                   f'one id for each of the {name}, over the whole file; renumber them', repeated,
                   sum(counts[number] for number in repeated), len(entries), _UNITS[name]))
    return list({entry['id']: entry for entry in reversed(entries)}.values())[::-1]


def _check_crowds(path: str, entries: list[dict]) -> list[dict]:
    crowds = [entry.get('iscrowd', 0) for entry in entries]
    if all(crowd in (0, 1) for crowd in crowds):
        return entries
    known = {0: 0, 1: 1, None: 0, '0': 0, '1': 1}
    crowds = [None if isinstance(crowd, (list, dict)) else known.get(crowd) for crowd in crowds]
    return _refuse('not numbers', path, 'have an iscrowd that is neither 0 nor 1', '0 for a person, 1 for a crowd',
                   [{**entry, 'iscrowd': crowd} for entry, crowd in zip(entries, crowds)],
                   [i for i, crowd in enumerate(crowds) if crowd is None], 'annotations')


def _check_references(path: str, content: dict) -> None:
    for key, name in (('image_id', 'images'), ('category_id', 'categories')):
        if name in content:
            entries, known = content['annotations'], {entry['id'] for entry in content[name]}
            wrong = [i for i, entry in enumerate(entries) if entry[key] not in known]
            ids = dict.fromkeys(entries[i][key] for i in wrong)
            content['annotations'] = _refuse(
                'unknown ids', path, f"have {key} {some(ids)}, which is not in '{name}'",
                f"an id of '{name}' ({some(known)}); take both from the same file", entries, wrong, 'annotations')


def _check_image_sizes(path: str, content: dict) -> None:
    images = content['images']
    wrong = [i for i, image in enumerate(images) if not all(
        isinstance(image[key], (int, float)) and 0 < image[key] < float('inf') for key in ('width', 'height'))]
    gone = {images[i]['id'] for i in wrong}
    content['images'] = _refuse('image sizes', path, 'have no positive width and height', 'both in pixels; add them',
                                images, wrong, 'images')
    if gone:
        content['annotations'] = [entry for entry in content['annotations'] if entry['image_id'] not in gone]


def persons_of(content: dict, path: str, fields: dict[str, int], vocabulary: str) -> Persons:
    """Returns the annotations of :func:`read_annotations` as arrays, in the order of the file's images.

    ``fields``: number of keypoints by field. A DataError if keypoints or boxes have another length, or are not numbers.
    """
    images = {image['id']: image for image in content['images']}
    position = {number: i for i, number in enumerate(images)}
    entries = sorted(content['annotations'], key=lambda entry: position[entry['image_id']])
    entries = _check_number_of_keypoints(entries, path, fields, vocabulary)

    total = sum(fields.values())
    has_box = np.array([bool(entry.get('bbox')) for entry in entries], bool)
    boxes = _numbers([entry.get('bbox') or [np.nan] * 4 for entry in entries], 4)
    keypoints = _numbers([flat_keypoints(entry, fields) if has_keypoints(entry) else [0] * (3 * total)
                          for entry in entries], 3 * total).reshape(-1, total, 3)
    persons = Persons(path, entries, [images[entry['image_id']] for entry in entries], boxes,
                      keypoints.astype(np.float32))
    bad = ~np.isfinite(keypoints).all(axis=(1, 2)) | (has_box & ~np.isfinite(boxes).all(axis=1))
    persons.report(bad, 'not numbers', 'have something else than finite numbers in their bbox or keypoints',
                   'numbers in pixels; correct or remove these annotations', unit='annotation')
    return persons.without(bad)


def _check_number_of_keypoints(entries: list[dict], path: str, fields: dict[str, int], vocabulary: str) -> list[dict]:
    def length(entry, field):
        return len(entry[field]) if isinstance(entry.get(field), (list, tuple)) else 0

    # An annotation without keypoints is a box; the dataset counts it when it drops it.
    fits = {field: [not has_keypoints(entry) or length(entry, field) == 3 * number for entry in entries]
            for field, number in fields.items()}
    right = [all(row) for row in zip(*fits.values())]
    # Where some persons fit, entries of other categories are things, which may have other keypoints.
    fitting = {entry['category_id'] for entry, fit in zip(entries, right) if fit and has_keypoints(entry)}
    for field, number in fields.items():
        wrong = [entry for entry, fit in zip(entries, fits[field])
                 if not fit and (not fitting or entry['category_id'] in fitting)]
        if wrong:
            got = length(wrong[0], field)
            report(Problem(
                'number of keypoints', path, f"have {got / 3:g} keypoints ({got} numbers) in '{field}'",
                f"{number} keypoints of '{vocabulary}' ({3 * number} numbers: x, y, visibility); use annotations of "
                'that keypoint set, or set metainfo to yours (docs/your_keypoints.md)',
                tuple(entry['id'] for entry in wrong), total=len(entries), unit='annotation'))
    return [entry for entry, fit in zip(entries, right) if fit]


def _numbers(rows: list, length: int) -> np.ndarray:
    """Rows as float64 (N, length); NaN in rows that are of another length or not numbers, such as '25'."""

    def as_array(values, shape):
        try:
            array = np.array(values)
        except ValueError:  # ragged
            return None
        return array.astype(np.float64) if array.dtype.kind in 'iuf' and array.shape == shape else None

    whole = as_array(rows, (len(rows), length)) if rows else np.zeros((0, length))
    if whole is not None:
        return whole
    nothing = np.full(length, np.nan)
    return np.stack([nothing if (row := as_array(values, (length, ))) is None else row for values in rows])


def flat_keypoints(entry: dict, fields: Collection[str]) -> list:
    if len(fields) == 1:
        return entry['keypoints']
    return [number for field in fields for number in entry[field]]


def has_keypoints(entry: dict) -> bool:
    return entry.get('keypoints') not in (None, [])


def has_area(entry: dict) -> bool:
    area = entry.get('area')
    return isinstance(area, (int, float)) and not isinstance(area, bool) and 0 < area < float('inf')
