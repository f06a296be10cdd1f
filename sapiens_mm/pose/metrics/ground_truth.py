"""Annotations for COCO's evaluation, checked before a training begins and reduced to what the data set holds."""
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmpose.evaluation.metrics import CocoMetric
from mmpose.registry import HOOKS
from xtcocotools.coco import COCO

from ...utils.problems import Problem, report
from ...utils.text import some
from ..datasets.annotations import check_numbers, ground_truth, has_area, labelled, name_hashes, read_annotations

#: Names of COCO's ten keypoint metrics.
COCO_STATS = ('AP', 'AP .5', 'AP .75', 'AP (M)', 'AP (L)', 'AR', 'AR .5', 'AR .75', 'AR (M)', 'AR (L)')


def read_ground_truth(ann_file: str, dataset_meta: dict, use_area: bool) -> COCO:
    """The annotations of a file that a data set's predictions are compared with.

    Args:
        ann_file: The evaluator's annotation file.
        dataset_meta: The data set's metainfo; ``evaluated`` is what our data sets add to it.
        use_area: Whether OKS takes ``area``.

    Raises:
        ValueError: The file is that of another data set, or lacks what the evaluation needs.
    """
    check_numbers(list(dataset_meta['keypoint_name2id']), dataset_meta['sigmas'], 'sigmas',
                  f"metainfo of '{dataset_meta['dataset_name']}'")
    content = read_annotations(ann_file)
    if not content.get('categories') or not content['annotations']:
        report(Problem('annotations of the evaluator', ann_file, "no 'categories' or no 'annotations'",
                       'both, as the evaluation needs; give the evaluator the ann_file of the data set'))
    evaluated = dataset_meta.get('evaluated')
    if evaluated is not None:
        codes = name_hashes([image['file_name'] for image in content['images']])
        own = {image['id']: code for image, code in zip(content['images'], codes.tolist())}
        pairs = zip(evaluated['image_ids'].tolist(), evaluated['image_names'].tolist())
        wrong = [number for number, code in pairs if own.get(number) != code]
        if wrong:
            report(Problem('annotations of the evaluator', ann_file, "are not in the evaluator's ann_file, or have "
                           'another file name there', 'the annotations that the data set has; give both the same '
                           'ann_file', tuple(wrong), total=len(evaluated['image_ids']), unit='image'))
    check_areas(content['annotations'], use_area, ann_file)
    return ground_truth(content, evaluated)


def check_areas(annotations: list[dict], use_area: bool, where: str) -> None:
    """Checks that the labelled persons have the area by which OKS judges distances.

    Raises:
        DataError: One has none, or none above 0.
    """
    persons = [entry for entry in annotations if labelled(entry)]
    wrong = [entry for entry in persons if not has_area(entry)]
    if use_area and wrong:
        values = some(dict.fromkeys(repr(entry.get('area')) for entry in wrong))
        report(Problem('area', where, f'have area {values}', 'the area of the person in square pixels, which OKS '
                       'divides by; add it, or set use_area=False in the evaluator to take 0.53 of the box',
                       tuple(entry['id'] for entry in wrong), total=len(persons), unit='person'))


def log_missing(dataset_meta: dict) -> None:
    """Says how many labelled persons the evaluation leaves out, since the data set has no sample of them."""
    missing = (dataset_meta.get('evaluated') or {}).get('missing_ids', ())
    if len(missing):
        print_log(f'{len(missing)} labelled persons ({some(missing)}) miss from this evaluation: the data set has no '
                  'sample of them. See docs/before_you_train.md#dropped', 'current', 30)


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
        return [metric for metric in loop.evaluator.metrics
                if isinstance(metric, CocoMetric) and not hasattr(metric, 'metric_names')]

    def _prepare(self, loop) -> None:
        for metric in self._metrics(loop):
            ann_file = metric.ann_file or getattr(loop.dataloader.dataset, 'ann_file', None)
            if ann_file and metric.gt_converter is None and metric.iou_type == 'keypoints':
                metric.coco = read_ground_truth(ann_file, metric.dataset_meta, metric.use_area)

    def _log(self, loop) -> None:
        for metric in self._metrics(loop):
            log_missing(metric.dataset_meta)
