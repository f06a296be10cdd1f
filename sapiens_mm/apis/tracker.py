"""Tracking of people over the frames of a video."""
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from .result import Result
from .smoothing import KEYPOINT_THRESHOLD

#: Boxes with at least this score are matched first (Zhang et al., 2022, https://arxiv.org/abs/2110.06864).
HIGH_SCORE = .5
#: Largest squared distance of a box to its prediction, in standard deviations: 99 % in two dimensions.
GATE = 9.21
#: Of all keypoints in their similarity: the mean of COCO's sigmas.
_SIGMA = .06
#: Standard deviations, as shares of a box's height: of a measured box, and of what a step adds to place and velocity.
_MEASURED, _PLACE, _VELOCITY = .03, .03, .0125
#: Similarity that a track loses for each frame without its person, so that people in view keep theirs.
_COST_OF_AGE = .02


class Tracker:
    """Matches people from frame to frame by predicted boxes and poses.

    A Kalman filter of constant velocity and size predicts each person's box. Pairs of a track and a box are assigned so
    that the sum of their similarities is largest: the IoU, averaged with the object keypoint similarity if both have
    poses. Boxes that overlap no prediction go to the nearest one that the filter deems possible.

    Args:
        threshold: Minimum similarity of a pair, 0 to 1.
        max_age: Number of frames after which an unseen person is forgotten.
    """

    def __init__(self, threshold: float = .1, max_age: int = 60):
        self.threshold, self.max_age = threshold, max_age
        self.reset()

    def reset(self) -> None:
        self.count = 0
        self.ids, self.ages = np.zeros(0, int), np.zeros(0, int)
        # Centers and sizes, their velocities, and the variances of both and covariance: (N, 4) each.
        self.place, self.velocity = np.zeros((0, 4)), np.zeros((0, 4))
        self.variances = np.zeros((3, 0, 4))
        self.poses: list[tuple | None] = []  # place (4, ) when seen, keypoints (K, 2) and scores (K, )

    def update(self, boxes: np.ndarray, keypoints: np.ndarray | None = None, scores: np.ndarray | None = None,
               frames: int = 1) -> np.ndarray:
        """Returns the track ids (N, ), from 1 on, of the people in the next frame.

        ``boxes`` are (N, 5): x0, y0, x1, y1, score; ``keypoints`` and ``scores`` (N, K, 2) and (N, K); ``frames`` is
        the number of frames since the last update.
        """
        for _ in range(frames):
            self._predict()
        self._keep(self.ages <= self.max_age)
        similarity = self._similarities(boxes, keypoints, scores)
        certain = boxes[:, 4] >= HIGH_SCORE
        tracks = np.full(len(boxes), -1)
        for pairs, chosen in ((similarity, certain), (similarity, ~certain), (self._nearness(boxes), certain)):
            rows, columns = np.setdiff1d(np.arange(len(self.ids)), tracks), np.flatnonzero(chosen & (tracks < 0))
            for row, column in zip(*linear_sum_assignment(pairs[np.ix_(rows, columns)], maximize=True)):
                if pairs[rows[row], columns[column]] > 0:
                    tracks[columns[column]] = rows[row]
        self._correct(tracks, _to_places(boxes))
        for new in np.flatnonzero(tracks < 0):
            tracks[new] = self._start(_to_places(boxes[new:new + 1])[0])
        self.ages[tracks] = 0
        if keypoints is not None:
            for track, pose, score in zip(tracks, keypoints, scores):
                self.poses[track] = self.place[track].copy(), pose, score
        return self.ids[tracks]

    def _predict(self) -> None:
        self.ages += 1
        self.place[:, :2] += self.velocity[:, :2]  # the size stays
        noise = np.maximum(self.place[:, 3:], 1)
        before, both, velocity = self.variances
        self.variances = np.stack([before + 2 * both + velocity + (_PLACE * noise)**2, both + velocity,
                                   velocity + (_VELOCITY * noise)**2])

    def _correct(self, tracks: np.ndarray, places: np.ndarray) -> None:
        found = tracks >= 0
        rows = tracks[found]
        place, both, velocity = self.variances[:, rows]
        total = place + (_MEASURED * np.maximum(places[found, 3:], 1))**2
        error = places[found] - self.place[rows]
        self.place[rows] += place / total * error
        self.velocity[rows] += both / total * error
        self.variances[:, rows] = place - place**2 / total, both - place * both / total, velocity - both**2 / total

    def _start(self, place: np.ndarray) -> int:
        self.count += 1
        self.ids, self.ages = np.append(self.ids, self.count), np.append(self.ages, 0)
        self.place, self.velocity = np.vstack([self.place, place]), np.vstack([self.velocity, np.zeros(4)])
        height = max(place[3], 1)
        start = np.repeat([[(_MEASURED * height)**2], [0], [(10 * _VELOCITY * height)**2]], 4, axis=1)
        self.variances = np.concatenate([self.variances, start[:, None]], axis=1)
        self.poses.append(None)
        return len(self.ids) - 1

    def _keep(self, kept: np.ndarray) -> None:
        self.ids, self.ages, self.place, self.velocity = (
            array[kept] for array in (self.ids, self.ages, self.place, self.velocity))
        self.variances = self.variances[:, kept]
        self.poses = [pose for pose, keep in zip(self.poses, kept) if keep]

    def _similarities(self, boxes: np.ndarray, keypoints: np.ndarray | None, scores: np.ndarray | None) -> np.ndarray:
        """Returns the similarity (tracks, boxes) less the cost of age; 0 for pairs below the threshold."""
        similarity = _iou(self.place, _to_places(boxes))
        for track, pose in enumerate(self.poses if keypoints is not None else ()):
            if pose is not None:
                oks, known = self._oks(track, pose, boxes, keypoints, scores)
                similarity[track, known] = (similarity[track, known] + oks[known]) / 2
        return np.where(similarity < self.threshold, 0,
                        np.maximum(similarity - _COST_OF_AGE * (self.ages[:, None] - 1), 1e-6))

    def _nearness(self, boxes: np.ndarray) -> np.ndarray:
        """Returns (tracks, boxes): 1 at the predicted center, 0 beyond what the filter deems possible."""
        places = _to_places(boxes)
        distance = (self.place[:, None, :2] - places[:, :2])**2 / self.variances[0][:, None, :2]
        ratio = np.maximum(self.place[:, None, 3], 1) / np.maximum(places[:, 3], 1)
        return np.where(np.abs(np.log(ratio)) < .4, np.maximum(1 - distance.sum(axis=2) / GATE, 0), 0)

    def _oks(self, track: int, pose: tuple, boxes: np.ndarray, keypoints: np.ndarray, scores: np.ndarray
             ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the similarity (N, ) of poses to a track's last one at its predicted place; whether it is known."""
        place, last, last_scores = pose
        moved = last + (self.place[track] - place)[:2]
        visible = (scores >= KEYPOINT_THRESHOLD) & (last_scores >= KEYPOINT_THRESHOLD)
        area = np.maximum((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), 1)[:, None]
        near = np.exp(-((keypoints - moved)**2).sum(axis=2) / (2 * area * (2 * _SIGMA)**2))
        number = visible.sum(axis=1)
        return (near * visible).sum(axis=1) / np.maximum(number, 1), number >= 3


def track(results: Iterable[Result]) -> Iterator[Result]:
    """Sets the track ids of results of videos; people keep theirs in frames that keep the boxes of the one before."""
    tracker, before = Tracker(), None
    for result in results:
        if result.index is not None:
            if before is None or not result.index or result.source != before.source:
                tracker.reset()
                before = None
            if before is not None and result.boxes is before.boxes:
                result.track_ids = before.track_ids
            else:
                result.track_ids = tracker.update(result.boxes, result.keypoints, result.keypoint_scores,
                                                  1 if before is None else result.index - before.index)
                before = replace(result, image=None, maps={})  # without the memory of its images
        yield result


def _to_places(boxes: np.ndarray) -> np.ndarray:
    """Returns centers and sizes (N, 4) of boxes (N, 5)."""
    low, high = boxes[:, :2].astype(float), boxes[:, 2:4]
    return np.concatenate([(low + high) / 2, high - low], axis=1)


def _iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the IoU (N, M) of boxes given by centers and sizes, (N, 4) and (M, 4); 0 for boxes without area."""
    first, second = first[:, None], second[None]
    low = np.maximum(first[..., :2] - first[..., 2:] / 2, second[..., :2] - second[..., 2:] / 2)
    high = np.minimum(first[..., :2] + first[..., 2:] / 2, second[..., :2] + second[..., 2:] / 2)
    common = np.maximum(high - low, 0).prod(axis=2)
    union = first[..., 2:].prod(axis=2) + second[..., 2:].prod(axis=2) - common
    return common / np.maximum(union, 1e-9)
