"""Where people are in frames: found by a detector, listed in a file, or anywhere; and who is who in a video."""
import copy
import os
import os.path as osp
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import islice

import cv2
import numpy as np
import torch

from ..utils.files import read_json
from ..utils.text import count, some
from .crops import resize_frame
from .models import TaskModel
from .reading import Frame, Source

#: The detector by default: its config, as mmdet brings it, and its weights' address.
DETECTORS = {
    'rtmdet-m': ('mmdet::rtmdet/rtmdet_m_8xb32-300e_coco.py',
                 'https://download.openmmlab.com/mmdetection/v3.0/rtmdet/rtmdet_m_8xb32-300e_coco/'
                 'rtmdet_m_8xb32-300e_coco_20220719_112220-229f527c.pth')
}
#: Thresholds of a detector's boxes, where no others are given.
SCORE_THRESHOLD, NMS_THRESHOLD = .3, .65
#: Boxes (N, 5) of each of some frames: x0, y0, x1, y1, score.
Finder = Callable[[Sequence[Frame]], list[np.ndarray]]


def default_detector(size: str, own_weights: bool) -> str:
    """What finds people if nothing else is asked for: of the embedded model what works without a network."""
    return 'parts' if size == 'tiny' and not own_weights else 'rtmdet-m'


def whole_frames(frames: Sequence[Frame]) -> list[np.ndarray]:
    """One box for each frame: all of it."""
    return [np.array([[0, 0, *frame.image.shape[1::-1], 1]], np.float32) for frame in frames]


class PartsFinder:
    """People as the regions that a model of body parts takes for a person, where there is no detector.

    People who touch are one, and small ones are missed.

    Args:
        model: A model with the task ``'parts'``.
        least_area: Of a region, as a share of the frame.
        least_score: Mean probability of its pixels, from 0.5. With the embedded model, regions in plain and noisy
            pictures had 0.53 to 0.74, people who are large in theirs 0.8 and more.
    """

    def __init__(self, model: TaskModel, least_area: float = .005, least_score: float = .77):
        self.model, self.least_area, self.least_score = model, least_area, least_score

    @torch.inference_mode()
    def __call__(self, frames: Sequence[Frame]) -> list[np.ndarray]:
        images = np.stack([resize_frame(frame.image, self.model.input_size).image for frame in frames])
        outputs = self.model(torch.from_numpy(images).to(self.model.device).permute(0, 3, 1, 2))
        for i, frame in enumerate(frames):  # for who wants the maps, too
            frame.outputs = self.model.network, {task: output[i] for task, output in outputs.items()}
        person = 1 - outputs['parts'].float().softmax(dim=1)[:, 0].cpu().numpy()
        return [self._regions(probability, frame.image.shape[:2])
                for probability, frame in zip(person, frames, strict=True)]

    def _regions(self, probability: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        mask = (probability > .5).astype(np.uint8)
        # Shoes and caps belong to who is near.
        joined = cv2.dilate(mask, np.ones((3, 3), np.uint8), iterations=max(1, len(mask) // 48))
        number, labels, statistics, _ = cv2.connectedComponentsWithStats(joined)
        scale = np.divide(size, mask.shape)[::-1]  # pixels of the frame to one of the map: x, y
        boxes = []
        for label in range(1, number):
            if statistics[label, cv2.CC_STAT_AREA] < self.least_area * mask.size:
                continue  # a speck, of which there may be many
            rows, columns = np.nonzero(mask * (labels == label))
            if len(rows) < self.least_area * mask.size:
                continue
            score = probability[rows, columns].mean()
            if score >= self.least_score:
                low, high = (columns.min(), rows.min()) * scale, (columns.max() + 1, rows.max() + 1) * scale
                boxes.append([*low, *high, score])
        return np.array(boxes, np.float32).reshape(-1, 5)


class BoxFile:
    """The boxes that a file lists, used as they are, all, in their order.

    Args:
        path: JSON. COCO annotations (``images`` and ``annotations``; images are told apart by ``file_name``), COCO
            results (a list of ``image_id``, ``bbox``, ``score``; the name of an image file has to be its
            number), or
            ``{"name or path of an image": [[x0, y0, x1, y1, score], ...]}``, the score may be left out. COCO's boxes
            are x, y, width, height; of several categories the one called ``person`` is taken, of results number 1.
        score_threshold: Least score; None keeps every score.
        nms_threshold: Of boxes that overlap by more than this IoU, the highest score stays; None keeps all.
        max_persons: At most so many in a frame, those of the highest scores; None keeps all.

    Raises:
        ValueError: It is missing or none of these, its boxes are relative (0 to 1), or an image is in it twice; when it
            is called, also if one of its names fits several inputs.
    """

    def __init__(self, path: str | os.PathLike, score_threshold: float | None = None,
                 nms_threshold: float | None = None, max_persons: int | None = None):
        self.path = os.fspath(path)
        self.limits = score_threshold, nms_threshold, max_persons
        check_limits(*self.limits)
        self._users: dict[str, tuple] = {}
        try:
            self.boxes, self.by_id = _read_boxes(read_json(self.path))
            for name, boxes in self.boxes.items():
                _check_boxes(name, boxes)
            _check_fractions(self.boxes.values())
        except (OSError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            text = str(error).removeprefix(f'{self.path}: ')
            raise ValueError(f'{self.path} cannot be used as boxes ({type(error).__name__}: {text}); expected COCO '
                             'annotations, COCO results, or {"image": [[x0, y0, x1, y1, score], ...]}') from error

    def __call__(self, frames: Sequence[Frame]) -> list[np.ndarray]:
        return [self._of(frame.source, frame.index) for frame in frames]

    def for_run(self) -> 'BoxFile':
        """The same boxes for another run, whose inputs may have the names of other files."""
        other = copy.copy(self)
        other._users = {}
        return other

    def knows(self, source: Source) -> bool:
        """Whether it has an entry for an image, or for a frame of a video."""
        return bool(self._entries(source))

    def check(self, sources: Iterable[Source]) -> None:
        """Raises a ValueError if one of its names fits several inputs."""
        users: dict[str, dict] = {}
        for source in sources:
            for key in self._entries(source):
                users.setdefault(key, {})[source.path, source.name] = source.name
        for key, names in users.items():
            if len(names) > 1:
                self._refuse(key, names.values())

    def _refuse(self, key: str, names: Iterable[str]) -> None:
        raise ValueError(f"{self.path}: '{key}' fits several inputs: {some(names)}; name each of them by its path")

    def _of(self, source: Source, index: int | None) -> np.ndarray:
        key = self._key(source, index)
        if key is None:
            return np.zeros((0, 5), np.float32)
        user = source.path, source.name, index
        if self._users.setdefault(key, user) != user:
            self._refuse(key, [name if number is None else f'{name}/{number:06d}'
                               for _, name, number in (self._users[key], user)])
        return filter_boxes(self.boxes[key], *self.limits)

    def _entries(self, source: Source) -> list[str]:
        """The entry of an image, or those of the frames of a video, as far as they are there."""
        if source.kind == 'image':
            key = self._key(source, None)
            return [] if key is None else [key]
        starts = tuple(f'{name}/' for name in _names_of(source))
        return [key for key in self.boxes if key.startswith(starts) and key.rpartition('/')[0] + '/' in starts]

    def _key(self, source: Source, index: int | None) -> str | None:
        names = _names_of(source)
        if index is not None:
            names = [f'{name}/{index:06d}' for name in names]
        elif self.by_id:  # which are of files: the number of an array or a frame is another one
            stem = osp.splitext(names[-1])[0]
            names = [*names, *([str(int(stem))] if stem.isdecimal() else [])] if source.path else []
        return next((name for name in names if name in self.boxes), None)


def _names_of(source: Source) -> list[str]:
    return [source.name, source.path, osp.basename(source.name)]


def _read_boxes(content: dict | list) -> tuple[dict[str, np.ndarray], bool]:
    """Boxes (N, 5) by image, and whether the images are numbers."""
    if isinstance(content, dict) and 'annotations' not in content:
        for name, boxes in content.items():
            if any(len(box) not in (4, 5) for box in boxes):
                raise ValueError(f'{name}: a box has 4 numbers, or 5 with its score')
        return {name: _to_array([[*box, 1.][:5] for box in boxes]) for name, boxes in content.items()}, False
    names, person = {}, {'1'}
    if isinstance(content, dict):
        for image in content['images']:
            if names.setdefault(_id(image['id']), image['file_name']) != image['file_name']:
                raise ValueError(f'image id {image["id"]} is of {names[_id(image["id"])]} and {image["file_name"]}; '
                                 'give each image its own id')
        if len(set(names.values())) < len(names):
            raise ValueError(f'{_repeated(names.values())} is the file_name of several image ids; name each by its '
                             'path')
        categories = {_id(category['id']): str(category['name']) for category in content.get('categories', ())}
        person = {key for key, name in categories.items() if name.casefold() == 'person'}
        if not person and len(categories) > 1:
            raise ValueError(f'no category is called person, but they are {some(categories.values())}; rename one')
        person = person or set(categories) or {'1'}
        content = [entry for entry in content['annotations'] if not entry.get('iscrowd')]
    there = {_id(entry.get('category_id', 1)) for entry in content}
    if there and not there & person:
        raise ValueError(f'boxes have category_id {some(sorted(there))}, expected {some(sorted(person))} for persons')
    if names and content and not any(_id(entry['image_id']) in names for entry in content):
        raise ValueError(f'no image has an id of the annotations: image_id is {some(_id(content[0]["image_id"]))}, but '
                         f'ids of images are {some(names)}')
    boxes = {str(name): [] for name in names.values()}
    for entry in content:
        image = _id(entry['image_id'])
        if _id(entry.get('category_id', 1)) in person and (not names or image in names):
            x, y, width, height = entry['bbox']
            name = str(names.get(image, image))
            boxes.setdefault(name, []).append([x, y, x + width, y + height, entry.get('score', 1.)])
    return {name: _to_array(found) for name, found in boxes.items()}, not names


def _to_array(boxes: list) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 5)


def _id(value) -> str:
    """A number as it is compared: 7, 7.0, '7' and '007' are one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value)
    return str(int(text)) if text.isdecimal() else text


def _repeated(values: Iterable) -> str:
    seen = set()
    return some(dict.fromkeys(value for value in values if value in seen or seen.add(value)))


class GivenBoxes:
    """Boxes in the order of the frames.

    Args:
        boxes: For each frame (N, 4) or (N, 5): x0, y0, x1, y1, score.

    Raises:
        ValueError: They are not that; also when there are not as many as frames.
    """

    def __init__(self, boxes: Iterable[np.ndarray]):
        if not isinstance(boxes, Iterable) or isinstance(boxes, Mapping) or getattr(boxes, 'ndim', 3) != 3:
            raise ValueError(f'boxes are {_kind_of(boxes)}; expected a list with an array (N, 4) or (N, 5) for each '
                             'frame (of one frame: [array]), or the path of a file')
        self._number = len(boxes) if isinstance(boxes, Sized) else None
        if isinstance(boxes, Sequence):
            arrays = [array for array in map(_as_boxes, boxes) if array is not None]
            _check_fractions(arrays)
        self._boxes, self._taken = iter(boxes), 0

    def __call__(self, frames: Sequence[Frame]) -> list[np.ndarray]:
        found = list(islice(self._boxes, len(frames)))
        number = self._taken + len(found)
        if len(found) < len(frames):
            raise ValueError(f'there are more frames than arrays of boxes: got {count(number, "array")} for at least '
                             f'{count(self._taken + len(frames), "frame")}; give one for each, empty where nobody is')
        self._taken = number
        return found

    def finish(self) -> None:
        """Says that there are no more frames."""
        if self._number is not None and self._taken < self._number:
            raise ValueError(f'there are {self._number} arrays of boxes, but only {self._taken} frames; give one for '
                             'each frame')


def check_found(found: Iterable[np.ndarray], frames: Sequence[Frame], finder: str, first: int = 0) -> list[np.ndarray]:
    """What finds people returned, as one array (N, 5) for each frame.

    Args:
        found: For each frame (N, 4) or (N, 5): x0, y0, x1, y1, score in pixels; without a score it is 1.
        frames: The frames.
        finder: What found them, for messages.
        first: Number of the first frame, for messages about frames without a name.

    Raises:
        ValueError: They are not as many as the frames, an array has another shape, a box is not finite or no x0, y0,
            x1, y1, or all boxes of a frame are relative (0 to 1).
    """
    if isinstance(found, (str, bytes, Mapping)) or not isinstance(found, Iterable):
        raise ValueError(f'{finder} returned {_kind_of(found)} for {count(len(frames), "frame")}; expected a list with '
                         'an array (N, 4) or (N, 5) for each frame')
    arrays = list(islice(found, len(frames) + 1))
    if len(arrays) != len(frames):
        number = len(found) if isinstance(found, Sized) else len(arrays)
        least = 'at least ' if isinstance(found, Iterator) and number > len(frames) else ''
        raise ValueError(f'{finder} returned {least}{count(number, "array")} of boxes for '
                         f'{count(len(frames), "frame")}; expected one for each frame, empty where nobody is')
    checked = []
    for number, (frame, given) in enumerate(zip(frames, arrays, strict=True), first):
        name = f'frame {number}' if not frame.source.path else frame.source.path
        name += '' if frame.index is None else f', frame {frame.index}'
        boxes = _as_boxes(given)
        if boxes is None:
            raise ValueError(f'{name}: boxes are {_kind_of(given)}; expected (N, 4) or (N, 5): x0, y0, x1, y1, score')
        _check_boxes(name, boxes)
        if max(frame.image.shape[:2]) > _TINY and _are_relative(boxes, _BEYOND):
            raise ValueError(f'{name}: {_RELATIVE}')
        checked.append(boxes)
    return checked


def _as_boxes(boxes) -> np.ndarray | None:
    """Boxes as (N, 5) float32; None if they have another shape."""
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


def _kind_of(value) -> str:
    shape = getattr(value, 'shape', None)
    return type(value).__name__ if shape is None else f'{type(value).__name__} of shape {tuple(shape)}'


#: No image has as many pixels on a side; sums and squares of such coordinates still fit into float32.
_FARTHEST = 1e7


def _check_boxes(name: str, boxes: np.ndarray) -> None:
    for number, box in enumerate(boxes):
        # Boxes without area occur in COCO.
        if not (np.isfinite(box).all() and np.abs(box).max() <= _FARTHEST and (box[:2] <= box[2:4]).all()):
            raise ValueError(f'{name}: box {number} is {box.tolist()}; expected x0, y0, x1, y1, score, all '
                             'finite, with x0 <= x1 and y0 <= y1, not x, y, width, height')


#: Pixels of a side up to which a frame is so small that a box of one pixel may be meant.
_TINY = 4
#: Boxes of people may end beyond the frame; in pixels, a box in such a range would have an area of 2.
_BEYOND = .25
_RELATIVE = ('got boxes with all coordinates from 0 to 1, expected pixels; multiply x by the width of the image and y '
             'by its height')


def _are_relative(boxes: np.ndarray, beyond: float = .01) -> bool:  # sums of fractions are rounded
    boxes = boxes[(boxes[:, :2] < boxes[:, 2:4]).all(axis=1), :4]
    return bool(len(boxes) and boxes.min() >= -beyond and boxes.max() <= 1 + beyond)


def _check_fractions(boxes: Iterable[np.ndarray]) -> None:
    """Raises a ValueError if all boxes of a file or list are relative, as far as their values alone tell.

    Whole numbers do not tell: [0, 0, 1, 1] is also the box of an image of one pixel.
    """
    boxes = np.concatenate([np.zeros((0, 5), np.float32), *boxes])
    if _are_relative(boxes) and (boxes[:, :4] % 1).any():
        raise ValueError(_RELATIVE)


def check_limits(score_threshold: float | None, nms_threshold: float | None, max_persons: int | None) -> None:
    """Raises a ValueError if a limit of boxes is neither None nor in its range."""
    for name, value in (('score_threshold', score_threshold), ('nms_threshold', nms_threshold)):
        if value is not None and not (isinstance(value, (int, float, np.number)) and 0 <= value <= 1):
            raise ValueError(f'{name} is {value!r}, but must be a number from 0 to 1')
    if max_persons is not None and not (isinstance(max_persons, (int, np.integer)) and max_persons >= 1):
        raise ValueError(f'max_persons is {max_persons!r}, but must be 1 or more, a whole number')


def can_be_cut(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Which boxes (N, 5) have an area within a frame of size (H, W)."""
    low, high = np.maximum(boxes[:, :2], 0), np.minimum(boxes[:, 2:4], size[::-1])
    return (high > low).all(axis=1)


def filter_boxes(boxes: np.ndarray, score_threshold: float | None, nms_threshold: float | None,
                 max_persons: int | None) -> np.ndarray:
    """The boxes (N, 5) that pass the limits, in their order; a limit that is None lets all pass."""
    return boxes[np.sort(_passing(boxes, score_threshold, nms_threshold, max_persons))]


def _passing(boxes: np.ndarray, score_threshold: float | None, nms_threshold: float | None,
             max_persons: int | None) -> np.ndarray:
    """The numbers of the boxes that pass, highest score first."""
    from torchvision.ops import nms
    kept = np.argsort(-boxes[:, 4], kind='stable')
    if score_threshold is not None:
        kept = kept[boxes[kept, 4] >= score_threshold]
    if nms_threshold is not None:
        kept = kept[nms(torch.from_numpy(boxes[kept, :4]), torch.from_numpy(boxes[kept, 4]), nms_threshold).numpy()]
    return kept[:max_persons]


def keep_best(boxes: np.ndarray, size: tuple[int, int], score_threshold: float, nms_threshold: float,
              max_persons: int | None) -> np.ndarray:
    """The boxes to go on with: those of enough score and area, without doubles, highest score first.

    Args:
        boxes: (N, 4) or (N, 5) x0, y0, x1, y1, score.
        size: (H, W) of the frame, to which boxes are not cut, but in which a part of each must lie.
        score_threshold: Least score.
        nms_threshold: Of boxes that overlap by more than this IoU, greedily, the highest score stays.
        max_persons: At most so many; None: all.

    Returns:
        (N', 5) float32.
    """
    boxes = np.asarray(boxes, np.float32).reshape(-1, np.shape(boxes)[-1] if np.size(boxes) else 5)
    if boxes.shape[1] == 4:
        boxes = np.column_stack([boxes, np.ones(len(boxes), np.float32)])
    if boxes.shape[1] != 5:
        raise ValueError(f'boxes have shape {boxes.shape}; expected (N, 4) or (N, 5): x0, y0, x1, y1, score')
    boxes = boxes[np.isfinite(boxes).all(axis=1) & can_be_cut(boxes, size)]
    return boxes[_passing(boxes, score_threshold, nms_threshold, max_persons)]


class Tracker:
    """Gives the people of a video numbers that stay, by the overlap of boxes from frame to frame.

    Args:
        iou_threshold: Least IoU of a person's box with that person's last one.
        max_age: Updates (frames in which people are looked for) for which a person who is not seen is remembered.
    """

    def __init__(self, iou_threshold: float = .3, max_age: int = 30):
        self.iou_threshold, self.max_age = iou_threshold, max_age
        self.reset()

    def reset(self) -> None:
        """Forgets everyone: another video begins."""
        self.boxes, self.ids, self.ages = np.zeros((0, 5), np.float32), np.zeros(0, int), np.zeros(0, int)
        self.count = 0

    def update(self, boxes: np.ndarray) -> np.ndarray:
        """The numbers (N, ) of the people in the boxes (N, 5) of the next frame, from 1 on."""
        from torchvision.ops import box_iou
        iou = box_iou(torch.from_numpy(self.boxes[:, :4]), torch.from_numpy(boxes[:, :4])).numpy()
        iou = np.nan_to_num(iou)  # of two boxes without area
        ids = np.zeros(len(boxes), int)
        while iou.size and iou.max() >= self.iou_threshold:  # the best pair first
            old, new = np.unravel_index(iou.argmax(), iou.shape)
            ids[new] = self.ids[old]
            iou[old], iou[:, new] = -1, -1
        for new in np.flatnonzero(ids == 0):
            self.count += 1
            ids[new] = self.count
        lost = ~np.isin(self.ids, ids) & (self.ages < self.max_age)
        self.boxes = np.concatenate([boxes, self.boxes[lost]])
        self.ages = np.concatenate([np.zeros(len(boxes), int), self.ages[lost] + 1])
        self.ids = np.concatenate([ids, self.ids[lost]])
        return ids
