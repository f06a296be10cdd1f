"""Metric of the foreground: overlap of predicted and true pixels of people."""
import numpy as np
from mmseg.registry import METRICS

from .streaming import ScoringMetric, get_map


@METRICS.register_module()
class SapiensForegroundMetric(ScoringMetric):
    """IoU, precision and recall of people's pixels in percent, over all pixels of the set (``average='pixel'``), or
    as the mean over images (``'image'``).

    An image without people, true or predicted, has no such pixels: it changes nothing, and ``empty`` counts it. Names:
    ``foreground/pooled/IoU``, ``foreground/per-image/IoU``, ``foreground/pooled/face/IoU`` for a group.
    """

    default_prefix = 'foreground'
    task = 'foreground'
    score_names = ('IoU', 'precision', 'recall')
    columns = (('IoU', 'IoU', 2), ('prec.', 'precision', 2), ('recall', 'recall', 2))
    worst_by = ('IoU', True)

    def __init__(self, average: str = 'pixel', prefix: str | None = None) -> None:
        if average not in ('image', 'pixel'):
            raise ValueError(f"average: got {average!r}, expected 'image' or 'pixel'")
        self.protocol_name = 'pooled' if average == 'pixel' else 'per-image'
        self.protocol = dict(average=average, classes=2, units='percent')
        super().__init__(average, prefix)

    def units(self, sample: dict) -> tuple[list[dict], dict]:
        true = get_map(sample, 'gt_person_mask') > 0
        predicted = get_map(sample, 'pred_foreground', true.shape) > 0
        both, either = np.count_nonzero(true & predicted), np.count_nonzero(true | predicted)
        unit = dict(both=both, either=either, true=np.count_nonzero(true), predicted=np.count_nonzero(predicted))
        return ([unit], dict(empty=0)) if either else ([], dict(empty=1))

    def scores(self, sums: dict) -> dict[str, float]:
        return {name: 100 * sums['both'] / max(sums[whole], 1)
                for name, whole in (('IoU', 'either'), ('precision', 'predicted'), ('recall', 'true'))}

    def counts(self, tally: dict) -> dict[str, float]:
        return dict(images=float(tally['units']), empty=float(tally['empty']))
