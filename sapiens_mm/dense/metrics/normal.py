"""Metric of surface normals: angles between predicted and true normals."""
import math

import numpy as np
from mmseg.registry import METRICS

from ...utils.alignment import dot
from .streaming import ScoringMetric, get_map

_BLOCK = 1 << 16  # pixels; working arrays of this size stay in the processor's cache
_WITHIN = (5, 7.5, 11.25, 22.5, 30)
_BIN_WIDTH = 0.01  # degrees


@METRICS.register_module()
class SapiensNormalMetric(ScoringMetric):
    """Mean, median and RMSE of the angle in degrees; percentages of pixels within 5, 7.5, 11.25, 22.5, 30 degrees.

    Counts person pixels with a true normal, in float64. ``unnormalized`` is the percentage of predictions whose length
    is off by more than 1 %. A prediction that is zero or not finite (``invalid``, in percent) counts as 90 degrees, the
    mean of random directions. The median comes from a histogram with bins of 0.01 degrees, interpolated within a bin.

    Names: ``normal/pooled/mean``, ``normal/pooled/face/mean`` for a group, ``normal/per-image/mean``. ``images`` were
    measured; ``skipped`` had no labeled person. ``average``: ``'pixel'``, or ``'image'``, the mean over images.
    """

    default_prefix = 'normal'
    task = 'normal'
    score_names = ('mean', 'median', 'RMSE', *(f'within_{degrees}' for degrees in _WITHIN))
    columns = (('mean', 'mean', 2), ('median', 'median', 2), ('%11.25', 'within_11.25', 2),
               ('%22.5', 'within_22.5', 2), ('%30', 'within_30', 2))
    worst_by = ('mean', False)

    def __init__(self, average: str = 'pixel', prefix: str | None = None) -> None:
        if average not in ('image', 'pixel'):
            raise ValueError(f"average: got {average!r}, expected 'image' or 'pixel'")
        self.protocol_name = 'pooled' if average == 'pixel' else 'per-image'
        self.protocol = dict(
            average=average, median=f'histogram of {_BIN_WIDTH} degrees', pixels='person', units='degrees',
            invalid_prediction='90 degrees')
        super().__init__(average, prefix)

    def units(self, sample: dict) -> tuple[list[dict], dict]:
        true = get_map(sample, 'gt_normal_map')
        shape = true.shape[1:]
        predicted = get_map(sample, 'pred_normal_map', shape)
        # The sum of magnitudes is 0 without a label, and NaN or infinite if any component is.
        size = np.abs(true).sum(0)
        valid = np.isfinite(size) & (size > 0)
        if sample.get('gt_person_mask') is not None:
            valid &= get_map(sample, 'gt_person_mask', shape) > 0
        pixels = np.flatnonzero(valid)
        counts = {'skipped': int(not pixels.size), 'invalid': 0, 'unnormalized': 0, 'all pixels': pixels.size}
        if not pixels.size:
            return [], counts
        true, predicted = true.reshape(3, -1), predicted.reshape(3, -1)
        unit = {'pixels': pixels.size, 'angles': 0., 'squared': 0.,
                'histogram': np.zeros(round(180 / _BIN_WIDTH), dtype=np.int64),
                **{f'within_{degrees}': 0 for degrees in _WITHIN}}
        for first in range(0, pixels.size, _BLOCK):
            chosen = pixels[first:first + _BLOCK]
            angles, invalid, unnormalized = angles_between(predicted[:, chosen], true[:, chosen])
            bins = np.minimum((angles / _BIN_WIDTH).astype(np.intp), unit['histogram'].size - 1)
            unit['histogram'] += np.bincount(bins, minlength=unit['histogram'].size)
            for degrees in _WITHIN:
                unit[f'within_{degrees}'] += int(np.count_nonzero(angles < degrees))
            unit['angles'] += float(angles.sum())
            unit['squared'] += dot(angles, angles)
            counts['invalid'] += invalid
            counts['unnormalized'] += unnormalized
        return [unit], counts

    def scores(self, sums: dict) -> dict[str, float]:
        pixels = sums['pixels']
        return {
            'mean': sums['angles'] / pixels,
            'median': _median(sums['histogram']),
            'RMSE': math.sqrt(sums['squared'] / pixels),
            **{f'within_{degrees}': 100 * sums[f'within_{degrees}'] / pixels for degrees in _WITHIN},
        }

    def counts(self, tally: dict) -> dict[str, float]:
        pixels = max(tally['all pixels'], 1)
        return {
            'images': float(tally['units']),
            'skipped': float(tally['skipped']),
            'invalid': 100 * tally['invalid'] / pixels,
            'unnormalized': 100 * tally['unnormalized'] / pixels,
        }


def angles_between(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Returns angles in degrees between (3, N) vectors, and the numbers of invalid (90) and unnormalized ones."""
    predicted, true = predicted.astype(np.float64), true.astype(np.float64)
    length = np.sqrt(np.einsum('ij,ij->j', predicted, predicted))
    product = length * np.sqrt(np.einsum('ij,ij->j', true, true))
    dot = np.einsum('ij,ij->j', predicted, true)
    valid = np.isfinite(length) & (length > 1e-6)
    cosine = np.divide(dot, product, out=np.zeros_like(dot), where=valid)
    angles = np.degrees(np.arccos(cosine.clip(-1, 1)))
    angles[~valid] = 90
    return angles, int(np.count_nonzero(~valid)), int(np.count_nonzero(np.abs(length[valid] - 1) > 0.01))


def _median(histogram: np.ndarray) -> float:
    up_to = np.cumsum(histogram)
    count = int(up_to[-1])
    middle = np.array([(count + 1) // 2, count // 2 + 1])  # the same pixel twice, or the two around the middle
    bins = np.searchsorted(up_to, middle)
    inside = (middle - 0.5 - (up_to[bins] - histogram[bins])) / histogram[bins]
    return float((bins + inside).mean() * _BIN_WIDTH)
