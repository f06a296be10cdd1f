"""Errors of relative depth after alignment."""
import math

import numpy as np
from mmseg.registry import METRICS

from .streaming import ScoringMetric, dot, exact, get_map, name_of, ratio

ALIGNMENTS = ('none', 'scale', 'scale-shift', 'scale-shift-inverse')


@METRICS.register_module()
class SapiensDepthMetric(ScoringMetric):
    """RMSE, AbsRel, delta1 to delta3, SiLog and log10 of depth on person pixels.

    With the prediction p and the true depth z of a unit, an image or a person, fitted on its labelled pixels:

    * ``none``: p is measured as it is, in metres.
    * ``scale``: s p, with the s of least squares.
    * ``scale-shift``: s p + t, with the s and t of least squares.
    * ``scale-shift-inverse``: s p + t is fitted to 1 / z, as MiDaS does, and turned back. The sign of s makes near and
      far change places.

    The fits are closed, in float64. A constant prediction has no slope: s is then 0 and t the mean (with ``scale``,
    all-zero predictions stay zero). What comes out, in the inverse before it is turned back, is clamped to
    ``min_depth`` and ``max_depth``. Predictions that aren't finite are counted and take the median of the finite ones
    of their unit, or 0 if there are none: they neither spoil the figures nor are let off.

    RMSE is in metres, the rest without unit; deltas are shares from 0 to 1; log10 is the mean of |log10 p - log10 z|,
    and SiLog the standard deviation of log p - log z (KITTI's has a factor of 100).

    Names: ``depth/scale-shift/per-image/RMSE``, ``depth/scale-shift/per-image/face/RMSE`` for a group, and
    ``depth/scale-shift/per-image-pooled/RMSE`` with ``average='pixel'``. Beside the figures stand ``units`` (images or
    persons measured), ``skipped`` (samples or persons with fewer than ``min_pixels`` labelled pixels), ``reversed``
    (units where the fit turned near into far: a wrong sign of the model) and ``nonfinite`` (pixels).

    Args:
        alignment: See above.
        per: ``'image'`` or ``'person'``: what is aligned and measured by itself. Persons need ``gt_instance_map``.
        average: ``'unit'``: the mean of the figures of the units, as papers have it; ``'pixel'``: over all pixels.
        min_depth, max_depth: In metres. True depth outside of them is an error, for then it is in other units.
        min_pixels: Units with fewer labelled pixels are skipped: a scale and a shift fit any two of them.
        prefix: See :class:`mmengine.evaluator.BaseMetric`.
    """

    default_prefix = 'depth'
    task = 'depth'
    figure_names = ('RMSE', 'AbsRel', 'delta1', 'delta2', 'delta3', 'SiLog', 'log10')

    def __init__(self, alignment: str = 'scale-shift', per: str = 'image', average: str = 'unit',
                 min_depth: float = 0.1, max_depth: float = 100.0, min_pixels: int = 10,
                 prefix: str | None = None) -> None:
        if alignment not in ALIGNMENTS:
            raise ValueError(f"alignment is {alignment!r}, expected one of {', '.join(ALIGNMENTS)}")
        if per not in ('image', 'person'):
            raise ValueError(f"per is {per!r}, expected 'image' or 'person'")
        if average not in ('unit', 'pixel'):
            raise ValueError(f"average is {average!r}, expected 'unit' or 'pixel'")
        if not 0 < min_depth < max_depth:
            raise ValueError(f'min_depth is {min_depth} and max_depth {max_depth}, expected 0 < min_depth < max_depth')
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
        """Sums over the pixels of each unit of a sample.

        Raises:
            ValueError: If sizes differ, or if true depth is outside of the bounds.
        """
        true = get_map(sample, 'gt_depth_map')
        predicted = get_map(sample, 'pred_depth_map', true.shape)
        valid = np.isfinite(true) & (true > 0)
        if sample.get('gt_person_mask') is not None:
            valid &= get_map(sample, 'gt_person_mask', true.shape) > 0
        if self.per == 'person':
            persons = get_map(sample, 'gt_instance_map', true.shape)
            numbers = np.unique(persons)
            masks = [valid & (persons == number) for number in numbers[numbers > 0]]
        else:
            masks = [valid]
        counts = {'skipped': 0 if masks else 1, 'reversed': 0, 'nonfinite': 0}
        units = []
        for mask in masks:
            z = true[mask].astype(np.float64)
            if z.size < max(self.min_pixels, 1):
                counts['skipped'] += 1
                continue
            if z.min() < self.min_depth or z.max() > self.max_depth:
                raise ValueError(f"true depth of sample '{name_of(sample)}' reaches from {z.min():.4g} to "
                                 f'{z.max():.4g}, outside of min_depth {self.min_depth} and max_depth '
                                 f'{self.max_depth}: expected metres. Set the scale of the depth files in the data '
                                 'set, or other bounds in the metric')
            p = predicted[mask].astype(np.float64)
            finite = np.isfinite(p)
            bad = z.size - np.count_nonzero(finite)
            if bad:
                p[~finite] = np.median(p[finite]) if bad < z.size else 0.0
            aligned, wrong_way = self._align(p, z)
            units.append(_sums(aligned, z))
            counts['nonfinite'] += bad
            counts['reversed'] += int(wrong_way)
        return units, counts

    def figures(self, tally: dict) -> dict[str, float]:
        pixels = tally['pixels']
        mean_log = ratio(tally['log'], pixels)
        return {
            'RMSE': math.sqrt(ratio(tally['squared'], pixels)),
            'AbsRel': ratio(tally['relative'], pixels),
            **{f'delta{k}': tally[f'delta{k}'] / pixels for k in (1, 2, 3)},
            'SiLog': math.sqrt(max(ratio(tally['squared log'], pixels) - mean_log**2, 0.0)),
            'log10': ratio(tally['absolute log'], pixels) / math.log(10),
        }

    def counts(self, tally: dict) -> dict[str, float]:
        return {name: float(tally[name]) for name in ('units', 'skipped', 'reversed', 'nonfinite')}

    def _align(self, p: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, bool]:
        """The prediction in metres, within the bounds, and whether the fit turned near into far."""
        wrong_way = False
        if self.alignment == 'scale':
            power = dot(p, p)
            scale = dot(p, z) / power if power > 0 else 0.0
            p, wrong_way = scale * p, scale < 0
        elif self.alignment == 'scale-shift':
            scale, shift = fit_line(p, z)
            p, wrong_way = scale * p + shift, scale < 0
        elif self.alignment == 'scale-shift-inverse':
            scale, shift = fit_line(p, 1 / z)
            wrong_way = scale > 0
            p = 1 / (scale * p + shift).clip(1 / self.max_depth, 1 / self.min_depth)
        return p.clip(self.min_depth, self.max_depth), bool(wrong_way)


def fit_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and offset of the least-squares line; slope 0 where x is constant (to six digits)."""
    mean_x, mean_y = x.mean(), y.mean()
    offset = x - mean_x
    spread = dot(offset, offset)
    slope = dot(offset, y - mean_y) / spread if spread > 1e-12 * dot(x, x) else 0.0
    return slope, mean_y - slope * mean_x


def _sums(p: np.ndarray, z: np.ndarray) -> dict[str, int]:
    error = p - z
    share = p / z
    log = np.log(share)
    share = np.maximum(share, 1 / share)
    return {
        'pixels': z.size,
        'squared': exact(dot(error, error)),
        'relative': exact((np.abs(error) / z).sum()),
        **{f'delta{k}': int(np.count_nonzero(share < 1.25**k)) for k in (1, 2, 3)},
        'log': exact(log.sum()),
        'squared log': exact(dot(log, log)),
        'absolute log': exact(np.abs(log).sum()),
    }
