"""Checks of annotated persons and keypoint sets: units, places, visibilities, mirror tables, sigmas."""
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..utils.problems import Problem, report
from ..utils.text import some
from ..vocabularies.mirror import check_mirror
from .annotations import Persons, has_area, has_keypoints

#: Smallest and largest sigma of a keypoint: COCO's are 0.025 to 0.107.
SIGMAS = (.001, .5)
#: Coordinates up to this many pixels may be relative to the image.
_NORMALIZED = 2.
#: Up to this share of the persons with a misplaced box are single mistakes, and a warning.
_STRAY_SHARE = 1e-2


def check_persons(persons: Persons) -> Persons:
    """Checks units, places and visibilities of keypoints and boxes; returns the correct persons."""
    flags = persons.keypoints[..., 2]
    wrong = (flags < 0) | (flags > 2)
    persons.report(wrong.any(axis=1), 'visibilities',
                   f'have visibilities {some(map("{:g}".format, np.unique(flags[wrong])))}',
                   '0 (not labeled) or up to 2 (labeled: 1 hidden, 2 visible, a confidence); convert them')
    persons = _check_units(persons.without(wrong.any(axis=1)))
    copies = Counter((entry['image_id'], points.tobytes()) for entry, points, labeled in zip(
        persons.entries, persons.keypoints, persons.labeled.any(axis=1)) if labeled)
    if repeated := dict.fromkeys(image for (image, _), times in copies.items() if times > 1):
        report(Problem('repeated persons', persons.path, 'have the same keypoints more than once', 'each person once; '
                       'remove the copies', tuple(repeated), unit='image', level='warning'))
    return _check_places(persons)


def _check_units(persons: Persons) -> Persons:
    """Checks that coordinates are in pixels; a person in the corner of an image may have coordinates of 0 to 1."""
    points, labeled, boxes = persons.keypoints[..., :2], persons.labeled, persons.boxes
    people = labeled.any(axis=1) & ~persons.crowds
    within = ((np.abs(points).max(axis=2) <= _NORMALIZED) | ~labeled).all(axis=1) & people
    ends = np.abs(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)).max(axis=1)
    large = persons.sizes.max(axis=1) > 8 * _NORMALIZED
    wrong = within & large & (labeled.sum(axis=1) >= 3) & (boxes[:, 2:].max(axis=1) > 8 * _NORMALIZED)
    small = people & large & (within | (ends <= _NORMALIZED))
    if small.sum() > people.sum() / 2:
        wrong |= small
    # The area distinguishes a single person in the corner.
    areas = np.array([entry['area'] if has_area(entry) else 4. for entry in persons.entries], float)
    wrong |= small & within & ((areas < 1) | (areas > 16))
    persons.report(wrong, 'units of coordinates', 'have keypoints or a box within 0 to 1, relative to the image',
                   'pixels; multiply x and widths by the width of the image, y and heights by its height')
    reach = (points / persons.sizes[:, None]).max(axis=2, initial=0, where=labeled[..., None])
    if people.sum() >= 10 and reach.max() < .55 and persons.sizes[people].min() > 100 and not wrong.any():
        persons.report(people, 'units of coordinates', 'have all keypoints in the upper left quarter of the image',
                       'pixels of the image whose width and height the file states; check that they are not percents, '
                       'and that the image had that size', level='warning')
    return persons.without(wrong)


def _check_places(persons: Persons) -> Persons:
    points, labeled = persons.keypoints[..., :2].astype(np.float64), persons.labeled
    low, shape = persons.boxes[:, :2], persons.boxes[:, 2:]
    high, sizes = low + shape, persons.sizes
    usable = labeled.any(axis=1) & (shape > 0).all(axis=1) & ~persons.crowds
    number = usable.sum()
    if not number:
        return persons

    def share_inside(low: np.ndarray, high: np.ndarray, margin: float) -> np.ndarray:
        inside = _inside(points, low - margin * (high - low), high + margin * (high - low))
        return (inside & labeled).sum(axis=1) / labeled.sum(axis=1).clip(1)

    corners = usable & (labeled.sum(axis=1) >= 3) & (shape > low).all(axis=1) & (shape <= sizes + 1).all(axis=1)
    corners &= _misfit(points, labeled, low, shape) < .5 * _misfit(points, labeled, low, high)
    if corners.sum() > number / 2:
        persons.report(corners, 'boxes and keypoints', 'have a box that fits their keypoints as x0, y0, x1, y1',
                       'x, y, width, height; convert the boxes', number)
        return persons
    share = share_inside(np.zeros_like(sizes), sizes, .1)
    if np.median(share[usable]) < .5:
        persons.report(usable & (share < .5), 'keypoints and images', 'have most keypoints outside of the image',
                       'pixels of the image whose width and height the file states; check the unit and the size that '
                       'the images had when they were annotated', number)
        return persons
    zero = usable & ((points == 0).all(axis=2) & labeled).any(axis=1) & (low > 0).any(axis=1)
    if zero.sum() > _STRAY_SHARE * number:
        persons.report(zero, 'visibilities', 'have keypoints at 0, 0 that are marked as labeled',
                       'visibility 0 for keypoints that are missing; correct the flags', number)
    wrong = usable & (share_inside(low, high, .1) < .5)
    if wrong.sum() <= number / 2:
        wrong = usable & (share_inside(low, high, .5) == 0)
    if wrong.any():
        few = wrong.sum() <= _STRAY_SHARE * number
        persons.report(wrong, 'boxes and keypoints', 'have a box that does not contain their keypoints',
                       'bbox as x, y, width, height around the keypoints, both in pixels; check their units and ids',
                       number, level='warning' if few else 'error')
        return persons if few else persons.without(wrong)
    counted = labeled & usable[:, None]
    outside = counted & ~_inside(points, low - .5 * shape, high + .5 * shape)
    astray = np.flatnonzero(outside.sum(axis=0) > np.maximum(counted.sum(axis=0) / 2, 2))
    if len(astray):
        report(Problem('boxes and keypoints', persons.path, 'lie far outside of the box in most persons',
                       'all keypoints in pixels; check the units of these', tuple(f'number {i}' for i in astray),
                       total=points.shape[1], unit='keypoint'))
    return persons


def _inside(points: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(N, K) whether points (N, K, 2) are in boxes from ``low`` to ``high`` (N, 2)."""
    return ((points >= low[:, None]) & (points <= high[:, None])).all(axis=2)


def _misfit(points: np.ndarray, labeled: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(N, ) distance in pixels of the bounds of labeled points (N, K, 2) from ``low`` and ``high`` (N, 2)."""
    first = np.where(labeled[..., None], points, np.inf).min(axis=1)
    last = np.where(labeled[..., None], points, -np.inf).max(axis=1)
    return np.abs(first - low).sum(axis=1) + np.abs(last - high).sum(axis=1)


def dropped(persons: Persons, num_keypoints: np.ndarray) -> dict[str, np.ndarray]:
    """Returns why persons cannot be samples: reason -> mask (N, ), at most one reason for each person."""
    boxes, sizes = persons.boxes, persons.sizes
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    clipped = high.clip(0, sizes - 1).astype(np.float32) - low.clip(0, sizes - 1).astype(np.float32)
    rules = {
        'a crowd': persons.crowds,
        'no keypoints': np.array([not has_keypoints(entry) for entry in persons.entries], bool),
        'no box': np.isnan(boxes).any(axis=1),
        'no labeled keypoint': num_keypoints <= 0,
        'all keypoints at 0, 0 or outside': persons.keypoints[..., :2].max(axis=(1, 2), initial=0) <= 0,  # as mmpose
        'a box of negative size': (boxes[:, 2:] < 0).any(axis=1),
        'a box without area': (boxes[:, 2:] == 0).any(axis=1),
        'a box outside of the image': ~(clipped > 0).all(axis=1),
    }
    reasons, rest = {}, np.ones(len(boxes), bool)
    for reason, mask in rules.items():
        reasons[reason] = mask & rest
        rest &= ~mask
    return {reason: mask for reason, mask in reasons.items() if mask.any()}


def check_metainfo(metainfo: dict, where: str) -> None:
    """Checks the mirror pairs, sigmas and keypoint weights of a keypoint set."""
    names = [metainfo['keypoint_id2name'][i] for i in sorted(metainfo['keypoint_id2name'])]
    check_mirror(names, metainfo['flip_indices'], where)
    check_numbers(names, metainfo['sigmas'], 'sigmas', where, *SIGMAS)
    check_numbers(names, metainfo['dataset_keypoint_weights'], 'joint_weights', where, 0, 1e6)


def check_numbers(names: Sequence[str], values: Sequence[float], what: str, where: str, low: float, high: float
                  ) -> None:
    """Checks that each keypoint has a number from ``low`` to ``high``, and that not all are 0."""
    values = np.asarray(values, np.float64).ravel()
    if len(values) != len(names):
        report(Problem('sigmas and weights', where, f'{len(values)} {what}',
                       f'{len(names)}, one for each keypoint; correct the metainfo'))
        return
    wrong = ~np.isfinite(values) | (values < low) | (values > high) | ~values.any()
    if wrong.any():
        report(Problem('sigmas and weights', where, f'have {what} {some(map("{:g}".format, values[wrong]))}',
                       f'{low:g} to {high:g}, and one above 0; correct the metainfo',
                       tuple(names[i] for i in np.flatnonzero(wrong)), total=len(names), unit='keypoint'))
