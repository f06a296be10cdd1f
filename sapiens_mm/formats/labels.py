"""Labels of the people in an image, between formats."""
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..names import KEYPOINT_FORMATS
from ..utils.files import read_json
from ..utils.images import header_of
from ..utils.text import some
from ..vocabularies.coco import COMMON_114
from ..vocabularies.goliath import METAINFO_308, mirror_name
from ..vocabularies.keypoints import KEYPOINT_NAMES, TARGETS, convert_keypoints
from ..vocabularies.mirror import mirrored_name

#: Added to keypoints for tools that count from the image's corner; here (0, 0) is the center of the first pixel.
HALF_PIXEL = .5


@dataclass(frozen=True)
class KeypointSet:
    """Names of K keypoints in order, pairs of indices that are linked, and the index of each in a mirrored image."""
    names: tuple[str, ...]
    links: tuple[tuple[int, int], ...]
    flip_indices: tuple[int, ...]


@dataclass
class Person:
    """A person in pixels of the upright image.

    Attributes:
        box: (4, ) float of x0, y0, x1, y1 from the image's corner.
        keypoints: (K, 2) float; (0, 0) is the center of the top-left pixel. None without keypoints, as the next two.
        visible: (K, ) int: 0 not labeled, 1 hidden, 2 visible.
        keypoint_scores: (K, ) float; None for labels by hand.
        score: None for labels by hand.
        segmentation, area: COCO's segmentation of the person, RLE or polygons, and its area in pixels.
    """
    box: np.ndarray
    keypoints: np.ndarray | None = None
    visible: np.ndarray | None = None
    keypoint_scores: np.ndarray | None = None
    score: float | None = None
    track_id: int | None = None
    segmentation: Any = None
    area: float | None = None


@dataclass
class Labels:
    """People of an image; ``parts`` is (H, W) uint8, class ids of ``part_names``, 0 for background."""
    file_name: str
    width: int
    height: int
    people: list[Person] = field(default_factory=list)
    keypoint_set: KeypointSet | None = None
    parts: np.ndarray | None = None
    part_names: tuple[str, ...] = ()


@cache
def _other_side() -> dict[str, str]:
    """Mirror images of the keypoints of known sets that :func:`mirrored_name` cannot tell."""
    other = {name: mirror_name(name) for name in KEYPOINT_NAMES['goliath']}
    whole = dict(COMMON_114)
    faces = {name: whole[other[goliath]] for goliath, name in COMMON_114 if name.startswith('face-')}
    return other | faces | {f'face-{index}': f'face-{16 - index}' for index in range(17)}


@cache
def _links() -> tuple[tuple[str, str], ...]:
    whole = dict(COMMON_114)
    links = [link['link'] for link in METAINFO_308['skeleton_info'].values()]
    return tuple(dict.fromkeys([*links, *(tuple(whole.get(name, name) for name in link) for link in links)]))


@cache
def keypoint_set(names: tuple[str, ...], links: tuple[tuple[int, int], ...] | None = None,
                 swap: tuple[str, ...] | None = None) -> KeypointSet:
    """Returns a keypoint set; links default to those of the body, ``swap`` (names of mirror images) to other sides.

    Raises a ValueError for repeated names or links to other keypoints.
    """
    index = {name: position for position, name in enumerate(names)}
    if len(index) < len(names):
        repeated = dict.fromkeys(name for name in names if names.count(name) > 1)
        raise ValueError(f'keypoint names: got {some(repeated)} repeatedly, expected each name once')
    if links is None:
        links = tuple((index[a], index[b]) for a, b in _links() if a in index and b in index)
    if wrong := [link for link in links if not all(0 <= end < len(names) for end in link)]:
        raise ValueError(f'links: got {some(wrong)} (from 0), expected pairs of the {len(names)} keypoints')
    swap = swap or [_other_side().get(name, mirrored_name(name)) for name in names]
    flip = tuple(index.get(other, position) for position, other in enumerate(swap))
    return KeypointSet(tuple(names), links, flip)


def known_set(names: Iterable[str]) -> KeypointSet | None:
    """Returns the smallest known keypoint set with all of these names, in any order; None without one."""
    names = set(names)
    fitting = [known for known in KEYPOINT_NAMES.values() if names <= set(known)]
    return keypoint_set(min(fitting, key=len)) if names and fitting else None


def in_known_order(keypoints: KeypointSet) -> KeypointSet:
    """Returns the known keypoint set with the same names, or the given one without such a set."""
    known = known_set(keypoints.names)
    return known if known and len(known.names) == len(keypoints.names) else keypoints


def set_of_size(number: int) -> KeypointSet | None:
    """Returns the keypoint set of 17, 133 or 308 keypoints; None for other numbers."""
    known = {len(KEYPOINT_NAMES[name]): KEYPOINT_NAMES[name] for name in TARGETS}
    return keypoint_set(known[number]) if number in known else None


def from_metainfo(metainfo: Mapping) -> KeypointSet:
    """Returns the keypoint set of mmpose's ``metainfo`` with ``keypoint_info`` and ``skeleton_info``."""
    info = sorted(metainfo['keypoint_info'].values(), key=lambda keypoint: keypoint['id'])
    names = tuple(keypoint['name'] for keypoint in info)
    index = {name: position for position, name in enumerate(names)}
    links = tuple(tuple(index[name] for name in link['link']) for link in metainfo.get('skeleton_info', {}).values())
    return keypoint_set(names, links, tuple(keypoint.get('swap') or keypoint['name'] for keypoint in info))


def read_keypoint_set(path: str | os.PathLike) -> KeypointSet:
    """Reads names of keypoints from a JSON list, or COCO annotations whose category has them; errors name the file."""
    content = read_json(path)
    with naming(os.fspath(path), 'a list of names, or COCO annotations'):
        if isinstance(content, dict):
            found = [category for category in content['categories'] if category.get('keypoints')]
            if len(found) == 1:
                return category_set(found[0])
        elif content and all(isinstance(name, str) for name in content):
            return keypoint_set(tuple(content))
        raise ValueError('got no names of keypoints, expected a list of names, or COCO annotations with one category '
                         'that has keypoints')


def category_set(category: Mapping) -> KeypointSet:
    """Returns the keypoint set of a category of COCO."""
    links = category.get('skeleton')
    return keypoint_set(tuple(category['keypoints']),
                        tuple((int(a) - 1, int(b) - 1) for a, b in links) if links else None)


def arrange(person: Person, names: Sequence[str], target: KeypointSet) -> Person:
    """Returns a person with keypoints of ``names`` in the order of a keypoint set; what is missing is not labeled."""
    if person.keypoints is None or tuple(names) == target.names:
        return person
    index = {name: position for position, name in enumerate(target.names)}
    if unknown := [name for name in names if name not in index]:
        raise ValueError(f'got the keypoints {some(unknown)}, expected those of the keypoint set '
                         f'({some(target.names)}); give the set with --keypoints')
    places = [index[name] for name in names]

    def placed(values: np.ndarray | None) -> np.ndarray | None:
        if values is None:
            return None
        array = np.zeros((len(target.names), *values.shape[1:]), values.dtype)
        array[places] = values
        return array

    return replace(person, keypoints=placed(person.keypoints), visible=placed(person.visible),
                   keypoint_scores=placed(person.keypoint_scores))


def select(labels: Iterable[Labels], keypoint_format: str = 'model', threshold: float = 0.,
           min_score: float = 0.) -> Iterator[Labels]:
    """Converts keypoints to a format, unlabels those below a score, and drops people below ``min_score``.

    Labels by hand have no scores and are kept. Raises a ValueError if keypoints cannot be converted.
    """
    target = KEYPOINT_FORMATS[keypoint_format]
    for image in labels:
        people = [person for person in image.people if person.score is None or person.score >= min_score]
        if target is not None and image.keypoint_set is not None:
            people = _converted(people, image, target)
            image = replace(image, keypoint_set=keypoint_set(KEYPOINT_NAMES[target]))
        yield replace(image, people=[
            person if person.keypoint_scores is None else
            replace(person, visible=np.where(person.keypoint_scores < threshold, 0, person.visible))
            for person in people])


def _converted(people: list[Person], image: Labels, target: str) -> list[Person]:
    names = image.keypoint_set.names
    if names == KEYPOINT_NAMES[target]:
        return people
    source = next((name for name in TARGETS if names == KEYPOINT_NAMES[name]), None)
    if source is None or target not in TARGETS[source]:
        raise ValueError(f"{image.file_name}: got {len(names)} keypoints ({some(names, 3)}), expected a set that "
                         f"converts to '{target}'; use the keypoint format model")

    def convert(person: Person) -> Person:
        points, visible = convert_keypoints(person.keypoints, person.visible.astype(float), source, target)
        scores = person.keypoint_scores
        if scores is not None:
            _, scores = convert_keypoints(person.keypoints, scores, source, target)
        return replace(person, keypoints=np.nan_to_num(points), visible=visible.astype(int), keypoint_scores=scores)

    return [person if person.keypoints is None else convert(person) for person in people]


def of_one_set(labels: Iterable[Labels]) -> Iterator[Labels]:
    """Yields labels; a ValueError if images have different keypoint sets, which a file can only have one of."""
    first = None
    for image in labels:
        if image.keypoint_set is not None:
            first = first or image
            if image.keypoint_set.names != first.keypoint_set.names:
                raise ValueError(f'{image.file_name}: got {len(image.keypoint_set.names)} keypoints, expected the '
                                 f'{len(first.keypoint_set.names)} of {first.file_name}; convert them separately')
        yield image


def place(image: Labels, folder: Path, suffix: str, taken: dict[Path, str]) -> Path:
    """Returns the path of an image's file below a folder, and adds it to ``taken``, file name by path.

    Raises a ValueError for a file name that leads out of the folder, or that is taken but for the suffix.
    """
    name = Path(image.file_name)
    if name.is_absolute() or '..' in name.parts:
        raise ValueError(f'{image.file_name}: got a path outside of the folder of images, expected one below it; make '
                         'the file names in the labels relative')
    path = (folder / name).with_suffix(suffix)
    if other := taken.get(path):
        raise ValueError(f'{image.file_name}: got the same name as {other} but for the suffix, expected different '
                         'names; rename one')
    taken[path] = image.file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def labeled(person: Person) -> np.ndarray:
    """Returns the indices of a person's labeled keypoints."""
    return np.zeros(0, int) if person.visible is None else np.flatnonzero(person.visible)


def image_size(path: Path) -> tuple[int, int]:
    """Returns (width, height) of an upright image; errors name it."""
    try:
        header = header_of(path.read_bytes())
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
    except OSError as error:
        raise OSError(f'{path}: got {error.strerror}, expected an image, whose size the labels need; give its folder '
                      'with --image-root') from error
    if header is None:
        raise ValueError(f'{path}: got another file, expected an image; replace it')
    return header.shape[::-1]


@contextmanager
def naming(where: str, expected: str) -> Iterator[None]:
    """Raises errors of damaged content as ValueErrors that begin with a file and say what it should contain."""
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        if not isinstance(error, ValueError):
            error = f'got {type(error).__name__} ({error}), expected {expected}'
        raise ValueError(f'{where}: {error}') from None


def numbers(values: Any, number: int | None = None) -> np.ndarray:
    """Returns a JSON list of finite numbers as an array; a ValueError for anything else, or another length."""
    array = np.array(values, float) if isinstance(values, list) else None
    if array is None or array.ndim != 1 or not np.isfinite(array).all() or number not in (None, len(array)):
        raise ValueError(f'got {values!r:.60}, expected {number or "some"} numbers')
    return array


def rounded(values: np.ndarray) -> list:
    """Returns pixels with three digits, for JSON."""
    return np.round(values, 3).tolist()
