"""Annotations for COCO's evaluation, checked before a training begins and reduced to what the data set holds."""
import logging

import numpy as np
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmpose.evaluation.metrics import CocoMetric
from mmpose.registry import HOOKS
from xtcocotools.coco import COCO

from ...utils.problems import Problem, guide, report
from ...utils.text import some
from ..datasets.annotations import (
    SIGMAS,
    check_numbers,
    ground_truth,
    has_area,
    labelled,
    name_hashes,
    person_hashes,
    read_annotations,
)

#: Least and largest share of their box that persons' areas typically are.
_AREA = (.02, 2.)

def evaluated_by(dataset) -> dict | None:
    """What an evaluation on a data set covers: ``images`` and ``persons`` by id their hashes, and ``missing`` ids.

    Unions and wrappers are looked into. None: not known.
    """
    parts = [evaluated_by(inner) for inner in getattr(dataset, 'datasets', ())]
    if parts:
        return None if None in parts else dict(
            images={key: value for part in parts for key, value in part['images'].items()},
            persons={key: value for part in parts for key, value in part['persons'].items()},
            missing=tuple(number for part in parts for number in part['missing']))
    if getattr(dataset, 'dataset', None) is not None:
        return evaluated_by(dataset.dataset)
    return (getattr(dataset, 'metainfo', None) or {}).get('evaluated')


def read_ground_truth(ann_file: str, dataset_meta: dict, use_area: bool, evaluated: dict | None = None) -> COCO:
    """The annotations of a file that a data set's predictions are compared with.

    Args:
        ann_file: The evaluator's annotation file.
        dataset_meta: The data set's metainfo.
        use_area: Whether OKS takes ``area``.
        evaluated: From :func:`evaluated_by`; by default what the metainfo says.

    Raises:
        ValueError: The file is that of another data set, or lacks what the evaluation needs.
    """
    check_numbers(list(dataset_meta['keypoint_name2id']), dataset_meta['sigmas'], 'sigmas',
                  f"metainfo of '{dataset_meta['dataset_name']}'", *SIGMAS)
    content = read_annotations(ann_file, "the evaluator's ann_file")
    if not content.get('categories') or not content['annotations']:
        report(Problem('annotations of the evaluator', ann_file, "no 'categories' or no 'annotations'",
                       'both, as the evaluation needs; give the evaluator the ann_file of the data set'))
    evaluated = evaluated or dataset_meta.get('evaluated')
    if evaluated is not None:
        _compare(ann_file, content, evaluated)
    check_areas(content['annotations'], use_area, ann_file)
    return ground_truth(content, evaluated)


def _compare(ann_file: str, content: dict, evaluated: dict) -> None:
    """Checks that a file has the images and persons of the data set."""
    images = content['images']
    names = dict(zip((image['id'] for image in images), name_hashes([image['file_name'] for image in images]).tolist()))
    entries = [entry for entry in content['annotations'] if entry['image_id'] in evaluated['images']]
    persons = person_hashes(entries)
    expected = 'what the ann_file of the data set has; give both the same file'
    for unit, own, theirs in (('image', names, evaluated['images']), ('person', persons, evaluated['persons'])):
        wrong = tuple(number for number, code in theirs.items() if own.get(number) != code)
        if wrong:
            report(Problem('annotations of the evaluator', ann_file, 'are missing or different', expected, wrong,
                           total=len(theirs), unit=unit))
            return
    extra = tuple(persons.keys() - evaluated['persons'].keys())
    if extra:
        report(Problem('annotations of the evaluator', ann_file, 'are not in the data set', expected, extra,
                       total=len(persons), unit='person'))


def check_keypoints(coco: COCO, dataset_meta: dict, where: str) -> None:
    """Checks for mmpose's ``CocoMetric`` that annotations have one list with the data set's number of keypoints."""
    expected = len(dataset_meta['sigmas'])
    entries = coco.dataset['annotations']
    wrong = [entry for entry in entries if len(entry['keypoints']) != 3 * expected]
    if wrong:
        report(Problem('number of keypoints', where, f"have {len(wrong[0]['keypoints']) // 3} keypoints in 'keypoints'",
                       f"{expected}; use SapiensKeypointMetric for COCO-WholeBody's fields, else annotations of the "
                       'data set', tuple(entry['id'] for entry in wrong), total=len(entries), unit='annotation'))


def check_areas(annotations: list[dict], use_area: bool, where: str) -> None:
    """Checks that the labelled persons have the area by which OKS judges distances.

    Raises:
        DataError: One has none, or none above 0.
    """
    persons = [entry for entry in annotations if labelled(entry)]
    wrong = [entry for entry in persons if not has_area(entry)]
    shares = [entry['area'] / box for entry in persons if has_area(entry)
              and (box := np.prod((entry.get('bbox') or [0])[2:])) > 0]
    if use_area and shares and not _AREA[0] < np.median(shares) < _AREA[1]:
        report(Problem('area', where, f'have areas of typically {np.median(shares):.3g} of their box', 'the area of '
                       'the person in square pixels, about half of the box; correct its unit, or set use_area=False in '
                       'the evaluator', tuple(entry['id'] for entry in persons), unit='person'))
    if use_area and wrong:
        values = some(dict.fromkeys(repr(entry.get('area')) for entry in wrong))
        report(Problem('area', where, f'have area {values}', 'the area of the person in square pixels, which OKS '
                       'divides by; add it, or set use_area=False in the evaluator to take 0.53 of the box',
                       tuple(entry['id'] for entry in wrong), total=len(persons), unit='person'))


def log_missing(dataset_meta: dict) -> None:
    """Says how many labelled persons the evaluation leaves out, since the data set has no sample of them."""
    missing = (dataset_meta.get('evaluated') or {}).get('missing', ())
    if len(missing):
        print_log(f'{len(missing)} labelled persons ({some(missing)}) are not part of this evaluation: the data set '
                  f'has no sample of them. {guide("dropped")}', 'current', logging.WARNING)


@HOOKS.register_module()
class SapiensCheckCocoMetricHook(Hook):
    """Gives mmpose's ``CocoMetric`` the checked annotations that `SapiensKeypointMetric` reads by itself.

    Raises:
        ValueError: Before the first iteration, if the annotations cannot be evaluated.
    """

    def before_train(self, runner) -> None:
        if runner.val_loop is not None:
            self._prepare(runner.val_loop)

    def before_test(self, runner) -> None:
        self._prepare(runner.test_loop)

    def before_val(self, runner) -> None:
        if runner.iter == 0:  # a validation alone
            self._prepare(runner.val_loop)

    def after_val_epoch(self, runner, metrics=None) -> None:
        self._log(runner.val_loop)

    def after_test_epoch(self, runner, metrics=None) -> None:
        self._log(runner.test_loop)

    @staticmethod
    def _metrics(loop) -> list[CocoMetric]:
        return [metric for metric in loop.evaluator.metrics if isinstance(metric, CocoMetric)]

    def _prepare(self, loop) -> None:
        dataset = loop.dataloader.dataset
        union = hasattr(dataset, 'datasets')
        for metric in self._metrics(loop):
            ours = hasattr(metric, 'metric_names')
            ann_file = metric.ann_file or getattr(dataset, 'ann_file', None)
            # Ours has read them by itself, but knows a union of data sets only by the first of them.
            if ann_file and metric.gt_converter is None and metric.iou_type == 'keypoints' and (union or not ours):
                metric.coco = read_ground_truth(ann_file, metric.dataset_meta, metric.use_area, evaluated_by(dataset))
                if not ours:
                    check_keypoints(metric.coco, metric.dataset_meta, ann_file)

    def _log(self, loop) -> None:
        for metric in self._metrics(loop):
            if not hasattr(metric, 'metric_names'):
                log_missing(metric.dataset_meta)
