"""mmpose's COCO-style datasets, checked: a wrong path or a wrong annotation stops with what to change."""
import json
import os.path as osp

import numpy as np
from mmengine.fileio import exists, load
from mmpose.datasets import CocoDataset, CocoWholeBodyDataset
from mmpose.datasets.datasets.base import BaseCocoStyleDataset
from mmpose.registry import DATASETS

from ..vocabularies import COMMON_114_IN_133, COMMON_114_IN_308, METAINFO_17, METAINFO_133, METAINFO_308


class _Checked:
    """Checks the files of a COCO-style dataset. Stands before mmpose's class among the bases."""

    def load_data_list(self) -> list[dict]:
        """Samples from the annotation file or, with ``bbox_file``, from the boxes of a detector.

        Raises:
            FileNotFoundError: If the annotation file, the box file or the folder of images doesn't exist.
            ValueError: If a file doesn't hold what it should, or gives no sample.
        """
        folder = self.data_prefix.get('img', '') or '.'
        if not self.ann_file:
            raise ValueError(self._says('ann_file is not set. Set it to a COCO-style JSON file'))
        if not exists(self.ann_file):
            raise FileNotFoundError(self._says(f"ann_file '{self.ann_file}' does not exist. {self._root_hint()}"))
        if '://' not in folder and not osp.isdir(folder):
            raise FileNotFoundError(self._says(f"data_prefix['img'] '{folder}' is not a folder. {self._root_hint()}"))
        try:
            data_list = super().load_data_list()
        except (json.JSONDecodeError, UnicodeDecodeError, AssertionError) as error:
            problem = f"ann_file '{self.ann_file}' is not a COCO-style JSON file ({error}); check that it is complete"
            raise ValueError(self._says(problem)) from error
        except KeyError as error:
            problem = f"an entry of ann_file '{self.ann_file}' has no {error}"
            raise ValueError(self._says(f'{problem}. docs/your_keypoints.md shows what each entry needs')) from error
        if not data_list:
            needs = 'a box of category 1' if self.bbox_file else 'a person with a box and a labelled keypoint'
            raise ValueError(self._says(f"'{self.bbox_file or self.ann_file}' gives no sample. It needs {needs}"))
        return data_list

    def parse_data_info(self, raw_data_info: dict) -> dict | None:
        """One annotation as a sample, after a look at its number of keypoints."""
        annotation = raw_data_info['raw_ann_info']
        self._check_keypoints(annotation)
        try:
            data_info = super().parse_data_info(raw_data_info)
            numbers_only = data_info is None or np.isfinite(data_info['keypoints']).all()
        except (TypeError, ValueError):
            numbers_only = False
        if not numbers_only:
            problem = f"annotation {annotation['id']} in '{self.ann_file}' has something else than numbers"
            raise ValueError(self._says(f'{problem} in its bbox or keypoints. Correct or remove it'))
        return data_info

    def filter_data(self) -> list[dict]:
        """The samples that ``filter_cfg`` leaves."""
        data_list = super().filter_data()
        if not data_list:
            raise ValueError(self._says(f'filter_cfg={self.filter_cfg} leaves none of {len(self.data_list)} samples. '
                                        'Check bbox_score_thr'))
        return data_list

    def _check_for_evaluation(self) -> None:
        """What COCO's evaluation will ask for, found out before the training that precedes it."""
        if self.test_mode and 'categories' not in self.coco.dataset:
            raise ValueError(self._says(f"ann_file '{self.ann_file}' has no 'categories', which the evaluation needs. "
                                        "Add [{'id': 1, 'name': 'person'}]"))

    def _load_annotations(self) -> tuple[list[dict], list[dict]]:
        loaded = super()._load_annotations()
        self._check_for_evaluation()
        return loaded

    def _load_detection_results(self) -> list[dict]:
        self._check_boxes()
        try:
            data_list = super()._load_detection_results()
        except KeyError as error:
            problem = f"bbox_file '{self.bbox_file}' has a box in image {error}, which is not in '{self.ann_file}'"
            raise ValueError(self._says(f'{problem}. Both should be of the same split')) from error
        self._check_for_evaluation()
        # The annotations are not made into samples here, but the metric reads them later on.
        for annotation in self.coco.dataset.get('annotations', ()):
            self._check_keypoints(annotation)
        return data_list

    def _check_boxes(self) -> None:
        if not exists(self.bbox_file):
            hint = f'{self._root_hint()}, or bbox_file=None to use the annotated boxes'
            raise FileNotFoundError(self._says(f"bbox_file '{self.bbox_file}' does not exist. {hint}"))
        try:
            boxes = load(self.bbox_file)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(self._says(f"bbox_file '{self.bbox_file}' is not JSON ({error})")) from error
        fields = {'image_id', 'category_id', 'bbox', 'score'}
        expected = "it should be a list of dicts with image_id, category_id, bbox ([x, y, width, height]) and score"
        if not isinstance(boxes, list):
            found = f"bbox_file '{self.bbox_file}' is a {type(boxes).__name__}"
            raise ValueError(self._says(f'{found}, but {expected}'))
        for index, box in enumerate(boxes):
            if not isinstance(box, dict) or not fields <= box.keys():
                lacks = ', '.join(sorted(fields.difference(box))) if isinstance(box, dict) else 'all fields'
                raise ValueError(self._says(f"entry {index} of bbox_file '{self.bbox_file}' lacks {lacks}: {expected}"))
            numbers = [*box['bbox'], box['score']] if isinstance(box['bbox'], (list, tuple)) else []
            if len(numbers) != 5 or not all(isinstance(number, (int, float)) for number in numbers):
                found = f"entry {index} of bbox_file '{self.bbox_file}' has bbox {box['bbox']} and score {box['score']}"
                raise ValueError(self._says(f'{found}: {expected}'))

    def _keypoint_fields(self) -> dict:
        """Number of keypoints in each field of an annotation."""
        return {'keypoints': self.metainfo['num_keypoints']}

    def _check_keypoints(self, annotation: dict) -> None:
        if 'keypoints' not in annotation:  # a box only, which mmpose skips
            return
        for field, expected in self._keypoint_fields().items():
            numbers = len(annotation.get(field, ()))
            if numbers != 3 * expected:
                found = f"annotation {annotation['id']} in '{self.ann_file}' has {numbers / 3:g} keypoints in '{field}'"
                needed = f"'{self.metainfo['dataset_name']}' has {expected} ({3 * expected} numbers: x, y, visibility)"
                advice = 'Use annotations of that vocabulary, or set metainfo to that of yours (docs/your_keypoints.md)'
                raise ValueError(self._says(f'{found} ({numbers} numbers), but {needed}. {advice}'))

    def _says(self, problem: str) -> str:
        return f'{type(self).__name__}: {problem}.'

    def _root_hint(self) -> str:
        return (f"Set data_root (it is '{self.data_root or ''}') in the config or by the environment variable that the "
                'config names there')


@DATASETS.register_module()
class SapiensCocoDataset(_Checked, CocoDataset):
    """COCO keypoints, checked: 17 keypoints unless ``metainfo`` says otherwise."""

    METAINFO = METAINFO_17


@DATASETS.register_module()
class SapiensCocoStyleDataset(_Checked, BaseCocoStyleDataset):
    """Any keypoints in COCO's format, checked: the 308 of the Sapiens release unless ``metainfo`` says otherwise.

    An annotation has its K keypoints as a flat list of 3K numbers, ``[x, y, visibility, ...]`` in pixels, visibility 0
    for keypoints that aren't labelled. docs/your_keypoints.md shows a vocabulary of one's own.
    """

    METAINFO = METAINFO_308


@DATASETS.register_module()
class SapiensCocoWholeBodyDataset(_Checked, CocoWholeBodyDataset):
    """COCO-WholeBody, checked: 133 keypoints in five fields of an annotation."""

    METAINFO = METAINFO_133

    def _keypoint_fields(self) -> dict:
        return {'keypoints': 17, 'foot_kpts': 6, 'face_kpts': 68, 'lefthand_kpts': 21, 'righthand_kpts': 21}

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """One annotation as a sample, in float32 as in the other datasets.

        mmpose's class leaves the type to numpy: an annotation of integers gives integers, and the pipeline then rounds
        the keypoints that it transforms.
        """
        data_info = super().parse_data_info(raw_data_info)
        for key in ('keypoints', 'keypoints_visible'):
            data_info[key] = data_info[key].astype(np.float32)
        return data_info


@DATASETS.register_module()
class SapiensCommon114Dataset(SapiensCocoWholeBodyDataset):
    """COCO-WholeBody annotations for a 308-keypoint model: the 114 common keypoints in their goliath places.

    The other 194 are marked as not labelled, so that a model can be trained on them as well as tested
    (:class:`SapiensCommon114Metric`).
    """

    METAINFO = {**METAINFO_308, 'dataset_name': 'goliath_common_114'}

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """One annotation as a sample of 308 keypoints."""
        data_info = super().parse_data_info(raw_data_info)
        for key in ('keypoints', 'keypoints_visible'):
            common = data_info[key][:, COMMON_114_IN_133]
            data_info[key] = np.zeros((1, self.metainfo['num_keypoints'], *common.shape[2:]), dtype=np.float32)
            data_info[key][:, COMMON_114_IN_308] = common
        return data_info
