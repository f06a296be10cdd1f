"""Annotations for COCO's evaluation: checked before training, and reduced to the persons of the dataset."""
import contextlib
import io
import logging
import zlib
from collections.abc import Sequence

import numpy as np
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmpose.evaluation.metrics import CocoMetric
from mmpose.registry import HOOKS
from xtcocotools.coco import COCO

from ..utils.problems import Problem, guide, report
from ..utils.text import some
from .annotations import has_area, has_keypoints, read_annotations
from .checks import SIGMAS, check_numbers

#: Smallest and largest median of persons' areas, as a share of their boxes.
_AREA = (.02, 2.)


def name_hashes(file_names: Sequence[str]) -> np.ndarray:
    """Returns a number for the file name of each image, (N, ); compares images of the same id in two files."""
    return np.array([zlib.crc32(str(name).rpartition('/')[2].encode()) for name in file_names], np.int64)


def person_hashes(entries: Sequence[dict]) -> dict[int, int]:
    """Returns a number for the content of each labeled person, by id; equal for equal annotations of two files."""
    return {entry['id']: zlib.crc32(repr((entry['image_id'], entry['category_id'], [
        float(value) for value in entry['keypoints']])).encode()) for entry in entries if _is_labeled(entry)}


def _is_labeled(entry: dict) -> bool:
    return not entry.get('iscrowd') and any(
        flag > 0 for name, values in entry.items() if name == 'keypoints' or name.endswith('_kpts')
        for flag in values[2::3])


def evaluated_by(dataset) -> dict | None:
    """Returns what an evaluation covers: ``images``, ``persons`` (hashes by id), ``missing`` ids; None if unknown."""
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
    """Reads the evaluator's annotations, and checks that they are those ``evaluated`` (by default of the metainfo)."""
    check_numbers(list(dataset_meta['keypoint_name2id']), dataset_meta['sigmas'], 'sigmas',
                  f"metainfo of '{dataset_meta['dataset_name']}'", *SIGMAS)
    content = read_annotations(ann_file, "the evaluator's ann_file")
    if not content.get('categories') or not content['annotations']:
        report(Problem('annotations of the evaluator', ann_file, "no 'categories' or no 'annotations'",
                       'both, as the evaluation needs; give the evaluator the ann_file of the dataset'))
    evaluated = evaluated or dataset_meta.get('evaluated')
    if evaluated is not None:
        _compare(ann_file, content, evaluated)
    check_areas(content['annotations'], use_area, ann_file)
    return _to_coco(content, evaluated)


def _compare(ann_file: str, content: dict, evaluated: dict) -> None:
    images = content['images']
    names = dict(zip((image['id'] for image in images), name_hashes([image['file_name'] for image in images]).tolist()))
    persons = person_hashes([entry for entry in content['annotations'] if entry['image_id'] in evaluated['images']])
    expected = 'what the ann_file of the dataset has; give both the same file'
    for unit, ours, theirs in (('image', names, evaluated['images']), ('person', persons, evaluated['persons'])):
        wrong = tuple(number for number, code in theirs.items() if ours.get(number) != code)
        if wrong:
            report(Problem('annotations of the evaluator', ann_file, 'are missing or different', expected, wrong,
                           total=len(theirs), unit=unit))
            return
    if extra := tuple(persons.keys() - evaluated['persons'].keys()):
        report(Problem('annotations of the evaluator', ann_file, 'are not in the dataset', expected, extra,
                       total=len(persons), unit='person'))


def _to_coco(content: dict, evaluated: dict | None) -> COCO:
    entries, images = content['annotations'], content['images']
    if evaluated is not None:
        kept, missing = set(evaluated['images']), set(evaluated['missing'])
        images = [image for image in images if image['id'] in kept]
        entries = [entry for entry in entries if entry['image_id'] in kept and entry['id'] not in missing]
    coco = COCO()
    # xtcocotools reads the area of every person, also of those it ignores.
    coco.dataset = {**content, 'images': images, 'annotations': [
        {'iscrowd': 0, **entry, 'area': entry['area'] if has_area(entry) else .53 * np.prod(entry['bbox'][2:])}
        for entry in entries if entry.get('bbox') and has_keypoints(entry)]}
    if any(entry['id'] < 0 for entry in entries):  # negative ids mean unmatched in xtcocotools
        for number, entry in enumerate(coco.dataset['annotations'], 1):
            entry['id'] = number
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def check_keypoints(coco: COCO, dataset_meta: dict, where: str) -> None:
    """Checks for mmpose's ``CocoMetric`` that annotations have one list with the dataset's number of keypoints."""
    expected = len(dataset_meta['sigmas'])
    entries = coco.dataset['annotations']
    wrong = [entry for entry in entries if len(entry['keypoints']) != 3 * expected]
    if wrong:
        report(Problem('number of keypoints', where, f"have {len(wrong[0]['keypoints']) // 3} keypoints in 'keypoints'",
                       f"{expected}; use SapiensKeypointMetric for COCO-WholeBody's fields, else annotations of the "
                       'dataset', tuple(entry['id'] for entry in wrong), total=len(entries), unit='annotation'))


def check_areas(annotations: list[dict], use_area: bool, where: str) -> None:
    """Checks that labeled persons have an area, by which OKS divides distances, in the unit of the boxes."""
    if not use_area:
        return
    persons = [entry for entry in annotations if _is_labeled(entry)]
    wrong = [entry for entry in persons if not has_area(entry)]
    shares = [entry['area'] / box for entry in persons if has_area(entry)
              and (box := np.prod((entry.get('bbox') or [0])[2:])) > 0]
    if shares and not _AREA[0] < np.median(shares) < _AREA[1]:
        report(Problem('area', where, f'have areas of typically {np.median(shares):.3g} of their box', 'the area of '
                       'the person in square pixels, about half of the box; correct its unit, or set use_area=False in '
                       'the evaluator', tuple(entry['id'] for entry in persons), unit='person'))
    if wrong:
        values = some(dict.fromkeys(repr(entry.get('area')) for entry in wrong))
        report(Problem('area', where, f'have area {values}', 'the area of the person in square pixels, which OKS '
                       'divides by; add it, or set use_area=False in the evaluator to take 0.53 of the box',
                       tuple(entry['id'] for entry in wrong), total=len(persons), unit='person'))


def log_missing(dataset_meta: dict) -> None:
    """Logs how many labeled persons the evaluation leaves out because the dataset has no sample of them."""
    missing = (dataset_meta.get('evaluated') or {}).get('missing', ())
    if len(missing):
        print_log(f'{len(missing)} labeled persons ({some(missing)}) are not part of this evaluation: the dataset '
                  f'has no sample of them. {guide("dropped")}', 'current', logging.WARNING)


@HOOKS.register_module()
class SapiensCheckCocoMetricHook(Hook):
    """Gives mmpose's ``CocoMetric`` the checked annotations that ``SapiensKeypointMetric`` reads by itself."""

    def before_train(self, runner) -> None:
        if runner.val_loop is not None:
            self._prepare(runner.val_loop)

    def before_test(self, runner) -> None:
        self._prepare(runner.test_loop)

    def before_val(self, runner) -> None:
        if runner.iter == 0:  # validation without training
            self._prepare(runner.val_loop)

    def after_val_epoch(self, runner, metrics=None) -> None:
        self._log(runner.val_loop)

    def after_test_epoch(self, runner, metrics=None) -> None:
        self._log(runner.test_loop)

    @staticmethod
    def _metrics(loop) -> list[tuple[CocoMetric, bool]]:
        return [(metric, hasattr(metric, 'metric_names')) for metric in loop.evaluator.metrics
                if isinstance(metric, CocoMetric)]

    def _prepare(self, loop) -> None:
        dataset = loop.dataloader.dataset
        for metric, ours in self._metrics(loop):
            ann_file = metric.ann_file or getattr(dataset, 'ann_file', None)
            if not ann_file or metric.gt_converter is not None or metric.iou_type != 'keypoints':
                continue
            # Ours has read its file, but knows only the first dataset of a union.
            if not ours or hasattr(dataset, 'datasets'):
                metric.coco = read_ground_truth(ann_file, metric.dataset_meta, metric.use_area, evaluated_by(dataset))
            if not ours:
                check_keypoints(metric.coco, metric.dataset_meta, ann_file)

    def _log(self, loop) -> None:
        for metric, ours in self._metrics(loop):
            if not ours:
                log_missing(metric.dataset_meta)
