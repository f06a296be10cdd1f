"""COCO's AP and AR for any keypoint set: of all keypoints, of parts of the body, of the 114 common ones; torso PCK."""
import contextlib
import io
from collections.abc import Sequence

import numpy as np
from mmengine.fileio import dump
from mmengine.logging import MessageHub, MMLogger
from mmpose.evaluation.metrics import CocoMetric, PCKAccuracy
from mmpose.registry import METRICS
from xtcocotools.coco import COCO
from xtcocotools.cocoeval import COCOeval

from ..engine.hooks.save_best import COCO_STATS
from ..vocabularies.coco import COMMON_114, COMMON_114_IN_133, COMMON_114_IN_308
from ..vocabularies.keypoints import get_parts
from .annotations import flat_keypoints
from .ground_truth import check_areas, log_missing, read_ground_truth
from .metainfo import get_metainfo

_TORSO = ('left_shoulder', 'right_hip')
_WHOLEBODY_FIELDS = ('keypoints', 'foot_kpts', 'face_kpts', 'lefthand_kpts', 'righthand_kpts')


@METRICS.register_module()
class SapiensKeypointMetric(CocoMetric):
    """AP and AR of all keypoints and of each part of the body, by xtcocotools.

    As in COCO-WholeBody's evaluation, persons are scored and OKS-NMSed once, on all keypoints, and each part is
    evaluated on the remaining persons with a labeled keypoint in it: OKS over its keypoints, with the area of the whole
    person. Annotations have COCO-WholeBody's five fields or one flat list of keypoints. With 17 keypoints the metrics
    equal those of ``CocoMetric``, with 133 COCO-WholeBody's.

    Metrics: ``{prefix}/AP``, ``{prefix}/AR``, ..., and ``{prefix}/{part}/AP`` and ``AR``; -1: nobody has the part
    labeled.

    Args:
        parts: Keypoint names of each part, ``{part: [name, ...]}``. Defaults to body, foot, face, left_hand and
            right_hand for COCO-WholeBody, these and extra for goliath, none for other keypoint sets. With a
            ``left_hand`` and a ``right_hand``, ``hand`` is the mean of both, as in papers.
        prefix: Defaults to ``dataset_name`` of the metainfo: ``coco``, ``coco_wholebody``, ``goliath``.
        **kwargs: Arguments of mmpose's ``CocoMetric``.
    """

    def __init__(self, parts: dict[str, Sequence[str]] | None = None, prefix: str | None = None,
                 ann_file: str | None = None, **kwargs) -> None:
        super().__init__(prefix=prefix, **kwargs)
        if self.iou_type != 'keypoints':
            raise ValueError(f"iou_type: got '{self.iou_type}', expected 'keypoints'; use CocoMetric for others")
        self.ann_file = ann_file
        self._given_parts = parts
        self._given_prefix = prefix

    @CocoMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        """Metainfo of the dataset; setting it reads and checks the annotations, before training begins."""
        name = dataset_meta['dataset_name']
        ann_file = self.ann_file or MessageHub.get_current_instance().get_info(f'{name}_ann_file', None)
        if ann_file is not None:
            self.coco = read_ground_truth(ann_file, dataset_meta, self.use_area)
        CocoMetric.dataset_meta.fset(self, dataset_meta)
        self.prefix = self._given_prefix or name
        parts = self._given_parts
        if parts is None:
            parts = get_parts(name) if name in ('coco_wholebody', 'goliath') else {}
        index = dataset_meta['keypoint_name2id']
        for part, names in parts.items():
            if unknown := [keypoint for keypoint in names if keypoint not in index]:
                raise ValueError(f"part '{part}': got {', '.join(unknown)}, expected keypoints of '{name}'")
        self.parts = {part: [index[keypoint] for keypoint in names] for part, names in parts.items()}
        if ann_file is not None:
            self._persons()

    @property
    def metric_names(self) -> list[str]:
        parts = [*self.parts, 'hand'] if {'left_hand', 'right_hand'} <= self.parts.keys() else self.parts
        return [f'{self.prefix}/{name}' for name in (*COCO_STATS, *(f'{part}/{stat}' for part in parts
                                                                     for stat in ('AP', 'AR')))]

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        evaluated = []
        for sample in data_samples:
            instances = sample['pred_instances']
            indices = self._indices(instances['keypoints'].shape[1], 'the model predicts')
            chosen = {name: instances[name][:, indices] for name in ('keypoints', 'keypoint_scores')}
            evaluated.append({**sample, 'pred_instances': {**instances, **chosen}})
        super().process(data_batch, evaluated)

    def compute_metrics(self, results: list) -> dict[str, float]:
        if not results:
            raise ValueError(f'{type(self).__name__}: got no predictions because the dataset is empty; check its '
                             'bbox_file if it has one, and bbox_score_thr in filter_cfg')
        log_missing(self.dataset_meta)
        return super().compute_metrics(results)

    def gt_to_coco_json(self, gt_dicts: Sequence[dict], outfile_prefix: str) -> str:
        """Writes the annotations that came with the samples, each with one flat list of keypoints."""
        return super().gt_to_coco_json([{**gt, 'raw_ann_info': [
            {'iscrowd': 0, **ann, 'keypoints': flat_keypoints(ann, self._fields(ann))}
            for ann in gt['raw_ann_info'] if ann is not None]} for gt in gt_dicts], outfile_prefix)

    def results2json(self, keypoints: dict[int, list], outfile_prefix: str) -> None:
        """Keeps the detections that passed scoring and NMS, and writes them if ``outfile_prefix`` is set."""
        self._detections = []
        for person in (person for persons in keypoints.values() for person in persons):
            self._detections.append(dict(
                image_id=person['img_id'], category_id=int(np.ravel(person['category_id'])[0]),
                keypoints=np.asarray(person['keypoints'], dtype=np.float64), score=float(person['score']),
                **(dict(bbox=np.asarray(person['bbox']).tolist()) if 'bbox' in person else {})))
        if self.outfile_prefix is not None:
            flat = [{**detection, 'keypoints': detection['keypoints'].ravel()} for detection in self._detections]
            dump(flat, f'{outfile_prefix}.keypoints.json')

    def _do_python_keypoint_eval(self, outfile_prefix: str) -> list[tuple[str, float]]:
        annotations = self._checked_annotations()
        stats = {'whole': self._evaluate(annotations, np.arange(self.dataset_meta['num_keypoints']))}
        stats.update({part: self._evaluate(annotations, indices) for part, indices in self.parts.items()})
        if {'left_hand', 'right_hand'} <= stats.keys():
            hands = np.stack([stats['left_hand'], stats['right_hand']])
            labeled = hands >= 0
            stats['hand'] = np.where(labeled.any(0), (hands * labeled).sum(0) / labeled.sum(0).clip(1), -1)
        self._log(stats)
        metrics = list(zip(COCO_STATS, stats.pop('whole').tolist(), strict=True))
        for part, values in stats.items():
            metrics += [(f'{part}/AP', float(values[0])), (f'{part}/AR', float(values[5]))]
        return metrics

    def _persons(self) -> list[tuple[dict, np.ndarray]]:
        """The annotated persons, and their keypoints (K, 3) in the order of the predictions."""
        persons, errors = [], []
        for annotation in self.coco.dataset['annotations']:
            if 'keypoints' not in annotation:
                continue
            flat = flat_keypoints(annotation, self._fields(annotation))
            try:
                indices = self._indices(len(flat) // 3, f"annotation {annotation['id']} has")
            except ValueError as error:
                errors.append((annotation['category_id'], error))
            else:
                persons.append((annotation, np.asarray(flat, dtype=np.float64).reshape(-1, 3)[indices]))
        # Where persons fit the keypoint set, entries of other categories are things.
        categories = {annotation['category_id'] for annotation, _ in persons}
        for category, error in errors:
            if not persons or category in categories:
                raise error
        return persons

    def _fields(self, annotation: dict) -> tuple[str, ...]:
        single = len(annotation['keypoints']) == 3 * self.dataset_meta['num_keypoints']
        return _WHOLEBODY_FIELDS if 'foot_kpts' in annotation and not single else ('keypoints', )

    def _checked_annotations(self) -> list[dict]:
        """The annotations, their keypoints as (K, 3) arrays in the order of the predictions."""
        images = {detection['image_id'] for detection in self._detections}
        if images - self.coco.imgs.keys() and self.ann_file:
            # In a union of datasets the metainfo is that of the first.
            meta = {name: value for name, value in self.dataset_meta.items() if name != 'evaluated'}
            self.coco = read_ground_truth(self.ann_file, meta, self.use_area)
        if unknown := images - self.coco.imgs.keys():
            raise ValueError(f'image {min(unknown)} has predictions, but is not in the annotations of the metric; give '
                             'it the ann_file of the dataset')
        persons = self._persons()
        check_areas([annotation for annotation, _ in persons], self.use_area, self.ann_file or 'annotations')
        return [{**annotation, 'keypoints': keypoints} for annotation, keypoints in persons]

    def _evaluate(self, annotations: list[dict], indices: Sequence[int]) -> np.ndarray:
        def select(items):
            return [{**item, 'keypoints': item['keypoints'][indices].ravel()} for item in items]

        gt = COCO()
        gt.dataset = {**self.coco.dataset, 'annotations': select(annotations)}
        with contextlib.redirect_stdout(io.StringIO()):  # which prints a page for each part
            gt.createIndex()
            evaluation = COCOeval(gt, gt.loadRes(select(self._detections)), 'keypoints',
                                  np.asarray(self.dataset_meta['sigmas'])[indices], self.use_area)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return np.asarray(evaluation.stats)

    def _log(self, stats: dict[str, np.ndarray]) -> None:
        lines = [f'{"":12}' + ''.join(f'{name:>8}' for name in COCO_STATS)]
        lines += [f'{part:12}' + ''.join(f'{value:8.3f}' for value in values) for part, values in stats.items()]
        MMLogger.get_current_instance().info(f'{self.prefix}:\n' + '\n'.join(lines))

    def _indices(self, number: int, what: str) -> np.ndarray:
        """Which of ``number`` predicted or annotated keypoints are evaluated, in order; ``what`` is for the message."""
        expected = self.dataset_meta['num_keypoints']
        if number != expected:
            raise ValueError(f"{what} {number} keypoints, expected the {expected} of "
                             f"'{self.dataset_meta['dataset_name']}'; make out_channels of the head, metainfo of the "
                             'dataset and ann_file of the metric agree')
        return np.arange(expected)


@METRICS.register_module()
class SapiensCommon114Metric(SapiensKeypointMetric):
    """AP and AR over the 114 keypoints that goliath and COCO-WholeBody share, and over their parts.

    The Sapiens paper's metric of 308-keypoint models (Humans-5K). Predictions and annotations each have 308 or 133
    keypoints. Sigmas are COCO-WholeBody's. Arguments as :class:`SapiensKeypointMetric`.
    """

    def __init__(self, prefix: str = 'common_114', **kwargs) -> None:
        shared = {name for _, name in COMMON_114}
        parts = {part: [name for name in names if name in shared]
                 for part, names in get_parts('coco_wholebody').items()}
        super().__init__(parts=parts, prefix=prefix, **kwargs)

    @SapiensKeypointMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        sigmas = get_metainfo('coco_wholebody')['sigmas'][COMMON_114_IN_133]
        index = {name: position for position, (_, name) in enumerate(COMMON_114)}
        common = {**dataset_meta, 'num_keypoints': len(index), 'sigmas': sigmas, 'keypoint_name2id': index}
        SapiensKeypointMetric.dataset_meta.fset(self, common)

    def _indices(self, number: int, what: str) -> np.ndarray:
        indices = {133: COMMON_114_IN_133, 308: COMMON_114_IN_308}.get(number)
        if indices is None:
            raise ValueError(f'{what} {number} keypoints, expected 133 (COCO-WholeBody) or 308 (goliath), which '
                             'include the 114 common ones')
        return indices


@METRICS.register_module()
class SapiensTorsoPCK(PCKAccuracy):
    """Share of the labeled keypoints predicted within ``thr`` torsos of the label, averaged over the keypoints.

    A torso is the distance from the left shoulder to the right hip: mmpose's tPCK, which finds both only in JHMDB's
    order. Hidden keypoints count. Persons with one of the two unlabeled are left out. The metric is ``pck/tPCK``.
    """
    default_prefix = 'pck'

    def __init__(self, thr: float = 0.2, **kwargs) -> None:
        super().__init__(thr=thr, norm_item='torso', **kwargs)

    @PCKAccuracy.dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        index = dataset_meta['keypoint_name2id']
        if missing := [name for name in _TORSO if name not in index]:
            raise ValueError(f"SapiensTorsoPCK: got the keypoints of '{dataset_meta['dataset_name']}', expected "
                             f'{" and ".join(missing)} among them; remove this metric')
        self.torso = [index[name] for name in _TORSO]
        PCKAccuracy.dataset_meta.fset(self, dataset_meta)

    @property
    def metric_names(self) -> list[str]:
        return [f'{self.prefix}/tPCK']

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            points, visible = (np.asarray(sample['gt_instances'][name]) for name in ('keypoints', 'keypoints_visible'))
            labeled = visible.reshape(1, points.shape[1], -1)[..., 0] > 0
            shoulder, hip = points[0, self.torso]
            # mmpose leaves out persons of size 0.
            size = np.linalg.norm(shoulder - hip) * labeled[0, self.torso].all()
            self.results.append(dict(pred_coords=sample['pred_instances']['keypoints'], gt_coords=points, mask=labeled,
                                     torso_size=np.full((1, 2), size)))
