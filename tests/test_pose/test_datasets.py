"""Tests of keypoint datasets."""
import copy
import json

import numpy as np
import pytest
from mmpose.datasets import CocoDataset
from mmpose.registry import DATASETS

from sapiens_mm.pose.metainfo import METAINFO_17, METAINFO_308
from sapiens_mm.vocabularies.coco import COMMON_114_IN_133, COMMON_114_IN_308

FILES = {
    'SapiensCocoDataset': 'person_keypoints.json',
    'SapiensCocoWholeBodyDataset': 'coco_wholebody.json',
    'SapiensCommon114Dataset': 'coco_wholebody.json',
}


@pytest.fixture
def build(coco_real):
    """Opens a dataset of the real photos."""

    def build(kind, **kwargs):
        return DATASETS.build(dict(dict(type=kind, ann_file=FILES.get(kind, 'person_keypoints.json'),
                                        data_root=str(coco_real), data_prefix={'img': ''}), **kwargs))

    return build


@pytest.mark.parametrize(('kind', 'options', 'error', 'match'), [
    *[(kind, dict(ann_file='none.json'), FileNotFoundError, f'{kind}.*none.json') for kind in FILES],
    ('SapiensCocoStyleDataset', dict(ann_file=''), ValueError, 'ann_file'),
    ('SapiensCocoDataset', dict(data_prefix={'img': 'val2017/'}), FileNotFoundError, 'val2017/'),
    ('SapiensCocoDataset', dict(sample_interval=0), ValueError, 'sample_interval.* 0'),
    ('SapiensCocoStyleDataset', {}, ValueError, r"17 keypoints \(51 numbers\) in 'keypoints', expected 308"),
    ('SapiensCocoWholeBodyDataset', dict(ann_file='person_keypoints.json'), ValueError,
     r"0 keypoints \(0 numbers\) in 'foot_kpts', expected 6"),
    # Samples have nothing of these annotations, but the metric would fail on them later.
    ('SapiensCocoStyleDataset', dict(bbox_file='person_detections.json', test_mode=True), ValueError,
     "17 keypoints .* expected 308 keypoints of 'goliath'"),
])
def test_wrong_settings(build, kind, options, error, match):
    with pytest.raises(error, match=match):
        build(kind, **options)


@pytest.mark.parametrize('text', ['{"images": [', '[]', '\x89PNG'])
def test_not_an_annotation_file(text, open_set):
    with pytest.raises(ValueError, match='ann.json.* expected .*COCO-style JSON file'):
        open_set(text)


def test_no_categories_for_evaluation(content, open_set):
    del content['categories']
    assert len(open_set(content, test_mode=False)) == 12
    with pytest.raises(ValueError, match="ann.json' has no 'categories'"):
        open_set(content)


def test_nobody_labeled(content, open_set):
    for entry in content['annotations']:
        entry['keypoints'] = [0] * 15
    with pytest.raises(ValueError, match="ann.json' gives no sample"):
        open_set(content)


@pytest.mark.parametrize(('kind', 'keypoints'), [('SapiensCocoDataset', 17), ('SapiensCocoWholeBodyDataset', 133),
                                                 ('SapiensCommon114Dataset', 308)])
@pytest.mark.parametrize('boxes', [False, True])
def test_real_data(build, kind, keypoints, boxes, coco_real):
    dataset = build(kind, test_mode=True, bbox_file=str(coco_real / 'person_detections.json') if boxes else None)
    assert len(dataset) == (118 if boxes else 12)
    sample = dataset[0]
    assert sample['keypoints'].shape == (1, keypoints, 2)
    assert sample['keypoints'].dtype == sample['keypoints_visible'].dtype == np.float32
    assert len(sample['flip_indices']) == keypoints


@pytest.mark.parametrize('data_mode', ['topdown', 'bottomup'])
def test_checks_change_nothing(build, coco_real, data_mode):
    ours = build('SapiensCocoDataset', data_mode=data_mode)
    theirs = CocoDataset(metainfo=copy.deepcopy(METAINFO_17), ann_file='person_keypoints.json', data_mode=data_mode,
                         data_root=str(coco_real), data_prefix={'img': ''})
    for one, other in zip(ours, theirs, strict=True):
        for key in ('keypoints', 'keypoints_visible', 'bbox', 'area', 'category_id', 'img_id', 'id', 'iscrowd'):
            np.testing.assert_array_equal(one[key], other[key])


def test_common_keypoints_are_in_their_goliath_places(build):
    wholebody, common = build('SapiensCocoWholeBodyDataset'), build('SapiensCommon114Dataset')
    for one, other in zip(wholebody, common, strict=True):
        for key in ('keypoints', 'keypoints_visible'):
            np.testing.assert_array_equal(one[key][:, COMMON_114_IN_133], other[key][:, COMMON_114_IN_308])
        rest = np.setdiff1d(np.arange(308), COMMON_114_IN_308)
        assert (other['keypoints_visible'][:, rest] == 0).all()
    assert common.metainfo['num_keypoints'] == 308


def test_wholebody_annotations_of_integers_give_floats(build, coco_real, tmp_path):
    data = json.loads((coco_real / 'coco_wholebody.json').read_text())
    for annotation in data['annotations']:
        for field in ('keypoints', 'foot_kpts', 'face_kpts', 'lefthand_kpts', 'righthand_kpts'):
            annotation[field] = [int(number) for number in annotation[field]]
    (tmp_path / 'ann.json').write_text(json.dumps(data))
    dataset = build('SapiensCocoWholeBodyDataset', ann_file=str(tmp_path / 'ann.json'))
    assert dataset[0]['keypoints'].dtype == np.float32


def test_custom_keypoints(content, open_set):
    points = content['annotations'][0]['keypoints']
    points[12:] = [0, 0, 0]
    sample = open_set(content)[0]
    np.testing.assert_array_equal(sample['keypoints'], np.float32(points).reshape(1, 5, 3)[..., :2])
    np.testing.assert_array_equal(sample['keypoints_visible'], [[1, 1, 1, 1, 0]])
    assert sample['dataset_name'] == 'five'


def test_308_keypoints(content, open_set):
    for entry in content['annotations']:
        entry['keypoints'] = entry['keypoints'][:3] * 308
    dataset = open_set(content, metainfo=None)
    assert dataset.metainfo['dataset_name'] == METAINFO_308['dataset_name']
    assert dataset[0]['keypoints_visible'].sum() == 308
