"""Person boxes: reading, checking and filtering of arrays (N, 5) float32 with x0, y0, x1, y1 in pixels and a score.

They come from a function that takes a list of frames and returns one array for each: a detector, a class of this
module, or the user's.
"""
import copy
import os
import os.path as osp
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import islice

import numpy as np
import torch

from ..utils.files import read_json
from ..utils.text import count, some
from .frames import Frame, Source
from .streams import MAX_WAITING, groups

#: Default thresholds of detected boxes.
SCORE_THRESHOLD, NMS_THRESHOLD = .3, .65
FindBoxes = Callable[[Sequence[Frame]], list[np.ndarray]]

#: Largest coordinate; larger ones would overflow float32 in areas and sums.
_MAX_COORDINATE = 1e7
#: Frames up to this size may have boxes of one pixel, which look relative.
_TINY_FRAME = 4
#: How far relative boxes may exceed 0 to 1 in checks against a frame. In pixels such a box would have an area of 2.
_RELATIVE_MARGIN = .25
_RELATIVE = 'got coordinates from 0 to 1, expected pixels; multiply x by the width of the image and y by its height'


class BoxFile:
    """Boxes of a JSON file: all of them in their order, unless an argument limits them.

    Formats: COCO annotations (``images`` and ``annotations``, matched by ``file_name``); COCO results (a list of
    ``image_id``, ``bbox``, ``score``, matched by file names that are the number); or
    ``{"name or path of an image": [[x0, y0, x1, y1, score], ...]}`` with optional scores. COCO boxes are x, y, width,
    height. Only the category ``person`` is used, which is 1 in COCO results.

    Args:
        score_threshold: Minimum score; None keeps every score.
        nms_threshold: Of boxes that overlap by more than this IoU only the best score is kept; None keeps all.
        max_persons: Maximum number of boxes of a frame, the best scores first; None keeps all.

    Raises:
        ValueError: The file is missing or in none of these formats, its boxes are relative (0 to 1), or an image is
            listed twice; when called, a name matches several inputs.
    """

    def __init__(self, path: str | os.PathLike, score_threshold: float | None = None,
                 nms_threshold: float | None = None, max_persons: int | None = None):
        self.path = os.fspath(path)
        self.limits = score_threshold, nms_threshold, max_persons
        check_limits(*self.limits)
        self._users: dict[str, tuple] = {}
        try:
            content = read_json(self.path)
        except OSError as error:
            raise ValueError(f'boxes of {self.path}: got no file ({error.strerror}), expected JSON; check the path'
                             ) from error
        try:
            self.boxes, self.by_id = _parse_boxes(content)
            for name, boxes in self.boxes.items():
                _check_values(name, boxes)
            if _all_relative(self.boxes.values()):
                raise ValueError(_RELATIVE)
        except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
            raise ValueError(f'boxes of {self.path}: got another form ({type(error).__name__}: {error}), expected COCO '
                             'annotations, COCO results, or {"image": [[x0, y0, x1, y1, score], ...]}') from error
        except ValueError as error:
            raise ValueError(f'boxes of {self.path}: {error}') from error

    def __call__(self, frames: Sequence[Frame]) -> list[np.ndarray]:
        return [self._boxes_of(frame.source, frame.index) for frame in frames]

    def for_run(self) -> 'BoxFile':
        """Returns a copy for another run, in which other files may have the same names."""
        other = copy.copy(self)
        other._users = {}
        return other

    def knows(self, source: Source) -> bool:
        return bool(self._entries(source))

    def check(self, sources: Iterable[Source]) -> None:
        users: dict[str, dict] = {}
        for source in sources:
            for key in self._entries(source):
                users.setdefault(key, {})[source.path, source.name] = source.name
        for key, names in users.items():
            if len(names) > 1:
                self._refuse(key, names.values())

    def _refuse(self, key: str, names: Iterable[str]) -> None:
        raise ValueError(f"boxes of {self.path}: got '{key}' for several inputs ({some(names)}), expected one; list "
                         'each by its path')

    def _boxes_of(self, source: Source, index: int | None) -> np.ndarray:
        key = self._key(source, index)
        if key is None:
            return np.zeros((0, 5), np.float32)
        user = source.path, source.name, index
        if self._users.setdefault(key, user) != user:
            self._refuse(key, [name if number is None else f'{name}/{number:06d}'
                               for _, name, number in (self._users[key], user)])
        return filter_boxes(self.boxes[key], *self.limits)

    def _entries(self, source: Source) -> list[str]:
        if source.kind == 'image':
            key = self._key(source, None)
            return [] if key is None else [key]
        starts = tuple(f'{name}/' for name in _names_of(source))
        return [key for key in self.boxes if key.startswith(starts) and key.rpartition('/')[0] + '/' in starts]

    def _key(self, source: Source, index: int | None) -> str | None:
        names = _names_of(source)
        if index is not None:
            names = [f'{name}/{index:06d}' for name in names]
        elif self.by_id:  # only files have ids: the number of an array or frame is another one
            stem = osp.splitext(names[-1])[0]
            names = [*names, *([str(int(stem))] if stem.isdecimal() else [])] if source.path else []
        return next((name for name in names if name in self.boxes), None)


def _names_of(source: Source) -> list[str]:
    return [source.name, source.path, osp.basename(source.name)]


def _parse_boxes(content: dict | list) -> tuple[dict[str, np.ndarray], bool]:
    """Returns boxes (N, 5) by image, and whether images are named by ids."""
    if isinstance(content, dict) and 'annotations' not in content:
        for name, boxes in content.items():
            if any(len(box) not in (4, 5) for box in boxes):
                raise ValueError(f'{name}: got a box of other than 4 or 5 numbers, expected x0, y0, x1, y1, score')
        return {name: _to_array([[*box, 1.][:5] for box in boxes]) for name, boxes in content.items()}, False
    names, persons = {}, {'1'}
    if isinstance(content, dict):
        names, persons = _parse_images(content['images']), _person_ids(content.get('categories', ()))
        content = [entry for entry in content['annotations'] if not entry.get('iscrowd')]
    categories = {_id(entry.get('category_id', 1)) for entry in content}
    if categories and not categories & persons:
        raise ValueError(f'category_id: got {some(sorted(categories))}, expected {some(sorted(persons))} for persons')
    if names and content and not any(_id(entry['image_id']) in names for entry in content):
        raise ValueError(f'image_id: got {some(_id(entry["image_id"]) for entry in content)}, expected ids of images: '
                         f'{some(names)}')
    boxes = {str(name): [] for name in names.values()}
    for entry in content:
        image = _id(entry['image_id'])
        if _id(entry.get('category_id', 1)) in persons and (not names or image in names):
            if len(entry['bbox']) != 4:
                raise ValueError(f'image {image}: got the bbox {entry["bbox"]}, expected x, y, width, height')
            x, y, width, height = entry['bbox']
            name = str(names.get(image, image))
            boxes.setdefault(name, []).append([x, y, x + width, y + height, entry.get('score', 1.)])
    return {name: _to_array(array) for name, array in boxes.items()}, not names


def _parse_images(images: list[dict]) -> dict[str, str]:
    names = {}
    for image in images:
        first = names.setdefault(_id(image['id']), image['file_name'])
        if first != image['file_name']:
            raise ValueError(f'image id {image["id"]}: got {first} and {image["file_name"]}, expected one file; use '
                             'unique ids')
    repeated = [name for name, times in Counter(names.values()).items() if times > 1]
    if repeated:
        raise ValueError(f'file_name: got {some(repeated)} for several image ids, expected one each; name each image '
                         'by its path')
    return names


def _person_ids(categories: Iterable[dict]) -> set[str]:
    names = {_id(category['id']): str(category['name']) for category in categories}
    persons = {key for key, name in names.items() if name.casefold() == 'person'}
    if not persons and len(names) > 1:
        raise ValueError(f'categories: got {some(names.values())}, expected one named person')
    return persons or set(names) or {'1'}


def _to_array(boxes: list) -> np.ndarray:
    try:
        return np.array(boxes, np.float32).reshape(-1, 5)
    except ValueError as error:  # of values that are no numbers
        raise TypeError(str(error)) from error


def _id(value) -> str:
    """Returns an id as text in which 7, 7.0, '7' and '007' are equal."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value)
    return str(int(text)) if text.isdecimal() else text


class GivenBoxes:
    """Boxes (N, 4) or (N, 5) for each frame, in order; ValueError for other shapes, or fewer arrays than frames."""

    def __init__(self, boxes: Iterable[np.ndarray]):
        if not isinstance(boxes, Iterable) or isinstance(boxes, Mapping) or getattr(boxes, 'ndim', 3) != 3:
            raise ValueError(f'boxes: got {_describe(boxes)}, expected a list of one array (N, 4) or (N, 5) for each '
                             'frame (for a single frame [array]), or the path of a file')
        self._total = len(boxes) if isinstance(boxes, Sized) else None
        if isinstance(boxes, Sequence) and _all_relative(
                array for array in map(_as_boxes, boxes) if array is not None):
            raise ValueError(f'boxes: {_RELATIVE}')
        self._boxes, self._used = iter(boxes), 0

    def __call__(self, frames: Sequence[Frame]) -> list[np.ndarray]:
        boxes = list(islice(self._boxes, len(frames)))
        self._used += len(boxes)
        if len(boxes) < len(frames):
            raise ValueError(f'boxes: got {count(self._used, "array")} and more frames, expected one for each frame, '
                             'empty for a frame without people')
        return boxes

    def finish(self) -> None:
        if self._total is not None and self._used < self._total:
            raise ValueError(f'boxes: got {self._total} arrays for {count(self._used, "frame")}, expected one for each '
                             'frame')


def locate_people(frames: Iterable[Frame], find_boxes: FindBoxes, origin: str, batch_size: int = 1, every: int = 1,
                  limits: tuple | None = None) -> Iterator[Frame]:
    """Sets the boxes of frames with ``find_boxes``, which gets up to ``batch_size`` frames.

    ``origin`` is its name in messages. In a video it runs on every n-th frame (``every``), and boxes are kept in
    between. ``limits`` are arguments of :func:`best_boxes`; None keeps all boxes in their order.
    """
    boxes, number = None, 0

    def full(group: list[Frame]) -> bool:
        return (len(group) == batch_size or group[-1].source.kind == 'camera'
                or sum(frame.image.nbytes for frame in group) > MAX_WAITING)

    for group in groups(frames, full):
        searched = [frame for frame in group if not frame.index or frame.index % every == 0]
        arrays = iter(check_boxes(find_boxes(searched) if searched else [], searched, origin, number))
        number += len(group)
        for frame in group:
            if any(frame is other for other in searched):
                boxes = next(arrays)
                boxes = boxes if limits is None else best_boxes(boxes, frame.image.shape[:2], *limits)
            frame.boxes = boxes
            yield frame


def as_find_boxes(boxes) -> FindBoxes:
    if isinstance(boxes, (str, os.PathLike)):
        return BoxFile(boxes)
    if isinstance(boxes, BoxFile):
        return boxes.for_run()
    return boxes if callable(boxes) else GivenBoxes(boxes)


def check_boxes(boxes: Iterable[np.ndarray], frames: Sequence[Frame], origin: str, first: int = 0) -> list[np.ndarray]:
    """Returns one array (N, 5) for each frame; boxes (N, 4) get the score 1. ``origin`` and ``first`` are for messages.

    Raises a ValueError if the number of arrays is not that of the frames, or an array has another shape, non-finite
    values, x0 > x1 or y0 > y1, or relative coordinates (0 to 1).
    """
    if isinstance(boxes, (str, bytes, Mapping)) or not isinstance(boxes, Iterable):
        raise ValueError(f'{origin}: got {_describe(boxes)} for {count(len(frames), "frame")}, expected a list of one '
                         'array (N, 4) or (N, 5) for each frame')
    arrays = list(islice(boxes, len(frames) + 1))
    if len(arrays) != len(frames):
        number = len(boxes) if isinstance(boxes, Sized) else len(arrays)
        least = 'at least ' if isinstance(boxes, Iterator) and number > len(frames) else ''
        raise ValueError(f'{origin}: got {least}{count(number, "array")} of boxes for {count(len(frames), "frame")}, '
                         'expected one for each frame, empty for a frame without people')
    checked = []
    for number, (frame, given) in enumerate(zip(frames, arrays, strict=True), first):
        name = frame.source.path or f'frame {number}'
        name += '' if frame.index is None else f', frame {frame.index}'
        array = _as_boxes(given)
        if array is None:
            raise ValueError(f'boxes of {name}: got {_describe(given)}, expected (N, 4) or (N, 5): x0, y0, x1, y1, '
                             'score')
        _check_values(name, array)
        if max(frame.image.shape[:2]) > _TINY_FRAME and _are_relative(array, _RELATIVE_MARGIN):
            raise ValueError(f'boxes of {name}: {_RELATIVE}')
        checked.append(array)
    return checked


def _as_boxes(boxes) -> np.ndarray | None:
    """Returns boxes as (N, 5) float32; None for any other shape."""
    if boxes is None:
        return None
    try:
        array = np.asarray(boxes.cpu() if isinstance(boxes, torch.Tensor) else boxes, np.float32)
    except (TypeError, ValueError):
        return None
    if not array.size:
        return np.zeros((0, 5), np.float32) if array.ndim in (1, 2) else None
    if array.ndim != 2 or array.shape[1] not in (4, 5):
        return None
    return array if array.shape[1] == 5 else np.column_stack([array, np.ones(len(array), np.float32)])


def _describe(value) -> str:
    shape = getattr(value, 'shape', None)
    return type(value).__name__ if shape is None else f'{type(value).__name__} of shape {tuple(shape)}'


def _check_values(name: str, boxes: np.ndarray) -> None:
    for number, box in enumerate(boxes):
        # Boxes without area occur in COCO.
        if not (np.isfinite(box).all() and np.abs(box).max() <= _MAX_COORDINATE and (box[:2] <= box[2:4]).all()):
            raise ValueError(f'{name}, box {number}: got {box.tolist()}, expected finite x0, y0, x1, y1, score with '
                             'x0 <= x1 and y0 <= y1, not x, y, width, height')


def _are_relative(boxes: np.ndarray, margin: float = .01) -> bool:
    boxes = boxes[(boxes[:, :2] < boxes[:, 2:4]).all(axis=1), :4]
    return bool(len(boxes) and boxes.min() >= -margin and boxes.max() <= 1 + margin)


def _all_relative(boxes: Iterable[np.ndarray]) -> bool:
    """Returns whether all boxes are fractions (0 to 1). Integers are not, as [0, 0, 1, 1] may be one pixel."""
    boxes = np.concatenate([np.zeros((0, 5), np.float32), *boxes])
    return _are_relative(boxes) and bool((boxes[:, :4] % 1).any())


def check_limits(score_threshold: float | None, nms_threshold: float | None, max_persons: int | None) -> None:
    for name, value in (('score_threshold', score_threshold), ('nms_threshold', nms_threshold)):
        if value is not None and not (isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
                                      and 0 <= value <= 1):
            raise ValueError(f'{name}: got {value!r}, expected a number from 0 to 1')
    if max_persons is not None:
        check_count('max_persons', max_persons)


def check_count(name: str, value: int) -> None:
    """Raises a ValueError unless an argument is an integer of at least 1."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise ValueError(f'{name}: got {value!r}, expected an integer of at least 1')


def have_area(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns (N, ) bool: whether each box (N, 5) has an area within a frame of size (H, W)."""
    low, high = np.maximum(boxes[:, :2], 0), np.minimum(boxes[:, 2:4], size[::-1])
    return (high > low).all(axis=1)


def filter_boxes(boxes: np.ndarray, score_threshold: float | None, nms_threshold: float | None,
                 max_persons: int | None) -> np.ndarray:
    """Returns the boxes (N, 5) that pass the limits in their order; None disables a limit."""
    return boxes[np.sort(_rank(boxes, score_threshold, nms_threshold, max_persons))]


def best_boxes(boxes: np.ndarray, size: tuple[int, int], score_threshold: float, nms_threshold: float,
               max_persons: int | None) -> np.ndarray:
    """Returns the boxes (N, 5) that pass the limits and have an area in the frame (H, W), best score first."""
    boxes = boxes[have_area(boxes, size)]
    return boxes[_rank(boxes, score_threshold, nms_threshold, max_persons)]


def _rank(boxes: np.ndarray, score_threshold: float | None, nms_threshold: float | None,
          max_persons: int | None) -> np.ndarray:
    from torchvision.ops import nms
    kept = np.argsort(-boxes[:, 4], kind='stable')
    if score_threshold is not None:
        kept = kept[boxes[kept, 4] >= score_threshold]
    if nms_threshold is not None:
        kept = kept[nms(torch.from_numpy(boxes[kept, :4]), torch.from_numpy(boxes[kept, 4]), nms_threshold).numpy()]
    return kept[:max_persons]
