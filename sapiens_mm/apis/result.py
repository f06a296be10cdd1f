"""What was found in one image."""
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from ..vocabularies.keypoints import KEYPOINT_NAMES, convert_keypoints, get_vocabulary
from .reading import Source

#: The tasks that give maps; a picture that shows one of them shows the first that there is.
DENSE = ('parts', 'depth', 'normal')
#: Keypoint format -> keypoint set of :mod:`sapiens_mm.vocabularies.keypoints`; None keeps the model's.
KEYPOINT_FORMATS = {'model': None, 'coco-17': 'coco', 'wholebody-133': 'coco_wholebody', 'openpose': 'openpose25'}
# Of OpenPose's people, by the places of COCO-WholeBody's keypoints.
_OPENPOSE_PARTS = {'face_keypoints_2d': slice(23, 91), 'hand_left_keypoints_2d': slice(91, 112),
                   'hand_right_keypoints_2d': slice(112, 133)}


@dataclass
class Result:
    """People and maps of one image, all in its pixels.

    Attributes:
        source: Where the image comes from.
        image: (H, W, 3) uint8 RGB.
        index: Number of the frame in a video; None for an image.
        rate: Frames per second of the video, 0 if unknown.
        boxes: (N, 5) float32: x0, y0, x1, y1, score; a detector's with the highest score first, given ones in their
            order.
        track_ids: (N, ) int, numbers that stay over a video; None without tracking.
        keypoints: (N, K, 2) float32; None without a pose model, as with the rest.
        keypoint_scores: (N, K) float32, about 0 to 1.
        parts: (H, W) uint8 class ids, 0 for background.
        depth: (H, W) float32, smaller is nearer, without a unit. 0 where no person is, as far as parts or boxes tell.
        normal: (H, W, 3) float32 unit vectors, x right, y up, z to the viewer; 0 where no person is, likewise.
        metainfo: By task (``'pose'``, ``'parts'``): names, links, colours; see :class:`TaskModel`.
        time: Seconds from the first frame of the video; None where only its rate is known.
    """
    source: Source
    image: np.ndarray
    index: int | None = None
    rate: float = 0.
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 5), np.float32))
    track_ids: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    keypoint_scores: np.ndarray | None = None
    parts: np.ndarray | None = None
    depth: np.ndarray | None = None
    normal: np.ndarray | None = None
    metainfo: dict = field(default_factory=dict)
    time: float | None = None

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        found = [f'pose-{self.keypoints.shape[1]}'] if self.keypoints is not None else []
        found += self._maps()
        people = f'{len(self.boxes)} {"person" if len(self.boxes) == 1 else "people"}'
        return f"Result('{self.name}', {width} x {height}, {people}{''.join(f', {task}' for task in found)})"

    @property
    def name(self) -> str:
        """What its outputs are called: that of its source, and the number of the frame."""
        return self.source.name if self.index is None else frame_name(self.source.name, self.index)

    @property
    def nbytes(self) -> int:
        """Bytes of the image and the maps."""
        return self.image.nbytes + sum(getattr(self, name).nbytes for name in self._maps())

    @property
    def mask(self) -> np.ndarray | None:
        """(H, W) boolean, True on people; None where nothing tells."""
        if self.parts is not None:
            return self.parts != 0
        if self.depth is not None:
            return self.depth != 0
        return None if self.normal is None else (self.normal != 0).any(axis=-1)

    def to_json(self, keypoint_format: str = 'model') -> dict:
        """The people as numbers for JSON; ``docs/outputs.md`` has the fields.

        Args:
            keypoint_format: One of `KEYPOINT_FORMATS`; ``'openpose'`` gives a file of OpenPose's.

        Raises:
            ValueError: There is no such format, or these keypoints do not convert to it.
        """
        if keypoint_format not in KEYPOINT_FORMATS:
            raise ValueError(f"keypoint_format is '{keypoint_format}', but must be one of "
                             f'{", ".join(KEYPOINT_FORMATS)}')
        if keypoint_format == 'openpose':
            return self._to_openpose()
        names, keypoints, scores = self._converted(KEYPOINT_FORMATS[keypoint_format])
        height, width = self.image.shape[:2]
        content = dict(image=dict(file=self.source.path, width=width, height=height))
        if self.index is not None:
            content['image']['frame'] = self.index
            if self.time is not None or self.rate:
                content['image']['time'] = round(self.index / self.rate if self.time is None else self.time, 4)
        if names is not None:
            content['keypoint_names'] = names
        content['instances'] = []
        for person, (x0, y0, x1, y1, score) in enumerate(self.boxes.tolist()):
            instance = dict(category_id=1, bbox=_rounded([x0, y0, x1 - x0, y1 - y0]), score=round(score, 4))
            if self.track_ids is not None:
                instance['track_id'] = int(self.track_ids[person])
            if names is not None:
                instance['keypoints'] = _triples(keypoints[person], scores[person])
            content['instances'].append(instance)
        return content

    def _converted(self, vocabulary: str | None) -> tuple[list[str] | None, np.ndarray | None, np.ndarray | None]:
        """Names, coordinates and scores of the keypoints in a vocabulary, None: in that of the model."""
        if self.keypoints is None:
            return None, None, None
        own = list(self.metainfo['pose']['keypoint_id2name'].values())
        if vocabulary is None:
            return own, self.keypoints, self.keypoint_scores
        names = list(KEYPOINT_NAMES[vocabulary])
        if names == own:
            return own, self.keypoints, self.keypoint_scores
        if len(own) not in (17, 133, 308) or own != list(KEYPOINT_NAMES[get_vocabulary(len(own))]):
            raise ValueError(f'these {len(own)} keypoints are of a vocabulary of your own, which does not convert; '
                             "take keypoint_format='model'")
        return names, *convert_keypoints(self.keypoints, self.keypoint_scores, len(own), vocabulary)

    def _to_openpose(self) -> dict:
        people = []
        if self.keypoints is not None:
            _, body, body_scores = self._converted('openpose25')
            parts = dict.fromkeys(_OPENPOSE_PARTS)
            if self.keypoints.shape[1] != 17:
                _, whole, whole_scores = self._converted('coco_wholebody')
                parts = {name: (whole[:, part], whole_scores[:, part]) for name, part in _OPENPOSE_PARTS.items()}
            for person in range(len(body)):
                ids = [-1] if self.track_ids is None else [int(self.track_ids[person])]
                people.append(dict(
                    person_id=ids, pose_keypoints_2d=_triples(body[person], body_scores[person]),
                    **{name: [] if part is None else _triples(part[0][person], part[1][person])
                       for name, part in parts.items()},
                    pose_keypoints_3d=[], face_keypoints_3d=[], hand_left_keypoints_3d=[], hand_right_keypoints_3d=[]))
        return dict(version=1.3, people=people)

    def draw(self, threshold: float = .3) -> np.ndarray:
        """The image under what was found, (H, W, 3) uint8 RGB: parts (else depth, else normals), then skeletons.

        Args:
            threshold: Keypoints with a lower score are left out.
        """
        picture, shown = self.image, next(iter(self._maps()), None)
        if shown is not None:
            picture = self._draw_map(shown)
        if shown not in (None, 'parts'):  # which are over the image already
            from ..visualization.maps import overlay
            picture = overlay(self.image, picture, self.mask)
        return self.draw_skeletons(picture, threshold)

    def sheet(self, threshold: float = .3) -> np.ndarray:
        """The image, keypoints and maps side by side, with what their colours mean, (H', W', 3) uint8 RGB."""
        from ..visualization.sheet import MAX_HEIGHT, sheet
        small = self._reduced(MAX_HEIGHT)
        pictures = {'image': small.image}
        if self.keypoints is not None:
            pictures['left orange, right blue'] = small.draw_skeletons(small.image, threshold)
        titles = dict(depth='depth, yellow is near')
        pictures |= {titles.get(name, name): picture for name, picture in small.draw_maps().items()}
        seen = self.seen_parts()
        if seen:
            from ..visualization.maps import legend
            key = legend(len(small.image), *zip(*seen))
            pictures['parts'] = np.hstack([pictures['parts'], key])
        return sheet(pictures)

    def _reduced(self, height: int) -> 'Result':
        """This one at that height, if it is higher: to be drawn, since of maps single pixels are taken."""
        if len(self.image) <= height:
            return self
        scale = height / len(self.image)
        size = max(1, round(self.image.shape[1] * scale)), height
        maps = {name: cv2.resize(getattr(self, name), size, interpolation=cv2.INTER_NEAREST) for name in self._maps()}
        return replace(
            self, image=cv2.resize(self.image, size, interpolation=cv2.INTER_AREA),
            boxes=np.column_stack([self.boxes[:, :4] * scale, self.boxes[:, 4:]]),
            keypoints=None if self.keypoints is None else (self.keypoints + .5) * scale - .5, **maps)

    def seen_parts(self) -> list[tuple[str, Sequence[int]]]:
        """Names and RGB colours of the parts that are seen, without the background."""
        if self.parts is None:
            return []
        meta = self.metainfo['parts']
        return [(meta['classes'][part].replace('_', ' '), meta['palette'][part])
                for part in np.unique(self.parts) if part]

    def draw_skeletons(self, picture: np.ndarray, threshold: float = .3) -> np.ndarray:
        """A picture (H, W, 3) uint8 RGB of the image's size under the keypoints that score at least the threshold."""
        if self.keypoints is None:
            return picture
        from ..visualization.skeleton import draw_skeleton
        return draw_skeleton(picture, self.keypoints, self.keypoint_scores, self.metainfo['pose'], threshold,
                             None if self.track_ids is None else self.boxes, self.track_ids)

    def draw_maps(self) -> dict[str, np.ndarray]:
        """Pictures of the maps that there are, (H, W, 3) uint8 RGB: ``'parts'``, ``'depth'``, ``'normals'``."""
        return {dict(normal='normals').get(name, name): self._draw_map(name) for name in self._maps()}

    def _maps(self) -> list[str]:
        return [name for name in DENSE if getattr(self, name) is not None]

    def _draw_map(self, name: str) -> np.ndarray:
        from ..visualization.maps import color_normals, draw_depth, draw_parts
        if name == 'parts':
            return draw_parts(self.image, self.parts, self.metainfo['parts']['palette'])
        return draw_depth(self.depth, self.mask) if name == 'depth' else color_normals(self.normal, self.mask)


def frame_name(name: str, index: int) -> str:
    """What the outputs of a frame of a video are called."""
    return f'{name}.frames/{index:06d}'


def _rounded(values) -> list[float]:
    return [round(value, 3) for value in values]


def _triples(points: np.ndarray, scores: np.ndarray) -> list[float]:
    """x, y, score of each keypoint in a row; one that the vocabulary has and the model has not is 0, 0, 0."""
    points = np.nan_to_num(np.column_stack([points, scores]).astype(float))
    return _rounded(points.ravel().tolist())
