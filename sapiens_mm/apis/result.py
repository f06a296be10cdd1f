"""Results of inference: people and maps of one image, as JSON and as images."""
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from ..formats.labels import HALF_PIXEL
from ..formats.mesh import EDGE, Surface
from ..formats.results import PEOPLE_COLUMNS, people_rows
from ..formats.rle import encode_coco
from ..names import KEYPOINT_FORMATS, OPENPOSE_FILES
from ..tasks import TASKS, Task, dense_tasks
from ..utils.people import owners
from ..vocabularies.keypoints import KEYPOINT_NAMES, TARGETS, convert_keypoints, get_vocabulary
from .frames import Source
from .space import Space, surface

# Default of the minimum score of keypoints that are shown.
_THRESHOLD = .3
# OpenPose's fields as parts of COCO-WholeBody.
_OPENPOSE_PARTS = {'face_keypoints_2d': slice(23, 91), 'hand_left_keypoints_2d': slice(91, 112),
                   'hand_right_keypoints_2d': slice(112, 133)}


@dataclass
class Result:
    """People and maps of one image, in pixels of this image.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        index: Number of the frame in a video; None for an image.
        rate, time: Frames per second of the video (0: unknown); seconds since its first frame (None: only the rate).
        boxes: (N, 5) float32 of x0, y0, x1, y1, score; detected ones by descending score, given ones in their order.
        track_ids: (N, ) int, constant over a video; None without tracking.
        keypoints, keypoint_scores: (N, K, 2) and (N, K) float32, scores about 0 to 1; None without a pose model.
        maps: Predictions of the dense tasks by their result name; see :attr:`parts`, :attr:`depth`, :attr:`normal`.
        metainfo: Names, links, colors by task (``'pose'``, ``'seg'``), see :class:`~sapiens_mm.apis.network.TaskModel`.
        features: Features of the frame or of its people by layer; None if they were not asked for.
    """
    source: Source
    image: np.ndarray
    index: int | None = None
    rate: float = 0.
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 5), np.float32))
    track_ids: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    keypoint_scores: np.ndarray | None = None
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    metainfo: dict = field(default_factory=dict)
    time: float | None = None
    features: dict[int, np.ndarray] | None = None

    @property
    def parts(self) -> np.ndarray | None:
        """(H, W) uint8 class ids, 0 for background; None if not predicted."""
        return self.maps.get('parts')

    @property
    def foreground(self) -> np.ndarray | None:
        """(H, W) uint8, 1 on people with clothes, hair and what they carry, else 0; None if not predicted."""
        return self.maps.get('foreground')

    @property
    def depth(self) -> np.ndarray | None:
        """(H, W) float32 relative depth, small is near, 0 off people (by a mask or boxes); None if not predicted."""
        return self.maps.get('depth')

    @property
    def normal(self) -> np.ndarray | None:
        """(H, W, 3) float32 unit vectors, x right, y up, z to the viewer, 0 outside people; None if not predicted."""
        return self.maps.get('normal')

    @property
    def person_masks(self) -> np.ndarray | None:
        """(N, H, W) bool, the pixels of each person; None without parts. A pixel is of at most one person."""
        if self.parts is None:
            return None
        return self._owners(self.parts != 0) == np.arange(len(self.boxes))[:, None, None]

    def _owners(self, people: np.ndarray) -> np.ndarray:
        strokes = [np.zeros((0, 2, 2))] * len(self.boxes)
        if self.keypoints is not None:
            number = self.keypoints.shape[1]
            links = np.reshape([*self.metainfo['pose'].get('skeleton_links', ()), *([point] * 2 for point in
                                                                                  range(number))], (-1, 2))
            shown = self.keypoint_scores >= _THRESHOLD
            strokes = [points[links[seen[links].all(1)]] for points, seen in zip(self.keypoints, shown)]
        return owners(people, self.boxes, strokes)

    @property
    def xyn(self) -> np.ndarray | None:
        """(N, K, 2) float32 keypoints as shares of width and height, from the image's corner; None without pose."""
        if self.keypoints is None:
            return None
        return ((self.keypoints + HALF_PIXEL) / self.image.shape[1::-1]).astype(np.float32)

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        tasks = [f'pose-{self.keypoints.shape[1]}'] if self.keypoints is not None else []
        people = f'{len(self.boxes)} {"person" if len(self.boxes) == 1 else "people"}'
        return f"Result('{self.name}', {width} x {height}, {', '.join([people, *tasks, *self.maps])})"

    @property
    def name(self) -> str:
        return self.source.name if self.index is None else frame_name(self.source.name, self.index)

    @property
    def nbytes(self) -> int:
        return self.image.nbytes + sum(array.nbytes for array in (*self.maps.values(), *(self.features or {}).values()))

    @property
    def mask(self) -> np.ndarray | None:
        """(H, W) bool, True on people, by the foreground, else parts, depth, normals; None without such a map."""
        tasks = sorted(self._dense_tasks(), key=lambda task: task.kind != 'mask')
        return next((self._mask_of(task) for task in tasks if task.kind != 'values'), None)

    def _mask_of(self, task: Task) -> np.ndarray:
        mask = self.maps[task.result] != 0
        return mask.any(axis=-1) if mask.ndim == 3 else mask

    def _dense_tasks(self) -> list[Task]:
        return [task for task in dense_tasks().values() if task.result in self.maps]

    def to_json(self, keypoint_format: str = 'model', threshold: float = _THRESHOLD, masks: bool = False
                ) -> dict:
        """Returns the people as JSON values; docs/outputs.md describes the fields.

        Args:
            keypoint_format: One of ``KEYPOINT_FORMATS`` or ``OPENPOSE_FILES`` of :mod:`sapiens_mm.names`.
            threshold: Minimum score of keypoints for ControlNet, which has no scores.
            masks: Whether people get :attr:`person_masks` as ``segmentation``, COCO's RLE, if there are parts.

        Raises a ValueError for other formats, or if the keypoints cannot be converted.
        """
        check_keypoint_format(keypoint_format)
        if keypoint_format in OPENPOSE_FILES:
            return self._to_openpose(keypoint_format, threshold)
        names, keypoints, scores = self._converted(keypoint_format)
        height, width = self.image.shape[:2]
        content = dict(image=dict(file=self.source.path, width=width, height=height))
        if self.index is not None:
            content['image']['frame'] = self.index
            if self.time is not None or self.rate:
                content['image']['time'] = round(self.index / self.rate if self.time is None else self.time, 4)
        if names is not None:
            content['keypoint_names'] = names
        content['instances'] = []
        owner = self._owners(self.parts != 0) if masks and self.parts is not None else None
        for person, (x0, y0, x1, y1, score) in enumerate(self.boxes.tolist()):
            instance = dict(category_id=1, bbox=_rounded([x0, y0, x1 - x0, y1 - y0]), score=round(score, 4))
            if self.track_ids is not None:
                instance['track_id'] = int(self.track_ids[person])
            if names is not None:
                instance['keypoints'] = _triples(keypoints[person], scores[person])
            if owner is not None:
                instance['segmentation'] = encode_coco(owner == person)
            content['instances'].append(instance)
        return content

    def to_df(self, keypoint_format: str = 'model'):
        """Returns a ``pandas.DataFrame`` with a row for each person; see :func:`~.formats.results.people_rows`.

        Its ``attrs`` have ``keypoint_names``. Raises an ImportError without pandas, and errors as :meth:`to_json`.
        """
        with _extra('to_df', 'pandas'):
            import pandas
        check_one_list(keypoint_format, 'to_df')
        content = self.to_json(keypoint_format)
        table = pandas.DataFrame(people_rows(content, self.source.name), columns=list(PEOPLE_COLUMNS))
        # Tables of images without people, or of images and frames, get the same columns.
        table = table.astype(dict(image='str', frame='Int32', time='float64', width='int32', height='int32',
                                  person='int32', track_id='Int32', score='float32'))
        table.attrs['keypoint_names'] = content.get('keypoint_names')
        return table

    def to_supervision(self, threshold: float = _THRESHOLD) -> tuple:
        """Returns ``supervision.Detections`` and ``supervision.KeyPoints`` of the people, in the same order.

        With parts the detections have masks. Without a pose model the keypoints are empty; those below the threshold
        are not ``visible``. Boxes are ours; those of ``KeyPoints.as_detections`` would be the hulls of the keypoints.
        Raises an ImportError without supervision.
        """
        with _extra('to_supervision', 'supervision'):
            import supervision
        number, scores = len(self.boxes), self.boxes[:, 4].astype(np.float32)

        def common() -> dict:
            return dict(class_id=np.zeros(number, int), data=dict(class_name=np.array(['person'] * number, dtype=str)))

        detections = supervision.Detections(
            self.boxes[:, :4].astype(np.float32), self.person_masks, scores,
            tracker_id=None if self.track_ids is None else np.asarray(self.track_ids, int), **common())
        if self.keypoints is None:
            return detections, supervision.KeyPoints.empty()
        return detections, supervision.KeyPoints(
            self.keypoints.astype(np.float32), keypoint_confidence=self.keypoint_scores.astype(np.float32),
            detection_confidence=scores, visible=self.keypoint_scores >= threshold, **common())

    def _converted(self, keypoint_format: str) -> tuple[list[str] | None, np.ndarray | None, np.ndarray | None]:
        """Returns names, coordinates (N, K, 2) and scores (N, K) in a keypoint format."""
        formats = {**KEYPOINT_FORMATS, **OPENPOSE_FILES}
        keypoint_set = formats[keypoint_format]
        if self.keypoints is None:
            return None, None, None
        model_names = list(self.metainfo['pose']['keypoint_id2name'].values())
        names = model_names if keypoint_set is None else list(KEYPOINT_NAMES[keypoint_set])
        if names == model_names:
            return names, self.keypoints, self.keypoint_scores
        number = len(model_names)
        known = number in (17, 133, 308) and model_names == list(KEYPOINT_NAMES[get_vocabulary(number)])
        targets = (None, *((get_vocabulary(number), *TARGETS[get_vocabulary(number)]) if known else ()))
        if keypoint_set not in targets:
            possible = [name for name, target in formats.items() if target in targets]
            raise ValueError(f"keypoint_format: got '{keypoint_format}' for {number} keypoints"
                             f'{"" if known else " of an unknown set"}, expected {", ".join(possible)}')
        return names, *convert_keypoints(self.keypoints, self.keypoint_scores, number, keypoint_set)

    def _to_openpose(self, layout: str, threshold: float) -> dict:
        people = []
        for person, parts in enumerate(self._openpose_parts(layout)):
            lists = {}
            for name, (points, scores) in parts.items():
                if layout == 'controlnet':  # which takes every score below 1 for 0
                    scores = (np.nan_to_num(scores) >= threshold).astype(float)
                    points = np.where(scores[:, None] > 0, points, 0)
                lists[name] = _triples(points, scores)
            people.append(dict(
                person_id=[-1 if self.track_ids is None else int(self.track_ids[person])], **lists,
                pose_keypoints_3d=[], face_keypoints_3d=[], hand_left_keypoints_3d=[], hand_right_keypoints_3d=[]))
        height, width = self.image.shape[:2]
        return dict(version=1.3, people=people, canvas_width=width, canvas_height=height)

    def _openpose_parts(self, layout: str) -> Iterator[dict[str, tuple[np.ndarray, np.ndarray]]]:
        """Yields points (K, 2) and scores (K) by OpenPose's fields for each person; unknown parts have no points."""
        if self.keypoints is None:
            return
        _, body, body_scores = self._converted(layout)
        whole = whole_scores = np.zeros((len(body), 0))
        if self.keypoints.shape[1] != 17 and layout != 'pose2sim':  # which reads bodies only
            _, whole, whole_scores = self._converted('wholebody-133')
        for person in range(len(body)):
            yield dict(pose_keypoints_2d=(body[person], body_scores[person]), **{
                name: (whole[person, part].reshape(-1, 2), whole_scores[person, part])
                for name, part in _OPENPOSE_PARTS.items()})

    def points(self, **space) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Returns points (N, 3) float32 of people's pixels, colors (N, 3) uint8 and normals (N, 3) or None.

        Points are in meters: x right, y up, z to the viewer, the camera at 0. Depth has no scale; options are those of
        :class:`~sapiens_mm.apis.space.Space`. Raises a ValueError without depth, and errors as ``Space.fit``.
        """
        return self.surface(**space).cloud()

    def mesh(self, edge: float = EDGE, **space):
        """Returns a ``trimesh.Scene`` with a textured mesh of each person, in the axes of :meth:`points`.

        Neighboring pixels whose depths differ by more than ``edge`` meters are not connected. Raises a ValueError
        without trimesh, and errors as :meth:`points`.
        """
        return self.surface(**space).scene(edge)

    def surface(self, **space) -> Surface:
        """Returns the points on the grid of the image's pixels; options and errors as for :meth:`points`."""
        depth, owner, *others = self.depth_of_people()
        return surface(Space(**space).fit(depth, owner, self.name), depth, owner, *others)

    def depth_of_people(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """Returns depth (H, W), the number of the person (H, W), the image, and normals (H, W, 3) or None.

        The number is -1 off people; without parts and foreground it is 0 wherever there is depth. Raises a ValueError
        without depth.
        """
        if self.depth is None:
            raise ValueError(f'{self.name}: got a result with {", ".join(self.maps) or "no maps"}, expected depth; add '
                             'the task depth')
        people = self.depth != 0
        if self.parts is None and self.foreground is None:
            return self.depth, np.where(people, 0, -1), self.image, self.normal
        return self.depth, np.where(people, self._owners(self.mask), -1), self.image, self.normal

    def draw(self, threshold: float = _THRESHOLD) -> np.ndarray:
        """Draws a map (parts, else depth, normals, foreground) and skeletons over the image, (H, W, 3) uint8 RGB."""
        drawing, tasks = self.image, self._dense_tasks()
        if tasks:
            drawing = self._draw_map(tasks[0])
            if tasks[0].kind in ('depth', 'vectors'):  # others are drawn over the image already
                from ..visualization.maps import overlay
                drawing = overlay(self.image, drawing, self._mask_of(tasks[0]))
        return self.draw_skeletons(drawing, threshold)

    def sheet(self, threshold: float = _THRESHOLD) -> np.ndarray:
        """Draws image, keypoints and maps side by side with a legend of the visible parts, (H', W', 3) uint8 RGB."""
        from ..visualization.maps import legend
        from ..visualization.sheet import MAX_HEIGHT, sheet
        small = self._reduced(MAX_HEIGHT)
        images = {'image': small.image}
        if self.keypoints is not None:
            images[TASKS['pose'].title] = small.draw_skeletons(small.image, threshold)
        for task in small._dense_tasks():
            images[task.title] = small._draw_map(task)
            seen = self.seen_parts() if task.kind == 'classes' else ()
            if seen:
                images[task.title] = np.hstack([images[task.title], legend(len(small.image), *zip(*seen))])
        return sheet(images)

    def _reduced(self, height: int) -> 'Result':
        if len(self.image) <= height:
            return self
        scale = height / len(self.image)
        size = max(1, round(self.image.shape[1] * scale)), height
        return replace(
            self, image=cv2.resize(self.image, size, interpolation=cv2.INTER_AREA),
            boxes=np.column_stack([self.boxes[:, :4] * scale, self.boxes[:, 4:]]),
            keypoints=None if self.keypoints is None else (self.keypoints + .5) * scale - .5,
            maps={name: cv2.resize(array, size, interpolation=cv2.INTER_NEAREST) for name, array in self.maps.items()})

    def seen_parts(self) -> list[tuple[str, Sequence[int]]]:
        if self.parts is None:
            return []
        meta = self.metainfo['seg']
        return [(meta['classes'][part].replace('_', ' '), meta['palette'][part])
                for part in np.unique(self.parts) if part]

    def draw_skeletons(self, image: np.ndarray, threshold: float = _THRESHOLD) -> np.ndarray:
        """Draws keypoints of at least a score over an image (H, W, 3) uint8 RGB of the result's size."""
        if self.keypoints is None:
            return image
        from ..visualization.skeleton import draw_skeleton
        return draw_skeleton(image, self.keypoints, self.keypoint_scores, self.metainfo['pose'], threshold,
                             None if self.track_ids is None else self.boxes, self.track_ids)

    def draw_openpose(self, threshold: float = _THRESHOLD) -> np.ndarray:
        """Draws keypoints of at least a score on black for ControlNet, in OpenPose's colors, (H, W, 3) uint8 RGB.

        Raises a ValueError if the keypoints do not convert to OpenPose's.
        """
        from ..visualization.openpose import draw_openpose
        return draw_openpose(self.image.shape[:2], self._openpose_parts('controlnet'), threshold)

    def draw_maps(self) -> dict[str, np.ndarray]:
        """Draws each map, (H, W, 3) uint8 RGB by its name in :attr:`maps`."""
        return {task.result: self._draw_map(task) for task in self._dense_tasks()}

    def _draw_map(self, task: Task) -> np.ndarray:
        from ..visualization.maps import draw_map
        palette = self.metainfo.get(task.name, {}).get('palette')
        mask = self._mask_of(task) if task.kind in ('depth', 'vectors') else self.mask  # --mask may name another
        return draw_map(task.name, self.maps[task.result], self.image, mask, palette)


def check_keypoint_format(keypoint_format: str) -> None:
    known = (*KEYPOINT_FORMATS, *OPENPOSE_FILES)
    if keypoint_format not in known:
        raise ValueError(f"keypoint_format: got '{keypoint_format}', expected one of {', '.join(known)}")


def check_one_list(keypoint_format: str, purpose: str) -> None:
    """Raises a ValueError for OpenPose's files, which have no boxes and several lists of keypoints."""
    if keypoint_format in OPENPOSE_FILES:
        raise ValueError(f"{purpose}: got keypoint_format '{keypoint_format}', expected one of "
                         f'{", ".join(KEYPOINT_FORMATS)}')


@contextmanager
def _extra(method: str, name: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise ImportError(f"{method} needs {name} ({error}): pip install 'sapiens_mm[interop]'") from error


def frame_name(name: str, index: int) -> str:
    return f'{name}.frames/{index:06d}'


def _rounded(values) -> list[float]:
    return [round(value, 3) for value in values]


def _triples(points: np.ndarray, scores: np.ndarray) -> list[float]:
    """Returns a flat list of x, y, score of each keypoint; keypoints that the model lacks are 0, 0, 0."""
    points = np.nan_to_num(np.column_stack([points, scores]).astype(float))
    return _rounded(points.ravel().tolist())
