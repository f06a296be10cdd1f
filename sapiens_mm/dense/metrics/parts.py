"""Metric of body-part segmentation: intersection over union and accuracy."""
import math

import numpy as np
from mmengine.logging import MMLogger
from mmseg.registry import METRICS

from ...vocabularies import lip
from .streaming import ScoringMetric, get_map, name_of

#: Names of the common classes, and the tables from 28 and from 20 classes to them; 255 is none.
_MAPPINGS = {
    '28to20': (lip.LIP_NAMES, lip.PARTS_28_TO_20, lip.LIP_COMPARABLE),
    '28to20-cihp': (lip.CIHP_NAMES, lip.PARTS_28_TO_CIHP, lip.CIHP_COMPARABLE),
}
_BLOCK = 1 << 18  # pixels; working arrays of this size stay in the processor's cache


@METRICS.register_module()
class SapiensPartsMetric(ScoringMetric):
    """mIoU, mAcc and aAcc in percent, over all pixels of the set.

    ``mIoU`` is the mean over classes that occur in the labels or in the predictions, as in mmseg; ``mIoU_present`` over
    those in the labels, so that a few stray pixels of another class don't count as an IoU of 0. ``mAcc`` is the mean
    recall of the latter, ``aAcc`` the share of correct pixels. ``report`` has IoU and accuracy of each class. Names:
    ``parts/mIoU``, ``parts/28to20/mIoU``, and ``parts/face/mIoU`` for a group.

    Args:
        mapping: ``'28to20'`` measures in the classes that the 28 parts and LIP's 20 have in common (see
            :mod:`sapiens_mm.vocabularies.lip`), ``'28to20-cihp'`` for CIHP, which has the torso. Labels without a
            counterpart are ignored; a prediction without one is wrong.
        map_pred: With a mapping, whether predictions are of the 28 parts rather than of the 20 classes.
        ignore_index: Label of pixels to ignore.
    """

    default_prefix = 'parts'
    task = 'seg'
    score_names = ('mIoU', 'mIoU_present', 'mAcc', 'aAcc')
    columns = (('mIoU', 'mIoU', 2), ('mAcc', 'mAcc', 2), ('aAcc', 'aAcc', 2))
    worst_by = ('mIoU', True)

    def __init__(self, mapping: str | None = None, map_pred: bool = True, ignore_index: int = 255,
                 prefix: str | None = None) -> None:
        if mapping not in (None, *_MAPPINGS):
            raise ValueError(f'mapping: got {mapping!r}, expected one of {[None, *_MAPPINGS]}')
        self.mapping = mapping
        self.map_pred = map_pred
        self.ignore_index = ignore_index
        self.protocol_name = mapping or ''
        super().__init__('pixel', prefix)

    @ScoringMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        ScoringMetric.dataset_meta.fset(self, dataset_meta)
        labels = tuple(dataset_meta['classes'])
        self.classes, self._counted = labels, np.ones(len(labels), dtype=bool)
        self._label_map = self._pred_map = np.arange(len(labels))
        if self.mapping:
            self.classes, *tables = _MAPPINGS[self.mapping]
            from_28, from_20 = (np.minimum(table, len(self.classes)) for table in tables)  # 255 becomes the last
            if len(labels) not in (len(from_28), len(from_20)):
                raise ValueError(f"classes of the dataset: got {len(labels)}, expected 28 or 20 for mapping "
                                 f"'{self.mapping}'")
            self._counted = np.isin(np.arange(len(self.classes)), from_28)
            self._label_map = from_28 if len(labels) == len(from_28) else from_20
            self._pred_map = from_28 if self.map_pred else from_20
        self.protocol = dict(
            mapping=self.mapping, classes=len(self.classes), label_classes=len(self._label_map),
            prediction_classes=len(self._pred_map), average='pixel')

    def units(self, sample: dict) -> tuple[list[dict], dict]:
        if self.dataset_meta is None:
            raise ValueError('dataset_meta: got None, expected the metainfo of the dataset; set dataset_meta')
        labels = get_map(sample, 'gt_sem_seg')
        table = joint_counts(as_bytes(labels, sample, 'gt_sem_seg'),
                             as_bytes(get_map(sample, 'pred_sem_seg', labels.shape), sample, 'pred_sem_seg'))
        table[self.ignore_index] = 0
        for what, pixels, mapping in (('label', table.sum(1), self._label_map),
                                      ('prediction', table.sum(0), self._pred_map)):
            if pixels[len(mapping):].any():
                value = len(mapping) + int(np.flatnonzero(pixels[len(mapping):])[0])
                ignored = f' or {self.ignore_index}' if what == 'label' else ''
                raise ValueError(f"{what} of sample '{name_of(sample)}': got {pixels[value]} pixels of class {value}, "
                                 f'expected 0 to {len(mapping) - 1}{ignored}; use a dataset, model and mapping of '
                                 'one vocabulary')
        count = len(self.classes)
        confusion = np.zeros((count + 1, count + 1), dtype=np.int64)  # the last is for classes without a counterpart
        np.add.at(confusion, (self._label_map[:, None], self._pred_map[None]),
                  table[:len(self._label_map), :len(self._pred_map)])
        confusion = confusion[:count]
        return ([{'confusion': confusion}], {'skipped': 0}) if confusion.any() else ([], {'skipped': 1})

    def scores(self, sums: dict) -> dict[str, float]:
        right, labeled, either = _pixels(sums['confusion'])
        iou = right / np.maximum(either, 1)
        present = (labeled > 0) & self._counted
        return {
            'mIoU': _mean(iou[(either > 0) & self._counted]),
            'mIoU_present': _mean(iou[present]),
            'mAcc': _mean((right / np.maximum(labeled, 1))[present]),
            'aAcc': float(100 * right.sum() / labeled.sum()),
        }

    def counts(self, tally: dict) -> dict[str, float]:
        return {'images': float(tally['units']), 'skipped': float(tally['skipped'])}

    def complete_report(self, tally: dict) -> None:
        if not tally['units']:
            return
        right, labeled, either = _pixels(tally['confusion'])
        rows = {name: dict(IoU=100 * float(right[i] / either[i]) if either[i] else None,
                           Acc=100 * float(right[i] / labeled[i]) if labeled[i] else None,
                           pixels=int(labeled[i]), counted=bool(self._counted[i]))
                for i, name in enumerate(self.classes)}
        self.report['classes'] = rows
        lines = [f'{"class":18}{"IoU":>8}{"Acc":>8}{"pixels":>14}']
        for name, row in rows.items():
            iou, acc = ('-' if row[key] is None else f'{row[key]:.2f}' for key in ('IoU', 'Acc'))
            lines.append(f'{name:18}{iou:>8}{acc:>8}{row["pixels"]:14}')
        MMLogger.get_current_instance().info(f"{self.report['name']}, in percent:\n" + '\n'.join(lines))


def _pixels(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the pixels of each class that are correct, that are labeled, and that are labeled or predicted."""
    right, labeled = confusion.diagonal(), confusion.sum(1)
    return right, labeled, labeled + confusion[:, :-1].sum(0) - right


def as_bytes(labels: np.ndarray, sample: dict, key: str) -> np.ndarray:
    """Returns labels as uint8; a ValueError if they are no integers from 0 to 255."""
    if labels.dtype == np.uint8:
        return labels
    name = f"'{key}' of sample '{name_of(sample)}'"
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f'{name}: got {labels.dtype}, expected integers')
    if labels.size and (labels.min() < 0 or labels.max() > 255):
        raise ValueError(f'{name}: got {labels.min()} to {labels.max()}, expected classes 0 to 254, or 255 for none')
    return labels.astype(np.uint8)


def joint_counts(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Returns the pixels of each pair of label and prediction, (256, 256) int64, of two uint8 arrays of one shape."""
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
