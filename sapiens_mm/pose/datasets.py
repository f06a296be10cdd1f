"""COCO-style keypoint datasets: mmpose's, with checks of their files."""
import os.path as osp
from collections.abc import Sequence

import numpy as np
from mmengine.fileio import exists
from mmpose.datasets import CocoDataset, CocoWholeBodyDataset
from mmpose.datasets.datasets.base import BaseCocoStyleDataset
from mmpose.registry import DATASETS

from ..utils.problems import DataError, Problem, guide, report
from ..utils.text import some
from ..vocabularies.coco import COMMON_114_IN_133, COMMON_114_IN_308
from .annotations import Persons, has_area, has_keypoints, persons_of, read_annotations
from .checks import check_metainfo, check_persons, dropped
from .detections import check_coverage, read_detections, select_detections
from .ground_truth import name_hashes, person_hashes
from .metainfo import METAINFO_17, METAINFO_133, METAINFO_308

#: Reasons for which common annotation files have entries that are not samples.
_USUAL = {'a crowd', 'no keypoints', 'no labeled keypoint', 'another category'}


class Evaluated(dict):
    """What an evaluation covers; equal to any other, so that datasets of a union may differ in it."""

    def __eq__(self, other) -> bool:
        return isinstance(other, Evaluated)

    def __ne__(self, other) -> bool:
        return not self == other

    __hash__ = None


class CheckedCocoStyle:
    """Checks the files of a COCO-style dataset; comes before mmpose's class among the bases."""

    def full_init(self) -> None:
        """Loads the samples; a test set's ``metainfo['evaluated']`` then tells the metric which persons they cover."""
        first = not self._fully_initialized
        if not (isinstance(self.sample_interval, int) and self.sample_interval > 0):
            raise ValueError(self._says(f'sample_interval: got {self.sample_interval}, expected an integer above 0'))
        super().full_init()
        if first and self.test_mode:
            self._metainfo['evaluated'] = self._evaluated()
        if first:
            del self._image_names, self._labeled, self._used, self._skipped, self._annotations

    @classmethod
    def _load_metainfo(cls, metainfo: dict | None = None) -> dict:
        given = cls.METAINFO if metainfo is None else metainfo
        info = given.get('keypoint_info')
        if info is not None:
            names = [keypoint.get('name') for keypoint in info.values()]
            swaps = [keypoint.get('swap') for keypoint in info.values()]
            wrong = [name for name in names if name is None or names.count(name) > 1]
            wrong += [swap for swap in swaps if swap and swap not in names]
            wrong += [key for key in ('dataset_name', 'skeleton_info', 'joint_weights', 'sigmas') if key not in given]
            if wrong:
                raise DataError(f'metainfo of {cls.__name__}: got names or fields that are missing, repeated or '
                                f'unknown ({some(dict.fromkeys(wrong))}), expected a unique name for each keypoint, '
                                'swap as one of these names, and dataset_name, skeleton_info, joint_weights, sigmas',
                                'mirror tables')
        return super()._load_metainfo(metainfo)

    def load_data_list(self) -> list[dict]:
        """Loads samples; a FileNotFoundError, or a ValueError if a file is wrong, or gives no sample."""
        folder = self.data_prefix.get('img', '') or '.'
        if not self.ann_file:
            raise ValueError(self._says('ann_file is not set. Set it to a COCO-style JSON file'))
        if not exists(self.ann_file):
            raise FileNotFoundError(self._says(f"ann_file '{self.ann_file}' does not exist. {self._root_hint()}"))
        if '://' not in folder and not osp.isdir(folder):
            raise FileNotFoundError(self._says(f"data_prefix['img'] '{folder}' is not a folder. {self._root_hint()}"))
        check_metainfo(self.metainfo, f"metainfo of '{self.metainfo['dataset_name']}'")
        data_list = super().load_data_list()
        if not data_list:
            needs = 'a box of a person' if self.bbox_file else 'a person with a box and a labeled keypoint'
            raise ValueError(self._says(f"'{self.bbox_file or self.ann_file}' gives no sample. It needs {needs}"))
        return data_list

    def _load_annotations(self) -> tuple[list[dict], list[dict]]:
        content, persons = self._read()
        if self.data_mode == 'topdown':
            reasons = dropped(persons, self._num_keypoints(persons))
            self._labeled = set(persons.ids(persons.labeled.any(axis=1) & ~persons.crowds))
            self._report_dropped({reason: persons.ids(mask) for reason, mask in reasons.items()}, len(persons.entries))
            unusable = np.logical_or.reduce([np.zeros(len(persons.entries), bool), *reasons.values()])
        else:
            unusable = np.array([not has_keypoints(entry) for entry in persons.entries], bool)
            unusable |= np.isnan(persons.boxes).any(axis=1)
        persons = persons.without(unusable)
        self._used = {entry['id'] for entry in persons.entries}
        arrays = self._sample_arrays(persons)
        samples = [self.parse_data_info(dict(raw_ann_info=entry, raw_img_info=image, arrays={
            name: array[i] for name, array in arrays.items()}))
            for i, (entry, image) in enumerate(zip(persons.entries, persons.images))]
        return [sample for sample in samples if sample], content['images']

    def _read(self) -> tuple[dict, Persons]:
        content = read_annotations(self.ann_file)
        if self.test_mode and 'categories' not in content:
            raise ValueError(self._says(f"ann_file '{self.ann_file}' has no 'categories', which the evaluation needs. "
                                        "Add [{'id': 1, 'name': 'person'}]"))
        if 'categories' in content:
            self._metainfo['CLASSES'] = content['categories']
        self._labeled, self._used, everything = set(), set(), {image['id'] for image in content['images']}
        content['images'] = [
            {**image, 'img_id': image['id'], 'img_path': osp.join(self.data_prefix['img'], image['file_name'])}
            for image in content['images'] if image['id'] % self.sample_interval == 0]
        self._image_names = {image['id']: image['file_name'] for image in content['images']}
        self._skipped = everything - self._image_names.keys()
        if self._skipped:
            content['annotations'] = [
                entry for entry in content['annotations'] if entry['image_id'] not in self._skipped]
        persons = persons_of(content, self.ann_file, self._keypoint_fields(), self.metainfo['dataset_name'])
        self._annotations = content['annotations']  # until the samples are known
        return content, check_persons(persons)

    def _sample_arrays(self, persons: Persons) -> dict[str, np.ndarray]:
        ends = persons.sizes - 1
        low = persons.boxes[:, :2].clip(0, ends)
        high = (persons.boxes[:, :2] + persons.boxes[:, 2:]).clip(0, ends)
        areas = np.maximum((high - low).prod(axis=1) * 0.53, 1.)
        areas = [entry['area'] if has_area(entry) else area for entry, area in zip(persons.entries, areas)]
        return dict(
            bbox=np.concatenate([low, high], axis=1).astype(np.float32)[:, None],
            num_keypoints=self._num_keypoints(persons),
            keypoints=np.ascontiguousarray(persons.keypoints[:, None, :, :2]),
            keypoints_visible=persons.labeled[:, None].astype(np.float32),
            area=np.array(areas, np.float32))

    def parse_data_info(self, raw_data_info: dict) -> dict | None:
        """Returns an annotation (``raw_ann_info``, ``raw_img_info`` and its row of ``arrays``) as a sample."""
        entry, image, arrays = (raw_data_info[key] for key in ('raw_ann_info', 'raw_img_info', 'arrays'))
        sample = dict(
            img_id=entry['image_id'], img_path=image['img_path'], annotated_shape=(image['height'], image['width']),
            bbox_score=np.ones(1, np.float32), iscrowd=entry.get('iscrowd', 0), segmentation=entry.get('segmentation'),
            id=entry['id'], category_id=np.array(entry['category_id']), raw_ann_info=entry,
            **{**arrays, 'num_keypoints': int(arrays['num_keypoints']), 'area': np.array(arrays['area'])})
        if 'crowdIndex' in image:
            sample['crowd_index'] = image['crowdIndex']
        return sample

    def _load_detection_results(self) -> list[dict]:
        content, persons = self._read()
        if not exists(self.bbox_file):
            hint = f'{self._root_hint()}, or bbox_file=None to use the annotated boxes'
            raise FileNotFoundError(self._says(f"bbox_file '{self.bbox_file}' does not exist. {hint}"))
        boxes = read_detections(self.bbox_file)
        categories = {entry['category_id'] for entry in content['annotations'] if has_keypoints(entry)}
        categories = categories or {category['id'] for category in content.get('categories', ())}
        images = {image['id']: image for image in content['images']}
        kept, reasons = select_detections(boxes, self.bbox_file, categories, images, self.ann_file, self._skipped)
        self._report_dropped(reasons, len(boxes))
        check_coverage(persons, kept, self.bbox_file)
        keypoints = np.zeros((1, self.metainfo['num_keypoints'], 2), np.float32)
        visible = np.ones(keypoints.shape[:2], np.float32)
        samples = []
        for number, box in enumerate(kept):
            image = images[box['image_id']]
            x, y, width, height = box['bbox']
            shape = image['height'], image['width']
            samples.append(dict(
                img_id=image['id'], img_path=image['img_path'], img_shape=shape, annotated_shape=shape,
                bbox=np.array([[x, y, x + width, y + height]], np.float32),
                bbox_score=np.array([box['score']], np.float32), keypoints=keypoints, keypoints_visible=visible,
                id=number, category_id=np.array(box['category_id'])))
        return samples

    def filter_data(self) -> list[dict]:
        data_list = super().filter_data()
        if not data_list:
            raise ValueError(self._says(f'filter_cfg={self.filter_cfg} leaves none of {len(self.data_list)} samples. '
                                        'Check bbox_score_thr'))
        if len(data_list) < len(self.data_list):
            self._report_dropped({f'less than {self.filter_cfg}': range(len(self.data_list) - len(data_list))},
                                 len(self.data_list))
        return data_list

    def _evaluated(self) -> Evaluated:
        """Returns hashes of the images and labeled persons by id, and the ids of persons without a sample."""
        images, used, missing = self._image_names.keys(), self._used, set()
        if self._indices is not None:
            samples = [self.get_data_info(i) for i in range(len(self))]
            images, used = {sample['img_id'] for sample in samples}, {sample['id'] for sample in samples}
        if not self.bbox_file and self.data_mode == 'topdown':
            missing = self._labeled - used
        numbers = sorted(images)
        return Evaluated(
            images=dict(zip(numbers, name_hashes([self._image_names[number] for number in numbers]).tolist())),
            persons=person_hashes([entry for entry in self._annotations if entry['image_id'] in images]),
            missing=tuple(sorted(missing)))

    def _keypoint_fields(self) -> dict[str, int]:
        return {'keypoints': self._metainfo['num_keypoints']}  # not `metainfo`, which is copied at every access

    def _num_keypoints(self, persons: Persons) -> np.ndarray:
        """(N, ) number of labeled keypoints; a person without any cannot be a sample."""
        return persons.labeled.sum(axis=1)

    def _report_dropped(self, reasons: dict[str, Sequence], total: int) -> None:
        number = sum(map(len, reasons.values()))
        if number:
            parts = '; '.join(f'{len(ids)} with {reason} ({some(ids)})' for reason, ids in reasons.items())
            evaluated = self.test_mode and not self.bbox_file
            missing = ', and are not part of the evaluation' if evaluated else ''
            level = 'warning' if set(reasons) - _USUAL else 'note'
            report(Problem('dropped', self.bbox_file or self.ann_file, f'are not used{missing}: {parts}',
                           'persons with a box in the image and a labeled keypoint', number=number, total=total,
                           unit='box' if self.bbox_file else 'person', level=level))

    def _says(self, problem: str) -> str:
        return f'{type(self).__name__}: {problem}. {guide("cannot be opened")}'

    def _root_hint(self) -> str:
        return (f"Set data_root (it is '{self.data_root or ''}') in the config or by the environment variable that the "
                'config names there')


@DATASETS.register_module()
class SapiensCocoDataset(CheckedCocoStyle, CocoDataset):
    """COCO keypoints, checked: 17 keypoints unless ``metainfo`` names others."""

    METAINFO = METAINFO_17


@DATASETS.register_module()
class SapiensCocoStyleDataset(CheckedCocoStyle, BaseCocoStyleDataset):
    """Any keypoints in COCO's format, checked: the 308 of the Sapiens release unless ``metainfo`` names others.

    Annotations have ``[x, y, visibility, ...]`` in pixels, visibility 0: not labeled; see docs/your_keypoints.md.
    """

    METAINFO = METAINFO_308


@DATASETS.register_module()
class SapiensCocoWholeBodyDataset(CheckedCocoStyle, CocoWholeBodyDataset):
    """COCO-WholeBody, checked: 133 keypoints in five fields of an annotation."""

    METAINFO = METAINFO_133

    def _keypoint_fields(self) -> dict[str, int]:
        return {'keypoints': 17, 'foot_kpts': 6, 'face_kpts': 68, 'lefthand_kpts': 21, 'righthand_kpts': 21}

    def _num_keypoints(self, persons: Persons) -> np.ndarray:
        """(N, ) number of labeled keypoints of the body, as in mmpose: a face alone is not a sample."""
        body = persons.labeled[:, :17].sum(axis=1)
        numbers = [entry.get('num_keypoints') for entry in persons.entries]
        return np.array([number if isinstance(number, int) else count for number, count in zip(numbers, body)], int)


@DATASETS.register_module()
class SapiensCommon114Dataset(SapiensCocoWholeBodyDataset):
    """COCO-WholeBody annotations as the 308 keypoints of goliath, of which the 114 common ones are labeled."""

    METAINFO = {**METAINFO_308, 'dataset_name': 'goliath_common_114'}

    def _sample_arrays(self, persons: Persons) -> dict[str, np.ndarray]:
        arrays = super()._sample_arrays(persons)
        for key in ('keypoints', 'keypoints_visible'):
            common = arrays[key][:, :, COMMON_114_IN_133]
            arrays[key] = np.zeros((len(common), 1, self._metainfo['num_keypoints'], *common.shape[3:]), np.float32)
            arrays[key][:, :, COMMON_114_IN_308] = common
        return arrays
