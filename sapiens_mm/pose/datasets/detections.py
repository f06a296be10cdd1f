"""Checks of the boxes that a person detector wrote for a COCO-style data set."""
import numpy as np

from ...utils.problems import DataError, Problem, report
from ...utils.text import some
from .annotations import Persons, read_json_of, whole_id

_FIELDS = ('image_id', 'category_id', 'bbox', 'score')
_EXPECTED = 'dicts with image_id, category_id, bbox ([x, y, width, height] in pixels) and score'


def read_detections(path: str) -> list[dict]:
    """The boxes of a file in COCO's results format, their ids whole numbers.

    Raises:
        DataError: The file is no list of boxes, or a box lacks a field or has something else than finite numbers.
    """
    boxes = read_json_of(path, 'bbox_file')
    if not isinstance(boxes, list):
        raise DataError(f"bbox_file '{path}': got a {type(boxes).__name__}, expected a list of {_EXPECTED}")
    lacking = [i for i, box in enumerate(boxes) if not isinstance(box, dict) or not all(key in box for key in _FIELDS)]
    gone = set(lacking)
    wrong = [i for i, box in enumerate(boxes) if i not in gone and not _is_box(box)]
    if lacking:
        missing = [key for key in _FIELDS
                   if any(not isinstance(boxes[i], dict) or key not in boxes[i] for i in lacking)]
        _report('missing fields', path, f'lack {", ".join(missing)}', _EXPECTED, lacking, len(boxes))
    if wrong:
        first = boxes[wrong[0]]
        _report('not numbers', path, f'have such values as bbox {first["bbox"]}, score {first["score"]}, image_id '
                f'{first["image_id"]!r}, category_id {first["category_id"]!r}', f'{_EXPECTED}, all finite', wrong,
                len(boxes))
    gone.update(wrong)
    return [{**box, 'image_id': whole_id(box['image_id']), 'category_id': whole_id(box['category_id'])}
            for i, box in enumerate(boxes) if i not in gone]


def _is_box(box: dict) -> bool:
    numbers = [*box['bbox'], box['score']] if isinstance(box['bbox'], (list, tuple)) else []
    return (len(numbers) == 5 and all(isinstance(number, (int, float)) for number in numbers)
            and bool(np.isfinite(numbers).all())
            and None not in (whole_id(box['image_id']), whole_id(box['category_id'])))


def _report(kind: str, path: str, got: str, expected: str, indices: list[int], total: int) -> None:
    report(Problem(kind, f"bbox_file '{path}'", got, expected, tuple(f'entry {i}' for i in indices), total=total,
                   unit='box'))


def select_detections(boxes: list[dict], path: str, wanted: set[int], images: dict[int, dict], ann_file: str,
                      skipped: set[int] = frozenset()) -> tuple[list[dict], dict[str, list[str]]]:
    """The boxes of persons that have a place in their image, and why the others are left out.

    Args:
        boxes: From :func:`read_detections`.
        path: Their file, for messages.
        wanted: Category ids of the annotated persons.
        images: The annotated images, by id.
        ann_file: Their file, for messages.
        skipped: Ids of images that are left out on purpose.

    Returns:
        The boxes, and by reason the entries that are none of them.

    Raises:
        DataError: No box is of a wanted category, images are not those of the annotations, or boxes are in other units.
    """
    gone: dict[str, list[str]] = {}
    persons = _of_categories(boxes, path, wanted, ann_file, gone)
    unknown = [i for i in persons if boxes[i]['image_id'] not in images and boxes[i]['image_id'] not in skipped]
    if unknown:
        found = some(dict.fromkeys(boxes[i]['image_id'] for i in unknown))
        _report('unknown ids', path, f"are in images that are not in '{ann_file}': {found}",
                'boxes and annotations of the same split', unknown, len(boxes))
    persons = [i for i in persons if boxes[i]['image_id'] in images]
    corners = np.array([boxes[i]['bbox'] for i in persons], np.float64).reshape(-1, 4)
    sizes = np.array([(images[boxes[i]['image_id']]['width'], images[boxes[i]['image_id']]['height'])
                      for i in persons], np.float64).reshape(-1, 2)
    _check_units(persons, corners, sizes, path)
    low, high = corners[:, :2].clip(0, sizes), (corners[:, :2] + corners[:, 2:]).clip(0, sizes)
    usable = (corners[:, 2:] > 0).all(axis=1)
    for reason, mask in (('no area', ~usable), ('no part in the image', usable & ~(high > low).all(axis=1))):
        if mask.any():
            gone[reason] = [f'entry {persons[i]}' for i in np.flatnonzero(mask)]
            usable &= ~mask
    return [boxes[persons[i]] for i in np.flatnonzero(usable)], gone


def _of_categories(boxes: list[dict], path: str, wanted: set[int], ann_file: str, gone: dict[str, list[str]]
                   ) -> list[int]:
    persons = [i for i, box in enumerate(boxes) if not wanted or box['category_id'] in wanted]
    if boxes and not persons:
        found = some(sorted({box['category_id'] for box in boxes}))
        _report('unknown ids', path, f'have category_id {found}',
                f"that of the persons in '{ann_file}' ({some(sorted(wanted))}); give both the same", [
                    *range(len(boxes))], len(boxes))
    if len(persons) < len(boxes):
        kept = set(persons)
        gone['another category'] = [f'entry {i}' for i in range(len(boxes)) if i not in kept]
    return persons


def _check_units(persons: list[int], boxes: np.ndarray, sizes: np.ndarray, path: str) -> None:
    high = boxes[:, :2] + boxes[:, 2:]
    small = (np.abs(boxes) <= 2).all(axis=1) & (high > 0).all(axis=1) & (sizes > 16).all(axis=1)
    if small.any() and small.sum() > len(boxes) / 2:
        _report('units of coordinates', path, 'lie within 0 to 1, as shares of the image',
                'pixels; multiply x and widths by the width of the image, y and heights by its height',
                [persons[i] for i in np.flatnonzero(small)], len(boxes))
        return
    corners = (high > sizes + .1 * sizes + 1).any(axis=1) & (boxes[:, 2:] <= sizes + 1).all(axis=1)
    corners &= (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    if corners.sum() > len(boxes) / 2:
        _report('boxes and keypoints', path, 'reach out of their image and fit as x0, y0, x1, y1',
                'x, y, width, height; convert the boxes', [persons[i] for i in np.flatnonzero(corners)], len(boxes))



def check_coverage(persons: Persons, boxes: list[dict], path: str, least_iou: float = .3, most: int = 2000) -> None:
    """Says how many annotated persons have a box of the detector; few hint at boxes of other images or units."""
    found: dict[int, list] = {}
    for box in boxes:
        x, y, width, height = box['bbox']
        found.setdefault(box['image_id'], []).append((x, y, x + width, y + height))
    people = np.flatnonzero((persons.keypoints[..., 2] > 0).any(axis=1) & ~persons.crowds
                            & (persons.boxes[:, 2:] > 0).all(axis=1))
    people = people[::max(1, len(people) // most)]
    missed = []
    for person in people:
        x, y, width, height = persons.boxes[person]
        others = np.array(found.get(persons.images[person]['id'], ()), np.float64).reshape(-1, 4)
        overlap = np.minimum(others[:, 2:], (x + width, y + height)) - np.maximum(others[:, :2], (x, y))
        overlap = overlap.clip(0).prod(axis=1)
        union = (others[:, 2:] - others[:, :2]).prod(axis=1) + width * height - overlap
        if not (overlap > least_iou * union).any():
            missed.append(persons.entries[person]['id'])
    if missed:
        report(Problem('persons without a box', f"bbox_file '{path}'", f'have no box of an IoU above {least_iou}',
                       'a box for each person, in pixels of the image; check images, units and categories',
                       tuple(missed), total=len(people), unit='person',
                       level='warning' if len(missed) > len(people) / 2 else 'note'))
