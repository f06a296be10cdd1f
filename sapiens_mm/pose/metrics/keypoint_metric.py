"""COCO's AP and AR for any vocabulary: of all keypoints, of each part of the body, and of the 114 common ones."""
import contextlib
import io
from collections.abc import Sequence

import numpy as np
from mmengine.fileio import dump
from mmengine.logging import MessageHub, MMLogger
from mmpose.evaluation.metrics import CocoMetric
from mmpose.registry import METRICS
from xtcocotools.coco import COCO
from xtcocotools.cocoeval import COCOeval

from ...engine.save_best import COCO_STATS
from ...vocabularies.coco import COMMON_114, COMMON_114_IN_133, COMMON_114_IN_308
from ...vocabularies.keypoints import get_parts
from ..datasets.annotations import flat_keypoints
from ..metainfo import get_metainfo
from .ground_truth import check_areas, log_missing, read_ground_truth

_WHOLEBODY_FIELDS = ('keypoints', 'foot_kpts', 'face_kpts', 'lefthand_kpts', 'righthand_kpts')


@METRICS.register_module()
class SapiensKeypointMetric(CocoMetric):
    """AP and AR of all keypoints and of each part of the body, by xtcocotools.

    As in COCO-WholeBody's evaluation, persons are scored and OKS-NMSed once, on all keypoints, and the parts are
    measured on what is left: OKS over the part's keypoints, with the area of the whole person, for persons who have a
    labelled keypoint in the part. Annotations may have COCO-WholeBody's five fields or one flat list of keypoints. With
    17 keypoints the figures are those of ``CocoMetric``, with 133 those of COCO-WholeBody.

    The figures are ``{prefix}/AP``, ``{prefix}/AR`` and so on for all keypoints, ``{prefix}/{part}/AP`` and
    ``{prefix}/{part}/AR`` for a part. -1 means that the part is labelled in nobody.

    Args:
        parts: Keypoint names of each part, ``{part: [name, ...]}``. Defaults to body, foot, face,
            left_hand and right_hand for COCO-WholeBody, these and extra for goliath, none for other vocabularies. Where
            there are a ``left_hand`` and a ``right_hand``, ``hand`` is the mean of both, as papers give it.
        prefix: Defaults to ``dataset_name`` of the metainfo: ``coco``, ``coco_wholebody``, ``goliath``.
        **kwargs: Arguments of mmpose's ``CocoMetric``: ``ann_file``, ``score_mode``, ``nms_mode``, ``nms_thr``,
            ``use_area``, ``outfile_prefix``, ``format_only``, ``collect_device``.
    """

    def __init__(self,
                 parts: dict[str, Sequence[str]] | None = None,
                 prefix: str | None = None,
                 ann_file: str | None = None,
                 **kwargs) -> None:
        super().__init__(prefix=prefix, **kwargs)
        if self.iou_type != 'keypoints':
            raise ValueError(f"iou_type should be 'keypoints', got '{self.iou_type}': that one needs CocoMetric")
        self.ann_file = ann_file
        self._given_parts = parts
        self._given_prefix = prefix

    @CocoMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        """Metainfo of the data set; its vocabulary gives the parts and the prefix where they are not given.

        The annotations are read and checked here, before a training begins.

        Raises:
            ValueError: The annotations or the tables of the keypoint set cannot be evaluated.
        """
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
                raise ValueError(f"part '{part}' has keypoints that '{name}' has not: {', '.join(unknown)}")
        self.parts = {part: [index[keypoint] for keypoint in names] for part, names in parts.items()}
        if ann_file is not None:
            for annotation in self._annotations():
                self._annotated_indices(len(flat_keypoints(annotation, self._fields(annotation))) // 3,
                                        annotation['id'])

    @property
    def metric_names(self) -> list[str]:
        """The names of all metrics, without those of parts that do not occur."""
        parts = [*self.parts, 'hand'] if {'left_hand', 'right_hand'} <= self.parts.keys() else self.parts
        return [f'{self.prefix}/{name}' for name in (*COCO_STATS, *(f'{part}/{stat}' for part in parts
                                                                     for stat in ('AP', 'AR')))]

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        """Keep the predictions of a batch.

        Raises:
            ValueError: If the model predicts another number of keypoints than is to be evaluated.
        """
        chosen = []
        for sample in data_samples:
            instances = sample['pred_instances']
            indices = self._predicted_indices(instances['keypoints'].shape[1])
            chosen.append({
                **sample, 'pred_instances': {
                    **instances, 'keypoints': instances['keypoints'][:, indices],
                    'keypoint_scores': instances['keypoint_scores'][:, indices]
                }
            })
        super().process(data_batch, chosen)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Figures from the predictions of all processes.

        Raises:
            ValueError: If there are no predictions, or if the annotations don't fit them.
        """
        if not results:
            raise ValueError(f'{type(self).__name__} got no predictions: the data set is empty. Where its boxes come '
                             'from a bbox_file, check that file and bbox_score_thr in filter_cfg')
        log_missing(self.dataset_meta)
        return super().compute_metrics(results)

    def gt_to_coco_json(self, gt_dicts: Sequence[dict], outfile_prefix: str) -> str:
        """Write the annotations that came with the samples, in one flat list of keypoints each."""
        flat = []
        for gt in gt_dicts:
            annotations = [{'iscrowd': 0, **ann, 'keypoints': flat_keypoints(ann, self._fields(ann))}
                           for ann in gt['raw_ann_info'] if ann is not None]
            flat.append({**gt, 'raw_ann_info': annotations})
        return super().gt_to_coco_json(flat, outfile_prefix)

    def results2json(self, keypoints: dict[int, list], outfile_prefix: str) -> None:
        """Keep what scoring and NMS left, and write it only where the caller named a file.

        mmpose writes it always and reads it again: for 308 keypoints that takes longer than the evaluation.
        """
        self._detections = []
        for person in (person for persons in keypoints.values() for person in persons):
            detection = {
                'image_id': person['img_id'],
                'category_id': int(np.ravel(person['category_id'])[0]),
                'keypoints': np.asarray(person['keypoints'], dtype=np.float64),
                'score': float(person['score']),
            }
            if 'bbox' in person:
                detection['bbox'] = np.asarray(person['bbox']).tolist()
            self._detections.append(detection)
        if self.outfile_prefix is not None:
            flat = [{**detection, 'keypoints': detection['keypoints'].ravel()} for detection in self._detections]
            dump(flat, f'{outfile_prefix}.keypoints.json')

    def _do_python_keypoint_eval(self, outfile_prefix: str) -> list[tuple[str, float]]:
        annotations = self._checked_annotations()
        stats = {'whole': self._evaluate(annotations, np.arange(self.dataset_meta['num_keypoints']))}
        stats.update({part: self._evaluate(annotations, indices) for part, indices in self.parts.items()})
        if {'left_hand', 'right_hand'} <= stats.keys():
            hands = np.stack([stats['left_hand'], stats['right_hand']])
            labelled = hands >= 0
            stats['hand'] = np.where(labelled.any(0), (hands * labelled).sum(0) / labelled.sum(0).clip(1), -1)
        self._log(stats)
        figures = list(zip(COCO_STATS, stats.pop('whole').tolist(), strict=True))
        for part, values in stats.items():
            figures += [(f'{part}/AP', float(values[0])), (f'{part}/AR', float(values[5]))]
        return figures

    def _annotations(self) -> list[dict]:
        """The annotated persons: where some have the keypoints of the set, things of other categories are none."""
        annotations = [annotation for annotation in self.coco.dataset['annotations'] if 'keypoints' in annotation]
        fitting = {annotation['category_id'] for annotation in annotations if self._fits(annotation)}
        return [annotation for annotation in annotations if not fitting or annotation['category_id'] in fitting]

    def _fits(self, annotation: dict) -> bool:
        try:
            self._annotated_indices(len(flat_keypoints(annotation, self._fields(annotation))) // 3, annotation['id'])
        except ValueError:
            return False
        return True

    def _fields(self, annotation: dict) -> tuple[str, ...]:
        single = len(annotation['keypoints']) == 3 * self.dataset_meta['num_keypoints']
        return _WHOLEBODY_FIELDS if 'foot_kpts' in annotation and not single else ('keypoints', )

    def _checked_annotations(self) -> list[dict]:
        """The annotations, their keypoints as (K, 3) arrays in the order of the predictions."""
        seen = {detection['image_id'] for detection in self._detections}
        if seen - self.coco.imgs.keys() and self.ann_file:
            # A union of data sets, whose metainfo is that of the first.
            meta = {name: value for name, value in self.dataset_meta.items() if name != 'evaluated'}
            self.coco = read_ground_truth(self.ann_file, meta, self.use_area)
        if unknown := seen - self.coco.imgs.keys():
            raise ValueError(f'image {min(unknown)} has predictions, but is not in the annotations that the metric '
                             'reads: give it the ann_file of the data set')
        # Also of those that came with the samples.
        check_areas(self._annotations(), self.use_area, self.ann_file or 'annotations')
        annotations = []
        for annotation in self._annotations():
            flat = flat_keypoints(annotation, self._fields(annotation))
            keypoints = np.asarray(flat, dtype=np.float64).reshape(-1, 3)
            keypoints = keypoints[self._annotated_indices(len(keypoints), annotation['id'])]
            annotations.append({**annotation, 'keypoints': keypoints})
        return annotations

    def _evaluate(self, annotations: list[dict], indices: Sequence[int]) -> np.ndarray:
        """The ten values of ``COCO_STATS`` over some of the keypoints."""

        def select(items):
            return [{**item, 'keypoints': item['keypoints'][indices].ravel()} for item in items]

        gt = COCO()
        gt.dataset = {**self.coco.dataset, 'annotations': select(annotations)}
        with contextlib.redirect_stdout(io.StringIO()):  # one table instead of xtcocotools' page for each part
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

    def _predicted_indices(self, found: int) -> np.ndarray:
        """Which of the ``found`` predicted keypoints are evaluated, in which order."""
        expected = self.dataset_meta['num_keypoints']
        if found != expected:
            raise ValueError(f"the model predicts {found} keypoints, but the data set's vocabulary "
                             f"'{self.dataset_meta['dataset_name']}' has {expected}: make out_channels of the head and "
                             'metainfo of the data set agree')
        return np.arange(expected)

    def _annotated_indices(self, found: int, annotation_id: int) -> np.ndarray:
        """Which of the ``found`` annotated keypoints are evaluated, in which order."""
        expected = self.dataset_meta['num_keypoints']
        if found != expected:
            raise ValueError(f'annotation {annotation_id} has {found} keypoints, but the vocabulary '
                             f"'{self.dataset_meta['dataset_name']}' has {expected}: check ann_file of the metric")
        return np.arange(expected)


@METRICS.register_module()
class SapiensCommon114Metric(SapiensKeypointMetric):
    """AP and AR over the 114 keypoints that goliath and COCO-WholeBody share, and over their parts.

    The measure of the Sapiens paper for 308-keypoint models (Humans-5K). Predictions and annotations may each be of 308
    or of 133 keypoints: :class:`SapiensCommon114Dataset` measures a 308-keypoint model on COCO-WholeBody, beside models
    of 133. Sigmas are COCO-WholeBody's; scores and NMS are over the 114.

    Args:
        prefix: Defaults to ``common_114``.
        **kwargs: See :class:`SapiensKeypointMetric`.
    """

    def __init__(self, prefix: str = 'common_114', **kwargs) -> None:
        shared = {name for _, name in COMMON_114}
        parts = get_parts('coco_wholebody').items()
        parts = {part: [name for name in names if name in shared] for part, names in parts}
        super().__init__(parts=parts, prefix=prefix, **kwargs)

    @SapiensKeypointMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        """Metainfo of the data set, reduced to the common keypoints."""
        sigmas = get_metainfo('coco_wholebody')['sigmas'][COMMON_114_IN_133]
        index = {name: position for position, (_, name) in enumerate(COMMON_114)}
        common = {**dataset_meta, 'num_keypoints': len(index), 'sigmas': sigmas, 'keypoint_name2id': index}
        SapiensKeypointMetric.dataset_meta.fset(self, common)

    def _predicted_indices(self, found: int) -> np.ndarray:
        return self._common_indices(found, 'the model predicts')

    def _annotated_indices(self, found: int, annotation_id: int) -> np.ndarray:
        return self._common_indices(found, f'annotation {annotation_id} has')

    @staticmethod
    def _common_indices(found: int, what: str) -> np.ndarray:
        indices = {133: COMMON_114_IN_133, 308: COMMON_114_IN_308}.get(found)
        if indices is None:
            raise ValueError(f'{what} {found} keypoints, but the 114 common ones are among 133 (COCO-WholeBody) or 308 '
                             '(goliath)')
        return indices
