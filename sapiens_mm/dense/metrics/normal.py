"""Angles between predicted and true surface normals."""
import math

import numpy as np
from mmseg.registry import METRICS

from .streaming import ScoringMetric, dot, exact, get_map, ratio

_BLOCK = 1 << 16  # pixels; the working arrays of a block stay in the processor's cache
_WITHIN = (5, 7.5, 11.25, 22.5, 30)
_BIN_WIDTH = 0.01  # degrees


@METRICS.register_module()
class SapiensNormalMetric(ScoringMetric):
    """Mean, median and RMSE of the angle in degrees; percentages of pixels within 5, 7.5, 11.25, 22.5, 30 degrees.

    It counts the pixels of persons that have a true normal. Neither normals need have unit length: they are divided by
    it, in float64. ``unnormalised`` is the percentage of predictions whose length is off by more than 1 %. Where a
    prediction is zero or not finite, the angle is set to 90 degrees, the mean of random directions; ``invalid`` is
    their percentage.

    The median comes from a histogram with bins of 0.01 degrees, interpolated inside of a bin: its error is less than
    that, in memory that doesn't grow with the data.

    Names: ``normal/pooled/mean``, ``normal/pooled/within_11.25``, ``normal/pooled/face/mean`` for a group, and
    ``normal/per-image/mean``. ``images`` have been measured, ``skipped`` were those without a labelled person.

    Args:
        average: ``'pixel'``: all pixels of the set pooled. ``'image'``: the mean of the figures of the images.
        prefix: See :class:`mmengine.evaluator.BaseMetric`.
    """

    default_prefix = 'normal'
    task = 'normal'
    figure_names = ('mean', 'median', 'RMSE', *(f'within_{degrees}' for degrees in _WITHIN))

    def __init__(self, average: str = 'pixel', prefix: str | None = None) -> None:
        if average not in ('image', 'pixel'):
            raise ValueError(f"average is {average!r}, expected 'image' or 'pixel'")
        self.protocol_name = 'pooled' if average == 'pixel' else 'per-image'
        self.protocol = dict(
            average=average, median=f'histogram of {_BIN_WIDTH} degrees', pixels='person', units='degrees',
            invalid_prediction='90 degrees')
        super().__init__(average, prefix)

    def units(self, sample: dict) -> tuple[list[dict], dict]:
        """Sums over the pixels of a sample.

        Raises:
            ValueError: If sizes differ.
        """
        true = get_map(sample, 'gt_normal_map')
        shape = true.shape[1:]
        predicted = get_map(sample, 'pred_normal_map', shape)
        # The sum of magnitudes is 0 without a label, and NaN or infinite if any component is.
        size = np.abs(true).sum(0)
        valid = np.isfinite(size) & (size > 0)
        if sample.get('gt_person_mask') is not None:
            valid &= get_map(sample, 'gt_person_mask', shape) > 0
        pixels = np.flatnonzero(valid)
        counts = {'skipped': 0, 'invalid': 0, 'unnormalised': 0, 'all pixels': 0}
        if not pixels.size:
            return [], {**counts, 'skipped': 1}
        true, predicted = true.reshape(3, -1), predicted.reshape(3, -1)
        histogram = np.zeros(round(180 / _BIN_WIDTH), dtype=np.int64)
        within = dict.fromkeys(_WITHIN, 0)
        total = squared = 0
        for first in range(0, pixels.size, _BLOCK):
            chosen = pixels[first:first + _BLOCK]
            angles, invalid, unnormalised = angles_between(predicted[:, chosen], true[:, chosen])
            bins = np.minimum((angles / _BIN_WIDTH).astype(np.intp), histogram.size - 1)
            histogram += np.bincount(bins, minlength=histogram.size)
            for degrees in _WITHIN:
                within[degrees] += int(np.count_nonzero(angles < degrees))
            total += exact(angles.sum())
            squared += exact(dot(angles, angles))
            counts['invalid'] += invalid
            counts['unnormalised'] += unnormalised
        counts['all pixels'] = pixels.size
        unit = {'pixels': pixels.size, 'angles': total, 'squared': squared, 'histogram': histogram}
        return [{**unit, **{f'within_{degrees}': count for degrees, count in within.items()}}], counts

    def figures(self, tally: dict) -> dict[str, float]:
        pixels = tally['pixels']
        return {
            'mean': ratio(tally['angles'], pixels),
            'median': _median(tally['histogram']),
            'RMSE': math.sqrt(ratio(tally['squared'], pixels)),
            **{f'within_{degrees}': 100 * tally[f'within_{degrees}'] / pixels for degrees in _WITHIN},
        }

    def counts(self, tally: dict) -> dict[str, float]:
        pixels = max(tally['all pixels'], 1)
        return {
            'images': float(tally['units']),
            'skipped': float(tally['skipped']),
            'invalid': 100 * tally['invalid'] / pixels,
            'unnormalised': 100 * tally['unnormalised'] / pixels,
        }


def angles_between(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Angles in degrees between two (3, N) arrays of vectors; how many predictions are invalid; how many unnormalised.

    A prediction that is zero or not finite is at 90 degrees.
    """
    predicted, true = predicted.astype(np.float64), true.astype(np.float64)
    length = np.sqrt(np.einsum('ij,ij->j', predicted, predicted))
    product = length * np.sqrt(np.einsum('ij,ij->j', true, true))
    dot = np.einsum('ij,ij->j', predicted, true)
    valid = np.isfinite(length) & (length > 1e-6)
    cosine = np.divide(dot, product, out=np.zeros_like(dot), where=valid)
    angles = np.degrees(np.arccos(cosine.clip(-1, 1)))
    angles[~valid] = 90
    invalid = valid.size - int(np.count_nonzero(valid))
    return angles, invalid, int(np.count_nonzero(np.abs(length[valid] - 1) > 0.01))


def _median(histogram: np.ndarray) -> float:
    up_to = np.cumsum(histogram)
    count = int(up_to[-1])
    middle = np.array([(count + 1) // 2, count // 2 + 1])  # the one in the middle, or the two around it
    bins = np.searchsorted(up_to, middle)
    inside = (middle - 0.5 - (up_to[bins] - histogram[bins])) / histogram[bins]
    return float((bins + inside).mean() * _BIN_WIDTH)
