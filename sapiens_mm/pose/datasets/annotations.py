"""Checks of COCO-style annotations and detections: ids, boxes, keypoints, visibilities, mirror tables, sigmas.

A check reports what is wrong by :func:`sapiens_mm.utils.problems.report`. Where problems are collected, it leaves out
the entries that are wrong, so that the checks after it can look at the others.
"""
import contextlib
import hashlib
import io
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.fileio import get
from xtcocotools.coco import COCO

from ...utils.files import parse_json
from ...utils.problems import DataError, Problem, report
from ...utils.text import some
from ...vocabularies.mirror import check_mirror

#: Least and largest sigma of a keypoint: COCO's are 0.025 to 0.107.
SIGMAS = (.001, .5)
#: Coordinates this small, in pixels, are taken as shares of the image.
_NORMALIZED = 2.
#: Persons whose box is elsewhere than their keypoints, as a share of the file, that are taken for single mistakes.
_STRAY_SHARE = 1e-2


@dataclass
class Persons:
    """The annotated persons of a file, as arrays.

    Attributes:
        entries: N annotations.
        images: Their images.
        boxes: (N, 4) float64 x, y, width, height in pixels; NaN where an annotation has none.
        keypoints: (N, K, 3) float32 x, y in pixels and visibility; visibility 0 where an annotation has none.
    """
    entries: list[dict]
    images: list[dict]
    boxes: np.ndarray
    keypoints: np.ndarray

    def ids(self, wrong: np.ndarray) -> tuple:
        """The ids of some persons, given by a mask (N, )."""
        return tuple(self.entries[i]['id'] for i in np.flatnonzero(wrong))

    @property
    def crowds(self) -> np.ndarray:
        """(N, ) whether a person is a crowd."""
        return np.array([bool(entry.get('iscrowd')) for entry in self.entries], bool)

    def labelled_ids(self) -> set[int]:
        """The ids of persons with a labelled keypoint, without crowds."""
        has_one = (self.keypoints[..., 2] > 0).any(axis=1)
        return {entry['id'] for entry, has in zip(self.entries, has_one) if has and not entry.get('iscrowd')}

    def without(self, wrong: np.ndarray) -> 'Persons':
        """The persons outside of a mask (N, )."""
        if not wrong.any():
            return self
        left = np.flatnonzero(~wrong)
        return Persons([self.entries[i] for i in left], [self.images[i] for i in left], self.boxes[left],
                       self.keypoints[left])


def read_annotations(path: str, what: str = 'ann_file') -> dict:
    """The content of a COCO-style file, its ids whole numbers that are unique and meet.

    Text and whole floats become whole numbers (:func:`whole_id`), the same ones in every file.

    Raises:
        FileNotFoundError: The file does not exist.
        DataError: It is not COCO-style, or its ids repeat or do not meet.
    """
    content = read_json_of(path, what)
    lists = dict(images=('id', 'file_name', 'width', 'height'), annotations=('id', 'image_id', 'category_id'),
                 categories=('id', 'name'))
    if not isinstance(content, dict) or not isinstance(content.get('images'), list):
        found = type(content).__name__ if not isinstance(content, dict) else f'a dict of {some(content)}'
        raise DataError(f"{path}: got {found}, expected a COCO-style JSON file: a dict with the lists 'images', "
                        "'annotations' and 'categories'")
    content = {**content}
    for name, fields in lists.items():
        if name in content:
            content[name] = _with_fields(path, name, content[name], fields)
            content[name] = _with_unique_ids(path, name, _with_whole_ids(path, name, content[name], fields))
    content['annotations'] = _with_crowds(path, content.get('annotations', []))
    names = Counter(image['file_name'] for image in content['images'])
    if len(names) < len(content['images']):
        repeated = tuple(name for name, times in names.items() if times > 1)
        report(Problem('repeated names', path, 'are the file of several images', 'one image for each file, with all '
                       'its persons; join the images', repeated, total=len(names), unit='file', level='warning'))
    _check_references(path, content)
    return content


def read_json_of(path: str, what: str) -> Any:
    """The value of a JSON file, local or of one of MMEngine's backends.

    Raises:
        DataError: The file is not JSON; ``what`` names the argument that it came from.
    """
    try:
        return parse_json(get(path))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise FileNotFoundError(f"{what} '{path}' does not exist; correct its path") from error
    except ValueError as error:
        raise DataError(f"{what} '{path}': got {error}, expected a complete COCO-style JSON file; get it again"
                        ) from error


def whole_id(value: Any) -> int | None:
    """An id as a whole number, the same in every file; None if it is no id.

    Whole floats and text of digits are that number; other text, and more than 18 digits, become a 48-bit hash.
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    text = str(value).strip() if isinstance(value, (int, np.integer, str)) else ''
    if re.fullmatch(r'[+-]?\d{1,18}(\.0*)?', text):
        return int(text.partition('.')[0])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), 'big') if text else None


def _with_fields(path: str, name: str, entries: Any, fields: Sequence[str]) -> list[dict]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path}: got {type(entries).__name__} for '{name}', expected a list of dicts, as in COCO")
    wrong = [i for i, entry in enumerate(entries) if not all(field in entry for field in fields)
             or not isinstance(entry.get('file_name', ''), str)]
    if not wrong:
        return entries
    lacking = [field for field in fields if any(field not in entries[i] for i in wrong)] or ['file_name']
    report(Problem('missing fields', path, f'have no {some(map(repr, lacking))}',
                   f"the fields {', '.join(fields)}; docs/your_keypoints.md has an example",
                   tuple(entries[i].get('id', f'number {i}') for i in wrong), total=len(entries), unit=_unit(name)))
    wrong = set(wrong)
    return [entry for i, entry in enumerate(entries) if i not in wrong]


def _with_whole_ids(path: str, name: str, entries: list[dict], fields: Sequence[str]) -> list[dict]:
    keys = [field for field in fields if field == 'id' or field.endswith('_id')]
    if all(type(entry[key]) is int and abs(entry[key]) < 10**18 for entry in entries for key in keys):
        return entries
    converted = [{**entry, **{key: whole_id(entry[key]) for key in keys}} for entry in entries]
    wrong = [i for i, entry in enumerate(converted) if any(entry[key] is None for key in keys)]
    if wrong:
        report(Problem('invalid ids', path, f'have {" or ".join(keys)} that is no whole number or text',
                       'whole numbers; number them anew',
                       tuple(str({key: entries[i][key] for key in keys}) for i in wrong), total=len(entries),
                       unit=_unit(name)))
    wrong = set(wrong)
    return [entry for i, entry in enumerate(converted) if i not in wrong]


def _with_unique_ids(path: str, name: str, entries: list[dict]) -> list[dict]:
    counts = Counter(entry['id'] for entry in entries)
    if len(counts) == len(entries):
        return entries
    repeated = tuple(number for number, times in counts.items() if times > 1)
    report(Problem('repeated ids', path, f'share their id with another of the {name}',
                   f'one id for each of the {name}, over the whole file; number them anew', repeated,
                   sum(counts[number] for number in repeated), len(entries), _unit(name)))
    return list({entry['id']: entry for entry in reversed(entries)}.values())[::-1]


def _with_crowds(path: str, entries: list[dict]) -> list[dict]:
    """Annotations with an ``iscrowd`` of 0 or 1."""
    if all(entry.get('iscrowd', 0) in (0, 1) for entry in entries):
        return entries
    crowds = [{None: 0, '0': 0, '1': 1}.get(value, value) if (value := entry.get('iscrowd', 0)) is None
              or isinstance(value, (str, int, float)) else -1 for entry in entries]
    wrong = [i for i, crowd in enumerate(crowds) if crowd not in (0, 1)]
    if wrong:
        report(Problem('not numbers', path, 'have an iscrowd that is neither 0 nor 1', '0 for a person, 1 for a crowd',
                       tuple(entries[i]['id'] for i in wrong), total=len(entries), unit='annotation'))
    wrong = set(wrong)
    return [{**entry, 'iscrowd': int(crowd)} for i, (entry, crowd) in enumerate(zip(entries, crowds)) if i not in wrong]


def _unit(name: str) -> str:
    return 'category' if name == 'categories' else name[:-1]


def _check_references(path: str, content: dict) -> None:
    entries = content['annotations']
    for key, name in (('image_id', 'images'), ('category_id', 'categories')):
        if name not in content:
            continue
        known = {entry['id'] for entry in content[name]}
        wrong = [entry for entry in entries if entry[key] not in known]
        if wrong:
            report(Problem('unknown ids', path,
                           f"have {key} {some(dict.fromkeys(entry[key] for entry in wrong))}, which is not in '{name}'",
                           f"an id of '{name}' ({some(known)}); take both from the same file",
                           tuple(entry['id'] for entry in wrong), total=len(entries), unit='annotation'))
            gone = {entry['id'] for entry in wrong}
            entries = [entry for entry in entries if entry['id'] not in gone]
    content['annotations'] = entries
    wrong = [image for image in content['images'] if not all(
        isinstance(image[key], (int, float)) and 0 < image[key] < float('inf') for key in ('width', 'height'))]
    if wrong:
        report(Problem('image sizes', path, 'have no positive width and height', 'both in pixels; add them',
                       tuple(image['id'] for image in wrong), total=len(content['images']), unit='image'))
        gone = {image['id'] for image in wrong}
        content['images'] = [image for image in content['images'] if image['id'] not in gone]
        content['annotations'] = [entry for entry in entries if entry['image_id'] not in gone]


def persons_of(content: dict, path: str, fields: dict[str, int], vocabulary: str) -> Persons:
    """The annotations of a file as arrays, image by image, in the order of the file's images.

    Args:
        content: From :func:`read_annotations`.
        path: For messages.
        fields: Number of keypoints in each field of an annotation.
        vocabulary: The keypoint set, for messages.

    Raises:
        DataError: Keypoints or boxes have another length, or are no numbers.
    """
    images = {image['id']: image for image in content['images']}
    by_image: dict[int, list[dict]] = {number: [] for number in images}
    for entry in content['annotations']:
        by_image[entry['image_id']].append(entry)
    entries = [entry for found in by_image.values() for entry in found]
    # A box without keypoints is no person, and is counted when the data set drops it.
    wrong = {field: [entry for entry in entries if has_keypoints(entry)
                     and len(_sized(entry.get(field))) != 3 * number] for field, number in fields.items()}
    gone = {entry['id'] for found in wrong.values() for entry in found}
    fitting = {entry['category_id'] for entry in entries if has_keypoints(entry) and entry['id'] not in gone}
    for field, found in wrong.items():
        # Where persons are right, things of another category may have other keypoints.
        found = [entry for entry in found if not fitting or entry['category_id'] in fitting]
        if found:
            numbers = len(_sized(found[0].get(field)))
            report(Problem(
                'number of keypoints', path, f"have {numbers / 3:g} keypoints ({numbers} numbers) in '{field}'",
                f"{fields[field]} keypoints of '{vocabulary}' ({3 * fields[field]} numbers: x, y, visibility); use "
                'annotations of that keypoint set, or set metainfo to yours (docs/your_keypoints.md)',
                tuple(entry['id'] for entry in found), total=len(entries), unit='annotation'))
    entries = [entry for entry in entries if entry['id'] not in gone]
    total = sum(fields.values())
    keypoints, boxes, bad = _arrays(entries, fields, total)
    if bad.any():
        report(Problem('not numbers', path, 'have something else than finite numbers in their bbox or keypoints',
                       'numbers in pixels; correct or remove these annotations',
                       tuple(entries[i]['id'] for i in np.flatnonzero(bad)), total=len(entries), unit='annotation'))
    persons = Persons(entries, [images[entry['image_id']] for entry in entries], boxes, keypoints)
    return persons.without(bad)


def has_keypoints(entry: dict) -> bool:
    """Whether an annotation has any keypoints, labelled or not."""
    return entry.get('keypoints') not in (None, [])


def _sized(value: Any) -> Sequence:
    return value if isinstance(value, (list, tuple)) else ()


def _arrays(entries: list[dict], fields: dict[str, int], total: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints (N, K, 3), boxes (N, 4), and where these are no finite numbers (N, )."""
    no_keypoints, no_box = [0] * (3 * total), [np.nan] * 4
    rows = [flat_keypoints(entry, fields) if has_keypoints(entry) else no_keypoints for entry in entries]
    corners = [entry.get('bbox') or no_box for entry in entries]
    bad = np.zeros(len(entries), bool)
    try:
        keypoints, boxes = _numbers(rows, 3 * total).reshape(-1, total, 3), _numbers(corners, 4)
    except ValueError:
        keypoints, boxes = np.zeros((len(entries), total, 3)), np.full((len(entries), 4), np.nan)
        for i, (row, box) in enumerate(zip(rows, corners)):
            try:
                keypoints[i], boxes[i] = _numbers([row], 3 * total).reshape(-1, 3), _numbers([box], 4)
            except ValueError:
                bad[i] = True
    has_box = np.array([bool(entry.get('bbox')) for entry in entries], bool)
    bad |= ~np.isfinite(keypoints).all(axis=(1, 2)) | (has_box & ~np.isfinite(boxes).all(axis=1))
    return keypoints.astype(np.float32), boxes, bad


def _numbers(rows: list, length: int) -> np.ndarray:
    """Rows as float64 (N, length); a ValueError where one is no number, such as text that reads like one."""
    array = np.array(rows)
    if len(rows) and (array.dtype.kind not in 'iuf' or array.shape != (len(rows), length)):
        raise ValueError(f'{array.dtype} {array.shape}')
    return array.astype(np.float64).reshape(-1, length)


def flat_keypoints(entry: dict, fields: dict[str, int] | Sequence[str]) -> list:
    """The numbers of an annotation's keypoints in one list, from one field or from several."""
    if len(fields) == 1:
        return entry['keypoints']
    return [number for field in fields for number in entry[field]]


def labelled(entry: dict) -> bool:
    """Whether an annotation is that of a person with a labelled keypoint, in any of its fields."""
    return not entry.get('iscrowd') and any(
        flag > 0 for name, values in entry.items() if name == 'keypoints' or name.endswith('_kpts')
        for flag in values[2::3])


def has_area(entry: dict) -> bool:
    """Whether an annotation has a finite area above 0."""
    area = entry.get('area')
    return isinstance(area, (int, float)) and not isinstance(area, bool) and 0 < area < float('inf')


def check_persons(persons: Persons, path: str) -> Persons:
    """Checks units, places and visibilities; returns the persons that are in order.

    Raises:
        DataError: Visibilities are out of range, coordinates are not in pixels, or boxes are not x, y, width, height
            or lie elsewhere than their keypoints.
    """
    flags = persons.keypoints[..., 2]
    wrong = ((flags < 0) | (flags > 2)).any(axis=1)
    if wrong.any():
        values = np.unique(flags[(flags < 0) | (flags > 2)])
        report(Problem('visibilities', path, f'have visibilities {some(map("{:g}".format, values))}',
                       '0 (not labelled) or up to 2 (labelled: 1 hidden, 2 visible, a confidence); convert them',
                       persons.ids(wrong), total=len(wrong), unit='person'))
        persons = persons.without(wrong)
    persons = _check_units(persons, path)
    shown = Counter((entry['image_id'], points.tobytes()) for entry, points in zip(persons.entries, persons.keypoints)
                    if (points[:, 2] > 0).any())
    if len(shown) < len(persons.entries) and (repeated := [image for (image, _), times in shown.items() if times > 1]):
        report(Problem('repeated persons', path, 'have the same keypoints more than once', 'each person once; remove '
                       'the copies', tuple(dict.fromkeys(repeated)), unit='image', level='warning'))
    return _check_places(persons, path)


def _check_units(persons: Persons, path: str) -> Persons:
    """Whether coordinates are in pixels: a person in a corner of the image may be as small as a share of it."""
    points, labelled = persons.keypoints[..., :2], persons.keypoints[..., 2] > 0
    boxes, people = persons.boxes, labelled.any(axis=1) & ~persons.crowds
    within = ((np.abs(points).max(axis=2) <= _NORMALIZED) | ~labelled).all(axis=1) & people
    ends = np.abs(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)).max(axis=1)
    large = np.array([max(image['width'], image['height']) for image in persons.images], float) > 8 * _NORMALIZED
    wrong = within & large & (labelled.sum(axis=1) >= 3) & (boxes[:, 2:].max(axis=1) > 8 * _NORMALIZED)
    small = people & large & (within | (ends <= _NORMALIZED))
    if small.sum() > people.sum() / 2:
        wrong |= small
    # Of one person in a corner the area tells.
    areas = np.array([entry['area'] if has_area(entry) else 4. for entry in persons.entries], float)
    wrong |= small & within & ((areas < 1) | (areas > 16))
    if wrong.any():
        report(Problem('units of coordinates', path, 'have keypoints or a box within 0 to 1, as shares of the image',
                       'pixels; multiply x and widths by the width of the image, y and heights by its height',
                       persons.ids(wrong), total=len(wrong), unit='person'))
    sizes = np.array([(image['width'], image['height']) for image in persons.images], float).reshape(-1, 2)
    reach = (points / sizes[:, None]).max(axis=2, initial=0, where=labelled[..., None])
    if people.sum() >= 10 and reach.max() < .55 and sizes[people].min() > 100 and not wrong.any():
        report(Problem('units of coordinates', path, 'have all their keypoints in the upper left quarter of the image',
                       'pixels of the image whose width and height the file states; check that they are no percents, '
                       'and that the image had that size', persons.ids(people), total=len(people), unit='person',
                       level='warning'))
    return persons.without(wrong)


def _check_places(persons: Persons, path: str) -> Persons:
    """Whether boxes are where the keypoints are, and keypoints in the image."""
    points, labelled = persons.keypoints[..., :2].astype(np.float64), persons.keypoints[..., 2] > 0
    boxes = persons.boxes
    usable = labelled.any(axis=1) & (boxes[:, 2:] > 0).all(axis=1) & ~persons.crowds
    if not usable.any():
        return persons
    sizes = np.array([(image['width'], image['height']) for image in persons.images], np.float64)

    def share_inside(low: np.ndarray, high: np.ndarray, margin: float) -> np.ndarray:
        low, high = low - margin * (high - low), high + margin * (high - low)
        inside = ((points >= low[:, None]) & (points <= high[:, None])).all(axis=2)
        return (inside & labelled).sum(axis=1) / labelled.sum(axis=1).clip(1)

    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    corners = usable & (labelled.sum(axis=1) >= 3) & (boxes[:, 2:] > low).all(axis=1)
    corners &= (boxes[:, 2:] <= sizes + 1).all(axis=1)
    corners &= _misfit(points, labelled, low, boxes[:, 2:]) < .5 * _misfit(points, labelled, low, high)
    if corners.sum() > usable.sum() / 2:
        report(Problem('boxes and keypoints', path, 'have a box that fits their keypoints as x0, y0, x1, y1',
                       'x, y, width, height; convert the boxes', persons.ids(corners), total=int(usable.sum()),
                       unit='person'))
        return persons
    if np.median(share_inside(np.zeros_like(sizes), sizes, .1)[usable]) < .5:
        outside = usable & (share_inside(np.zeros_like(sizes), sizes, .1) < .5)
        report(Problem('keypoints and images', path, 'have most of their keypoints outside of the image',
                       'pixels of the image whose width and height the file states; check the unit and the size that '
                       'the images had when they were annotated', persons.ids(outside), total=int(usable.sum()),
                       unit='person'))
        return persons
    zero = usable & ((points == 0).all(axis=2) & labelled).any(axis=1) & (low > 0).any(axis=1)
    if zero.sum() > _STRAY_SHARE * usable.sum():
        report(Problem('visibilities', path, 'have keypoints at 0, 0 that are marked as labelled', 'visibility 0 for '
                       'keypoints that are missing; correct the flags', persons.ids(zero), total=int(usable.sum()),
                       unit='person'))
    elsewhere = share_inside(low, high, .5) == 0
    wrong = usable & (share_inside(low, high, .1) < .5)
    if wrong.sum() <= usable.sum() / 2:
        wrong = usable & elsewhere
    if wrong.any():
        few = wrong.sum() <= _STRAY_SHARE * usable.sum()
        report(Problem('boxes and keypoints', path, 'have a box that does not contain their keypoints',
                       'bbox as x, y, width, height around the keypoints, both in pixels; check their units and ids',
                       persons.ids(wrong), total=int(usable.sum()), unit='person', level='warning' if few else 'error'))
        return persons if few else persons.without(wrong)
    margin = .5 * boxes[:, 2:]
    near = ((points >= (low - margin)[:, None]) & (points <= (high + margin)[:, None])).all(axis=2)
    counted = labelled & usable[:, None]
    astray = np.flatnonzero((counted & ~near).sum(axis=0) > np.maximum(counted.sum(axis=0) / 2, 2))
    if len(astray):
        report(Problem('boxes and keypoints', path, 'lie far outside of the box in most persons', 'all keypoints in '
                       'pixels; check the units of these', tuple(f'number {index}' for index in astray),
                       total=points.shape[1], unit='keypoint'))
    return persons


def _misfit(points: np.ndarray, labelled: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(N, ) pixels by which the labelled points (N, K, 2) end elsewhere than boxes from ``low`` to ``high`` (N, 2)."""
    least = np.where(labelled[..., None], points, np.inf).min(axis=1)
    most = np.where(labelled[..., None], points, -np.inf).max(axis=1)
    return np.abs(least - low).sum(axis=1) + np.abs(most - high).sum(axis=1)


def dropped(persons: Persons, num_keypoints: np.ndarray) -> dict[str, np.ndarray]:
    """Why persons can be no sample: reason -> mask (N, ), of which each person has one at most.

    Args:
        persons: N persons.
        num_keypoints: (N, ) labelled keypoints that count.
    """
    boxes = persons.boxes
    size = np.array([(image['width'], image['height']) for image in persons.images], np.float64).reshape(-1, 2)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    clipped = high.clip(0, size - 1).astype(np.float32) - low.clip(0, size - 1).astype(np.float32)
    rules = {
        'a crowd': persons.crowds,
        'no keypoints': np.array([not has_keypoints(entry) for entry in persons.entries], bool),
        'no box': np.isnan(boxes).any(axis=1),
        'no labelled keypoint': num_keypoints <= 0,
        # mmpose leaves these out, too.
        'all keypoints at 0, 0 or outside': persons.keypoints[..., :2].max(axis=(1, 2), initial=0) <= 0,
        'a box of negative size': (boxes[:, 2:] < 0).any(axis=1),
        'a box without area': (boxes[:, 2:] == 0).any(axis=1),
        'a box outside of the image': ~(clipped > 0).all(axis=1),
    }
    found, rest = {}, np.ones(len(boxes), bool)
    for reason, mask in rules.items():
        found[reason] = mask & rest
        rest &= ~mask
    return {reason: mask for reason, mask in found.items() if mask.any()}


def check_metainfo(metainfo: dict, where: str) -> None:
    """Checks the tables of a keypoint set.

    Raises:
        DataError: ``flip_indices`` are no pairs, or ``sigmas`` or keypoint weights are not as many as the keypoints, or
            not positive.
    """
    names = [metainfo['keypoint_id2name'][i] for i in sorted(metainfo['keypoint_id2name'])]
    check_mirror(names, metainfo['flip_indices'], where)
    check_numbers(names, metainfo['sigmas'], 'sigmas', where, *SIGMAS)
    check_numbers(names, metainfo['dataset_keypoint_weights'], 'joint_weights', where, 0, 1e6)


def check_numbers(names: Sequence[str], values: Sequence[float], what: str, where: str, low: float, high: float
                  ) -> None:
    """Checks a number for each keypoint.

    Raises:
        DataError: There are more or fewer than keypoints, one is out of its range, or all are 0.
    """
    values = np.asarray(values, np.float64).ravel()
    if len(values) != len(names):
        report(Problem('sigmas and weights', where, f'{len(values)} {what}',
                       f'{len(names)}, one for each keypoint; correct the metainfo'))
        return
    wrong = ~np.isfinite(values) | (values < low) | (values > high)
    if not wrong.any() and not values.any():
        wrong[:] = True
    if wrong.any():
        report(Problem('sigmas and weights', where, f'have {what} {some(map("{:g}".format, values[wrong]))}',
                       f'{low:g} to {high:g}, and one above 0; correct the metainfo',
                       tuple(names[i] for i in np.flatnonzero(wrong)), total=len(names), unit='keypoint'))


def name_hashes(file_names: Sequence[str]) -> np.ndarray:
    """A number for each image's file name, by which images of one id in two files are compared."""
    return np.array([zlib.crc32(str(name).rpartition('/')[2].encode()) for name in file_names], np.int64)


def person_hashes(entries: Sequence[dict]) -> dict[int, int]:
    """Id -> a number for what an annotation says, of the labelled persons: equal in two files that say the same."""
    return {entry['id']: zlib.crc32(repr((entry['image_id'], entry['category_id'], [
        float(value) for value in entry['keypoints']])).encode()) for entry in entries if labelled(entry)}


def ground_truth(content: dict, evaluated: dict | None = None) -> COCO:
    """Annotations as xtcocotools reads them, reduced to what a data set holds.

    Args:
        content: From :func:`read_annotations`.
        evaluated: What ``evaluated_by`` gives of the data set; by default all images and persons.
    """
    entries, images = content['annotations'], content['images']
    if evaluated is not None:
        kept, missing = set(evaluated['images']), set(evaluated['missing'])
        images = [image for image in images if image['id'] in kept]
        entries = [entry for entry in entries if entry['image_id'] in kept and entry['id'] not in missing]
    coco = COCO()
    # xtcocotools asks every person for an area, also those whom it then ignores.
    coco.dataset = {**content, 'images': images, 'annotations': [
        {'iscrowd': 0, **entry, 'area': entry['area'] if has_area(entry) else .53 * np.prod(entry['bbox'][2:])}
        for entry in entries if entry.get('bbox') and has_keypoints(entry)]}
    if any(entry['id'] < 0 for entry in entries):  # which xtcocotools takes for unmatched ones
        for number, entry in enumerate(coco.dataset['annotations'], 1):
            entry['id'] = number
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco
