"""Smoothing of keypoints over time, and steady depth of videos."""
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from .result import Result

#: Keypoints below this score are hidden: they are not moved, end the span that is smoothed, and tell no poses apart.
KEYPOINT_THRESHOLD = .3
#: Frames per second of videos that state neither times nor a rate.
_RATE = 30.
#: Cutoff of the speed's low-pass filter in Hz, as in the paper.
_SPEED_CUTOFF = 1.


@dataclass(frozen=True)
class OneEuro:
    """One Euro filter: a low-pass filter whose cutoff grows with speed, so that it lags little in fast motion.

    Casiez et al., 2012, https://doi.org/10.1145/2207676.2208639. It needs no later frames.

    Attributes:
        min_cutoff: Cutoff in Hz of a keypoint at rest; a lower one smooths more.
        beta: Growth of the cutoff in Hz with the speed in pixels per second; a higher one lags less.
    """
    min_cutoff: float = 1.
    beta: float = .05

    def __post_init__(self):
        for name, value, valid in (('min_cutoff', self.min_cutoff, self.min_cutoff > 0),
                                   ('beta', self.beta, self.beta >= 0)):
            if not (valid and value < float('inf')):
                raise ValueError(f'{name}: got {value}, expected a finite number of at least 0 (min_cutoff: above 0)')

    def step(self, state: tuple | None, points: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray]:
        """Returns smooth points (K, 2) and their speeds, the next ``state``; NaN starts a point anew.

        ``points`` are NaN where hidden; ``seconds`` have passed since the last step.
        """
        if state is None:
            return points, np.where(np.isnan(points), np.nan, 0.)
        last, speed = state
        new = np.isnan(last)
        speed = speed + _share(_SPEED_CUTOFF, seconds) * ((points - last) / seconds - speed)
        cutoff = self.min_cutoff + self.beta * np.linalg.norm(speed, axis=1, keepdims=True)
        smooth = last + _share(cutoff, seconds) * (points - last)
        return np.where(new, points, smooth), np.where(np.isnan(points), np.nan, np.where(new, 0., speed))


def _share(cutoff, seconds: float):
    """Returns how far a low-pass filter with a cutoff in Hz goes to the new value."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * seconds))


def smooth(results: Iterable[Result], one_euro: OneEuro) -> Iterator[Result]:
    """Smooths the keypoints of tracked people in results of videos, each person and keypoint on its own.

    A keypoint starts anew after a frame in which it is hidden or its person is not found.
    """
    before, states = None, {}
    for result in results:
        if result.index is not None and result.keypoints is not None:
            if before is None or not result.index or result.source != before[0]:
                before, states = None, {}
            seconds = _seconds(result)
            passed = max(seconds - before[1], 1e-3) if before else 1.
            points = np.where((result.keypoint_scores >= KEYPOINT_THRESHOLD)[..., None], result.keypoints, np.nan)
            states = {person: one_euro.step(states.get(person), points[row].astype(float), passed)
                      for row, person in enumerate(result.track_ids.tolist())}
            for row, person in enumerate(result.track_ids.tolist()):
                result.keypoints[row] = np.where(np.isnan(states[person][0]), result.keypoints[row], states[person][0])
            before = result.source, seconds
        yield result


def _seconds(result: Result) -> float:
    return result.index / (result.rate or _RATE) if result.time is None else result.time


def butterworth(points: np.ndarray, rate: float, cutoff: float = 6., order: int = 4) -> np.ndarray:
    """Smooths a curve (T, ...) by a Butterworth filter forwards and backwards, which shifts nothing in time.

    ``rate`` and ``cutoff`` are in Hz. ``order`` is that of both passes together. Curves too short for the filter are
    returned as they are. Raises a ValueError if ``cutoff`` is not below half of ``rate``.
    """
    from scipy.signal import butter, sosfiltfilt
    if not 0 < cutoff < rate / 2:
        raise ValueError(f'cutoff: got {cutoff} Hz, expected a number above 0 and below {rate / 2:g} Hz, half of the '
                         'frames per second')
    if order < 2 or order % 2:
        raise ValueError(f'order: got {order}, expected an even number of at least 2')
    sections = butter(order // 2, cutoff / (rate / 2), output='sos')
    needed = 3 * (2 * len(sections) + 1 - min((sections[:, 2] == 0).sum(), (sections[:, 5] == 0).sum()))
    return points if len(points) <= needed else sosfiltfilt(sections, points, axis=0)


def steady(results: Iterable[Result]) -> Iterator[Result]:
    """Fits the scale and shift of each frame's depth to the frame before, on people that both show.

    Medians and interquartile ranges are made equal; least squares would flatten the depth a little in each frame.
    """
    before = None
    for result in results:
        if result.index is not None and result.depth is not None:
            depth = result.depth
            if before is not None and result.index and before[0] == result.source and before[1].shape == depth.shape:
                scale, shift = _fit(depth, before[1])
                depth = np.where(depth > 0, np.maximum(depth * scale + shift, 1e-6), 0)
                result.maps['depth'] = depth.astype(np.float32)
            before = result.source, result.depth
        yield result


def _fit(depth: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Returns scale and shift of positive depths to others; 1 and 0 if they have too little in common."""
    common = (depth > 0) & (other > 0)
    if common.sum() < 16:
        return 1., 0.
    low, middle, high = np.percentile(depth[common], (25, 50, 75))
    other_low, other_middle, other_high = np.percentile(other[common], (25, 50, 75))
    if high - low < 1e-6 or other_high - other_low < 1e-6:
        return 1., float(other_middle - middle)
    scale = (other_high - other_low) / (high - low)
    return float(scale), float(other_middle - scale * middle)
