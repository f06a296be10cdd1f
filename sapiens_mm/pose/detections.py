"""Detector boxes of a COCO-style dataset: reading, with checks of their images, units and coverage."""
from collections.abc import Collection

import numpy as np

from ..utils.problems import DataError, Problem, report
from ..utils.text import some
from .annotations import Persons, read_json_of, whole_id

_FIELDS = ('image_id', 'category_id', 'bbox', 'score')
_EXPECTED = 'dicts with image_id, category_id, bbox ([x, y, width, height] in pixels) and score'
#: A detection covers a person from this IoU on.
_MIN_IOU = .3
#: At most about this many persons are compared with detections.
_MAX_COMPARED = 2000


def read_detections(path: str) -> list[dict]:
    """Reads boxes in COCO's results format and checks their fields; ids become whole numbers."""
    boxes = read_json_of(path, 'bbox_file')
    if not isinstance(boxes, list):
        raise DataError(f"bbox_file '{path}': got a {type(boxes).__name__}, expected a list of {_EXPECTED}")
    missing = [[key for key in _FIELDS if not isinstance(box, dict) or key not in box] for box in boxes]
    lacking = np.array([bool(keys) for keys in missing], bool)
    wrong = np.array([not keys and not _is_box(box) for keys, box in zip(missing, boxes)], bool)
    _report('missing fields', path, f'lack {", ".join(key for key in _FIELDS if any(key in keys for keys in missing))}',
            _EXPECTED, lacking)
    if wrong.any():
        values = ', '.join(f'{key} {boxes[wrong.argmax()][key]!r}' for key in _FIELDS)
        _report('not numbers', path, f'have such values as {values}', f'{_EXPECTED}, all finite', wrong)
    return [{**box, 'image_id': whole_id(box['image_id']), 'category_id': whole_id(box['category_id'])}
            for box, bad in zip(boxes, lacking | wrong) if not bad]


def _is_box(box: dict) -> bool:
    numbers = [*box['bbox'], box['score']] if isinstance(box['bbox'], (list, tuple)) else []
    return (len(numbers) == 5 and all(isinstance(number, (int, float)) for number in numbers)
            and bool(np.isfinite(numbers).all())
            and None not in (whole_id(box['image_id']), whole_id(box['category_id'])))


def _report(kind: str, path: str, got: str, expected: str, mask: np.ndarray) -> None:
    if mask.any():
        report(Problem(kind, f"bbox_file '{path}'", got, expected, _entries(mask), total=len(mask), unit='box'))


def _entries(mask: np.ndarray) -> tuple[str, ...]:
    return tuple(f'entry {i}' for i in np.flatnonzero(mask))


def select_detections(boxes: list[dict], path: str, categories: set[int], images: dict[int, dict], ann_file: str,
                      skipped: Collection[int] = ()) -> tuple[list[dict], dict[str, tuple[str, ...]]]:
    """Checks boxes; returns those of persons (``categories``; empty: any) in used images, others by reason."""
    persons = np.array([not categories or box['category_id'] in categories for box in boxes], bool)
    if not persons.any():
        _report('unknown ids', path, f"have category_id {some(sorted({box['category_id'] for box in boxes}))}",
                f"that of the persons in '{ann_file}' ({some(sorted(categories))}); give both the same", ~persons)
    here = np.array([box['image_id'] in images for box in boxes], bool)
    unknown = persons & ~here & np.array([box['image_id'] not in skipped for box in boxes], bool)
    ids = dict.fromkeys(boxes[i]['image_id'] for i in np.flatnonzero(unknown))
    _report('unknown ids', path, f"are in images that are not in '{ann_file}': {some(ids)}",
            'boxes and annotations of the same split', unknown)

    usable = persons & here
    corners = np.array([box['bbox'] for box in boxes], np.float64).reshape(-1, 4)
    nowhere = dict(width=np.nan, height=np.nan)
    sizes = np.array([[images.get(box['image_id'], nowhere)[side] for side in ('width', 'height')] for box in boxes],
                     np.float64).reshape(-1, 2)
    _check_units(usable, corners, sizes, path)
    low, high = corners[:, :2].clip(0, sizes), (corners[:, :2] + corners[:, 2:]).clip(0, sizes)
    flat = usable & ~(corners[:, 2:] > 0).all(axis=1)
    outside = usable & ~flat & ~(high > low).all(axis=1)
    reasons = {'another category': ~persons, 'no area': flat, 'no part in the image': outside}
    return ([boxes[i] for i in np.flatnonzero(usable & ~flat & ~outside)],
            {reason: _entries(mask) for reason, mask in reasons.items() if mask.any()})


def _check_units(usable: np.ndarray, boxes: np.ndarray, sizes: np.ndarray, path: str) -> None:
    low, shape = boxes[:, :2], boxes[:, 2:]
    high, half = low + shape, usable.sum() / 2
    small = usable & (np.abs(boxes) <= 2).all(axis=1) & (high > 0).all(axis=1) & (sizes > 16).all(axis=1)
    if small.sum() > half:
        _report('units of coordinates', path, 'lie within 0 to 1, relative to the image',
                'pixels; multiply x and widths by the width of the image, y and heights by its height', small)
        return
    corners = usable & (high > 1.1 * sizes + 1).any(axis=1) & (shape <= sizes + 1).all(axis=1)
    corners &= (shape > low).all(axis=1)
    if corners.sum() > half:
        _report('boxes and keypoints', path, 'reach out of their image and fit as x0, y0, x1, y1',
                'x, y, width, height; convert the boxes', corners)


def check_coverage(persons: Persons, boxes: list[dict], path: str) -> None:
    """Reports the annotated persons without a box; many of them mean boxes of other images or units."""
    by_image: dict[int, list] = {}
    for box in boxes:
        x, y, width, height = box['bbox']
        by_image.setdefault(box['image_id'], []).append((x, y, x + width, y + height))
    people = np.flatnonzero(persons.labeled.any(axis=1) & ~persons.crowds & (persons.boxes[:, 2:] > 0).all(axis=1))
    people = people[::max(1, len(people) // _MAX_COMPARED)]
    missed = []
    for person in people:
        x, y, width, height = persons.boxes[person]
        others = np.array(by_image.get(persons.images[person]['id'], ()), np.float64).reshape(-1, 4)
        overlap = np.minimum(others[:, 2:], (x + width, y + height)) - np.maximum(others[:, :2], (x, y))
        overlap = overlap.clip(0).prod(axis=1)
        union = (others[:, 2:] - others[:, :2]).prod(axis=1) + width * height - overlap
        if not (overlap > _MIN_IOU * union).any():
            missed.append(persons.entries[person]['id'])
    if missed:
        report(Problem('persons without a box', f"bbox_file '{path}'", f'have no box of an IoU above {_MIN_IOU}',
                       'a box for each person, in pixels of the image; check images, units and categories',
                       tuple(missed), total=len(people), unit='person',
                       level='warning' if len(missed) > len(people) / 2 else 'note'))
