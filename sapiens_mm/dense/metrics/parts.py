"""Intersection over union and accuracy of body parts."""
import math

import numpy as np
from mmengine.logging import MMLogger
from mmseg.registry import METRICS

from ...vocabularies import lip
from .streaming import ScoringMetric, get_map, name_of

#: Names of the classes, and what each of the 28 and each of the 20 becomes; 255 is none.
_MAPPINGS = {
    '28to20': (lip.LIP_NAMES, lip.PARTS_28_TO_20, lip.LIP_COMPARABLE),
    '28to20-cihp': (lip.CIHP_NAMES, lip.PARTS_28_TO_CIHP, lip.CIHP_COMPARABLE),
}
_BLOCK = 1 << 18  # pixels; the working arrays of a block stay in the processor's cache


@METRICS.register_module()
class SapiensPartsMetric(ScoringMetric):
    """mIoU, mAcc and aAcc in percent, over all pixels of the set.

    ``mIoU`` is the mean over the classes that occur in the labels or in the predictions, as mmseg has it;
    ``mIoU_present`` over those that occur in the labels, so that a few stray pixels of a class that nobody wears don't
    count as a class at 0; ``mAcc`` is the mean of the recalls of the latter, ``aAcc`` the share of right pixels. The
    ``report`` has IoU and accuracy of each class.

    ``mapping='28to20'`` measures in what the 28 parts and LIP's 20 classes have in common (see
    :mod:`sapiens_mm.vocabularies.lip`), so that models and data sets of either can be compared; ``'28to20-cihp'`` for
    CIHP, which has the torso. Whether the labels are 28 or 20 is told by the classes of the data set. Labels without
    a counterpart are ignored; a prediction without one, on a label that has one, is an error. Classes that none of the
    28 becomes are left out of the means.

    Names: ``parts/mIoU``, ``parts/28to20/mIoU``, and ``parts/face/mIoU`` for a group.

    Args:
        mapping: None, ``'28to20'`` or ``'28to20-cihp'``.
        map_pred: With a mapping, whether predictions are of the 28 parts; else they are of the 20 classes.
        ignore_index: Labels of this value don't count.
        prefix: See :class:`mmengine.evaluator.BaseMetric`.
    """

    default_prefix = 'parts'
    task = 'parts'
    figure_names = ('mIoU', 'mIoU_present', 'mAcc', 'aAcc')

    def __init__(self, mapping: str | None = None, map_pred: bool = True, ignore_index: int = 255,
                 prefix: str | None = None) -> None:
        if mapping not in (None, *_MAPPINGS):
            raise ValueError(f"mapping is {mapping!r}, expected None, {' or '.join(map(repr, _MAPPINGS))}")
        self.mapping = mapping
        self.map_pred = map_pred
        self.ignore_index = ignore_index
        self.protocol_name = mapping or ''
        super().__init__('pixel', prefix)

    @ScoringMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        """Metainfo of the data set: ``classes`` are the names of the labels."""
        ScoringMetric.dataset_meta.fset(self, dataset_meta)
        labels = tuple(dataset_meta['classes'])
        self.classes, self._counted = labels, np.ones(len(labels), dtype=bool)
        self._label_map = self._pred_map = np.arange(len(labels))
        if self.mapping:
            self.classes, *tables = _MAPPINGS[self.mapping]
            from_28, from_20 = (np.minimum(table, len(self.classes)) for table in tables)  # 255 becomes the last
            if len(labels) not in (len(from_28), len(from_20)):
                raise ValueError(f"mapping '{self.mapping}' needs labels of 28 or 20 classes, the data set has "
                                 f'{len(labels)}')
            self._counted = np.isin(np.arange(len(self.classes)), from_28)
            self._label_map = from_28 if len(labels) == len(from_28) else from_20
            self._pred_map = from_28 if self.map_pred else from_20
        self.protocol = dict(
            mapping=self.mapping, classes=len(self.classes), label_classes=len(self._label_map),
            prediction_classes=len(self._pred_map), average='pixel')

    def units(self, sample: dict) -> tuple[list[dict], dict]:
        """The confusion matrix of a sample.

        Raises:
            ValueError: If sizes differ, or if a label or a prediction is no class.
        """
        if self.dataset_meta is None:
            raise ValueError('SapiensPartsMetric needs the classes of the data set: set its dataset_meta')
        labels = get_map(sample, 'gt_sem_seg')
        table = joint_counts(as_bytes(labels, sample, 'gt_sem_seg'),
                             as_bytes(get_map(sample, 'pred_sem_seg', labels.shape), sample, 'pred_sem_seg'))
        table[self.ignore_index] = 0
        self._check(table.sum(1), self._label_map, sample, 'label', f', and {self.ignore_index} for none')
        self._check(table.sum(0), self._pred_map, sample, 'prediction', '')
        count = len(self.classes)
        confusion = np.zeros((count + 1, count + 1), dtype=np.int64)  # the last is for what becomes no class
        np.add.at(confusion, (self._label_map[:, None], self._pred_map[None]),
                  table[:len(self._label_map), :len(self._pred_map)])
        confusion = confusion[:count]
        if not confusion.any():
            return [], {'skipped': 1}
        return [{'confusion': confusion}], {'skipped': 0}

    def figures(self, tally: dict) -> dict[str, float]:
        right, labelled, either = self._pixels(tally['confusion'])
        iou = right / np.maximum(either, 1)
        present = (labelled > 0) & self._counted
        return {
            'mIoU': _mean(iou[(either > 0) & self._counted]),
            'mIoU_present': _mean(iou[present]),
            'mAcc': _mean((right / np.maximum(labelled, 1))[present]),
            'aAcc': float(100 * right.sum() / labelled.sum()),
        }

    def counts(self, tally: dict) -> dict[str, float]:
        return {'images': float(tally['units']), 'skipped': float(tally['skipped'])}

    def complete_report(self, tally: dict) -> None:
        if not tally['units']:
            return
        right, labelled, either = self._pixels(tally['confusion'])
        rows = {}
        for i, name in enumerate(self.classes):
            rows[name] = dict(
                IoU=100 * float(right[i] / either[i]) if either[i] else None,
                Acc=100 * float(right[i] / labelled[i]) if labelled[i] else None,
                pixels=int(labelled[i]),
                counted=bool(self._counted[i]))
        self.report['classes'] = rows
        lines = [f'{"class":18}{"IoU":>8}{"Acc":>8}{"pixels":>14}']
        for name, row in rows.items():
            iou, acc = ('-' if row[key] is None else f'{row[key]:.2f}' for key in ('IoU', 'Acc'))
            lines.append(f'{name:18}{iou:>8}{acc:>8}{row["pixels"]:14}')
        MMLogger.get_current_instance().info(f"{self.report['name']}, in percent:\n" + '\n'.join(lines))

    @staticmethod
    def _pixels(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels of each class that are right, that are labelled, and that are labelled or predicted."""
        right = confusion.diagonal()
        labelled = confusion.sum(1)
        return right, labelled, labelled + confusion[:, :-1].sum(0) - right

    @staticmethod
    def _check(pixels: np.ndarray, mapping: np.ndarray, sample: dict, what: str, but: str) -> None:
        if pixels[len(mapping):].any():
            value = len(mapping) + int(np.flatnonzero(pixels[len(mapping):])[0])
            raise ValueError(f"sample '{name_of(sample)}' has {pixels[value]} pixels with {what} {value}, but classes "
                             f'are 0 to {len(mapping) - 1}{but}: data set, model and mapping must have the same '
                             'vocabulary')


def as_bytes(labels: np.ndarray, sample: dict, key: str) -> np.ndarray:
    """Labels as uint8."""
    if labels.dtype == np.uint8:
        return labels
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"'{key}' of sample '{name_of(sample)}' is {labels.dtype}, expected integers")
    if labels.size and (labels.min() < 0 or labels.max() > 255):
        raise ValueError(f"'{key}' of sample '{name_of(sample)}' reaches from {labels.min()} to {labels.max()}, "
                         'expected classes from 0 to 254, or 255 for none')
    return labels.astype(np.uint8)


def joint_counts(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """How many pixels have each pair of label and prediction: (256, 256) int64 from two uint8 arrays of one shape."""
    counts = np.zeros(1 << 16, dtype=np.int64)
    labels, predicted = labels.ravel(), predicted.ravel()
    for first in range(0, labels.size, _BLOCK):
        pair = labels[first:first + _BLOCK].astype(np.intp)
        pair <<= 8
        pair |= predicted[first:first + _BLOCK]
        counts += np.bincount(pair, minlength=1 << 16)
    return counts.reshape(256, 256)


def _mean(values: np.ndarray) -> float:
    return 100 * float(values.mean()) if values.size else math.nan
