"""Where people are in frames: found by a detector, listed in a file, or anywhere; and who is who in a video."""
import json
import os
import os.path as osp
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized

import cv2
import numpy as np
import torch

from .crops import resize_frame
from .models import TaskModel
from .reading import Frame, Source

#: The detector by default: its config, as mmdet brings it, and its weights' address.
DETECTORS = {
    'rtmdet-m': ('mmdet::rtmdet/rtmdet_m_8xb32-300e_coco.py',
                 'https://download.openmmlab.com/mmdetection/v3.0/rtmdet/rtmdet_m_8xb32-300e_coco/'
                 'rtmdet_m_8xb32-300e_coco_20220719_112220-229f527c.pth')
}
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
        return [self._regions(probability, frame.image.shape[:2]) for probability, frame in zip(person, frames)]

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
    """Boxes that a file lists.

    Args:
        path: JSON. COCO annotations (``images`` and ``annotations``; images are told apart by ``file_name``), COCO
            results (a list of ``image_id``, ``bbox``, ``score``; an image is told by the number that its name is), or
            ``{"name or path of an image": [[x0, y0, x1, y1, score], ...]}``, the score may be left out. COCO's boxes
            are x, y, width, height; of several categories the one called ``person``, or number 1, is taken.

    Raises:
        ValueError: It is missing or none of these.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        try:
            with open(self.path, encoding='utf-8') as file:
                content = json.load(file)
            self.boxes, self.by_id = self._read(content)
            for name, boxes in self.boxes.items():
                _check_boxes(name, boxes)
        except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f'{self.path} cannot be used as boxes ({type(error).__name__}: {error}); expected COCO '
                             'annotations, COCO results, or {"image": [[x0, y0, x1, y1, score], ...]}') from error

    @staticmethod
    def _read(content: dict | list) -> tuple[dict[str, np.ndarray], bool]:
        if isinstance(content, dict) and 'annotations' not in content:
            for name, boxes in content.items():
                if any(len(box) not in (4, 5) for box in boxes):
                    raise ValueError(f'{name}: a box has 4 numbers, or 5 with its score')
            return {name: np.array([[*box, 1.][:5] for box in boxes], np.float32).reshape(-1, 5)
                    for name, boxes in content.items()}, False
        names = {}
        if isinstance(content, dict):
            names = {image['id']: image['file_name'] for image in content['images']}
            person = {category['id'] for category in content.get('categories', ())
                      if category['name'] == 'person'} or {1}
            content = [entry for entry in content['annotations'] if not entry.get('iscrowd')]
        else:
            person = {1}
        boxes = {str(name): [] for name in names.values()}
        for entry in content:
            if entry.get('category_id', 1) in person:
                x, y, width, height = entry['bbox']
                name = str(names.get(entry['image_id'], entry['image_id']))
                boxes.setdefault(name, []).append([x, y, x + width, y + height, entry.get('score', 1.)])
        return {name: np.array(found, np.float32).reshape(-1, 5) for name, found in boxes.items()}, not names

    def __call__(self, frames: Sequence[Frame]) -> list[np.ndarray]:
        return [self._of(frame.source, frame.index) for frame in frames]

    def knows(self, source: Source) -> bool:
        """Whether it has an entry for an image, or for a frame of a video."""
        return self._key(source, None) is not None or (
            source.kind != 'image' and any(name.startswith(f'{source.name}/') for name in self.boxes))

    def _of(self, source: Source, index: int | None) -> np.ndarray:
        key = self._key(source, index)
        return np.zeros((0, 5), np.float32) if key is None else self.boxes[key]

    def _key(self, source: Source, index: int | None) -> str | None:
        name = source.name if index is None else f'{source.name}/{index:06d}'
        base = osp.basename(name)
        stem = osp.splitext(base)[0]
        keys = name, source.path, base, str(int(stem)) if self.by_id and stem.isdecimal() else None
        return next((key for key in keys if key in self.boxes), None)


class GivenBoxes:
    """Boxes in the order of the frames.

    Args:
        boxes: For each frame (N, 4) or (N, 5): x0, y0, x1, y1, score.

    Raises:
        ValueError: They are not that; also when it is called, and when there are not as many as frames.
    """

    def __init__(self, boxes: Iterable[np.ndarray]):
        if not isinstance(boxes, Iterable) or isinstance(boxes, Mapping) or getattr(boxes, 'ndim', 3) != 3:
            raise ValueError(f'boxes are {_kind_of(boxes)}; expected a list with an array (N, 4) or (N, 5) for each '
                             'frame (of one frame: [array]), or the path of a file')
        self._number = len(boxes) if isinstance(boxes, Sized) else None
        self._boxes, self._taken = iter(boxes), 0

    def __call__(self, frames: Sequence[Frame]) -> list[np.ndarray]:
        found = [self._check(boxes) for _, boxes in zip(frames, self._boxes)]
        if len(found) < len(frames):
            raise ValueError('there are more frames than arrays of boxes; give one for each, empty where nobody is')
        return found

    def finish(self) -> None:
        """Says that there are no more frames."""
        if self._number is not None and self._taken < self._number:
            raise ValueError(f'there are {self._number} arrays of boxes, but only {self._taken} frames; give one for '
                             'each frame')

    def _check(self, boxes: np.ndarray) -> np.ndarray:
        name, self._taken = f'frame {self._taken}', self._taken + 1
        try:
            array = np.asarray(boxes, np.float32)
        except (TypeError, ValueError):
            array = np.zeros(1, np.float32)
        if not array.size and boxes is not None:
            return np.zeros((0, 5), np.float32)
        if array.ndim != 2 or array.shape[1] not in (4, 5):
            raise ValueError(f'{name}: boxes are {_kind_of(boxes)}; expected (N, 4) or (N, 5): x0, y0, x1, y1, score')
        _check_boxes(name, array)
        return array


def _kind_of(value) -> str:
    shape = getattr(value, 'shape', None)
    return type(value).__name__ if shape is None else f'{type(value).__name__} of shape {tuple(shape)}'


def _check_boxes(name: str, boxes: np.ndarray) -> None:
    for number, box in enumerate(boxes):
        # Boxes without area occur in COCO, and are left out later.
        if not (np.isfinite(box).all() and box[0] <= box[2] and box[1] <= box[3]):
            raise ValueError(f'{name}: box {number} is {box[:4].tolist()}; expected x0, y0, x1, y1 with x0 <= x1 and '
                             'y0 <= y1, not x, y, width, height')


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
    from torchvision.ops import nms
    boxes = np.asarray(boxes, np.float32).reshape(-1, np.shape(boxes)[-1] if np.size(boxes) else 5)
    if boxes.shape[1] == 4:
        boxes = np.column_stack([boxes, np.ones(len(boxes), np.float32)])
    if boxes.shape[1] != 5:
        raise ValueError(f'boxes have shape {boxes.shape}; expected (N, 4) or (N, 5): x0, y0, x1, y1, score')
    low, high = np.maximum(boxes[:, :2], 0), np.minimum(boxes[:, 2:4], size[::-1])
    boxes = boxes[np.isfinite(boxes).all(axis=1) & (high > low).all(axis=1) & (boxes[:, 4] >= score_threshold)]
    kept = nms(torch.from_numpy(boxes[:, :4]), torch.from_numpy(boxes[:, 4]), nms_threshold).numpy()
    return boxes[kept[:max_persons]]


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
