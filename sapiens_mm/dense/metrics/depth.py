"""Metric of relative depth: errors after alignment to the true depth."""
import math

import numpy as np
from mmseg.registry import METRICS

from ...utils.alignment import ALIGNMENTS, align_depth, dot, fit_depth
from .streaming import ScoringMetric, get_map, name_of


@METRICS.register_module()
class SapiensDepthMetric(ScoringMetric):
    """RMSE, AbsRel, delta1 to delta3, SiLog and log10 of depth on person pixels.

    The prediction p is aligned to the true depth z on the labeled pixels of each unit, an image or a person: ``none``:
    p, in meters; ``scale``: s p; ``scale-shift``: s p + t; both least squares; ``scale-shift-inverse``: 1 / (s p + t),
    with s p + t fitted to 1 / z as in MiDaS, where a positive s would swap near and far.

    The fits are closed-form, in float64. A constant prediction gets s = 0 and t = the mean (with ``scale``, zeros stay
    zeros). Predictions that are not finite become the median of the finite ones of their unit, or 0.

    RMSE is in meters, the rest unitless; deltas are shares from 0 to 1; log10 is the mean of |log10 p - log10 z|, SiLog
    the standard deviation of log p - log z (KITTI's has a factor of 100).

    Names: ``depth/scale-shift/per-image/RMSE``, ``depth/scale-shift/per-image/face/RMSE`` for a group, and
    ``depth/scale-shift/per-image-pooled/RMSE`` with ``average='pixel'``. Counts: ``units`` measured, ``skipped`` (fewer
    than ``min_pixels`` labeled), ``reversed`` (units whose fit swapped near and far) and ``nonfinite`` (pixels).

    Args:
        alignment: See above.
        per: Unit: ``'image'``, or ``'person'``, which needs ``gt_instance_map``.
        average: ``'unit'``: the mean over units of their scores, as in papers; ``'pixel'``: over all pixels.
        min_depth, max_depth: In meters; aligned depth is clamped to them. True depth beyond them is an error of units.
        min_pixels: Units with fewer labeled pixels are skipped, since a scale and a shift fit any two of them.
    """

    default_prefix = 'depth'
    task = 'depth'
    score_names = ('RMSE', 'AbsRel', 'delta1', 'delta2', 'delta3', 'SiLog', 'log10')
    columns = (('RMSE', 'RMSE', 4), ('AbsRel', 'AbsRel', 4), ('delta1', 'delta1', 4))
    worst_by = ('RMSE', False)

    def __init__(self, alignment: str = 'scale-shift', per: str = 'image', average: str = 'unit',
                 min_depth: float = 0.1, max_depth: float = 100.0, min_pixels: int = 10,
                 prefix: str | None = None) -> None:
        for name, value, allowed in (('alignment', alignment, ALIGNMENTS), ('per', per, ('image', 'person')),
                                     ('average', average, ('unit', 'pixel'))):
            if value not in allowed:
                raise ValueError(f"{name}: got {value!r}, expected one of {', '.join(allowed)}")
        if not 0 < min_depth < max_depth:
            raise ValueError(f'min_depth, max_depth: got {min_depth}, {max_depth}, expected 0 < min_depth < max_depth')
        self.alignment, self.per = alignment, per
        self.min_depth, self.max_depth = min_depth, max_depth
        self.min_pixels = min_pixels
        self.protocol_name = f'{alignment}/per-{per}' + ('-pooled' if average == 'pixel' else '')
        self.protocol = dict(
            alignment=alignment, per=per, average=average, min_depth=min_depth, max_depth=max_depth,
            min_pixels=min_pixels, pixels='person', units='m',
            fit=None if alignment == 'none' else 'least squares in float64')
        super().__init__(average, prefix)

    def units(self, sample: dict) -> tuple[list[dict], dict]:
        true = get_map(sample, 'gt_depth_map')
        predicted = get_map(sample, 'pred_depth_map', true.shape)
        valid = np.isfinite(true) & (true > 0)
        if sample.get('gt_person_mask') is not None:
            valid &= get_map(sample, 'gt_person_mask', true.shape) > 0
        masks = [valid]
        if self.per == 'person':
            persons = get_map(sample, 'gt_instance_map', true.shape)
            masks = [valid & (persons == number) for number in np.unique(persons) if number > 0]
        counts = {'skipped': int(not masks), 'reversed': 0, 'nonfinite': 0}
        units = []
        for mask in masks:
            z = true[mask].astype(np.float64)
            if z.size < max(self.min_pixels, 1):
                counts['skipped'] += 1
                continue
            if z.min() < self.min_depth or z.max() > self.max_depth:
                raise ValueError(f"true depth of sample '{name_of(sample)}': got {z.min():.4g} to {z.max():.4g}, "
                                 f'expected {self.min_depth} to {self.max_depth} meters; set depth_scale in the '
                                 'dataset, or other bounds in the metric')
            p = predicted[mask].astype(np.float64)
            finite = np.isfinite(p)
            bad = z.size - np.count_nonzero(finite)
            if bad:
                p[~finite] = np.median(p[finite]) if bad < z.size else 0.0
            aligned, swapped = self._align(p, z)
            units.append(_sums(aligned, z))
            counts['nonfinite'] += bad
            counts['reversed'] += swapped
        return units, counts

    def scores(self, sums: dict) -> dict[str, float]:
        pixels = sums['pixels']
        return {
            'RMSE': math.sqrt(sums['squared'] / pixels),
            'AbsRel': sums['relative'] / pixels,
            **{f'delta{k}': sums[f'delta{k}'] / pixels for k in (1, 2, 3)},
            'SiLog': math.sqrt(max(sums['squared log'] / pixels - (sums['log'] / pixels)**2, 0.0)),
            'log10': sums['absolute log'] / pixels / math.log(10),
        }

    def counts(self, tally: dict) -> dict[str, float]:
        return {name: float(tally[name]) for name in ('units', 'skipped', 'reversed', 'nonfinite')}

    def _align(self, p: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, bool]:
        """Returns depth in meters within the bounds, and whether the fit swapped near and far."""
        scale, shift, swapped = fit_depth(p, z, self.alignment)
        return align_depth(p, scale, shift, self.alignment, self.min_depth, self.max_depth), swapped


def _sums(p: np.ndarray, z: np.ndarray) -> dict[str, int | float]:
    error, ratio = p - z, p / z
    log = np.log(ratio)
    ratio = np.maximum(ratio, 1 / ratio)
    return {
        'pixels': z.size,
        'squared': dot(error, error),
        'relative': float((np.abs(error) / z).sum()),
        **{f'delta{k}': int(np.count_nonzero(ratio < 1.25**k)) for k in (1, 2, 3)},
        'log': float(log.sum()),
        'squared log': dot(log, log),
        'absolute log': float(np.abs(log).sum()),
    }
