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


def build(kind, **kwargs):
    return DATASETS.build({'type': kind, **kwargs})


def write(path, data):
    path.write_text(json.dumps(data))
    return str(path)


@pytest.fixture
def annotations():
    """COCO-style annotations of one image with one person of three keypoints."""
    return {
        'images': [{'id': 1, 'file_name': 'a.jpg', 'width': 100, 'height': 80}],
        'categories': [{'id': 1, 'name': 'person'}],
        'annotations': [{
            'id': 7, 'image_id': 1, 'category_id': 1, 'iscrowd': 0, 'area': 900, 'bbox': [10, 10, 30, 60],
            'keypoints': [20, 20, 2, 25, 30, 2, 0, 0, 0]
        }]
    }  # fmt: skip


@pytest.fixture
def metainfo():
    """A vocabulary of three keypoints."""
    return {
        'dataset_name': 'three',
        'keypoint_info': {i: {'id': i, 'name': name, 'color': [0, 0, 0], 'type': '', 'swap': ''}
                          for i, name in enumerate('abc')},
        'skeleton_info': {},
        'joint_weights': [1.0] * 3,
        'sigmas': [0.05] * 3
    }


@pytest.mark.parametrize(('kind', 'file'), FILES.items())
def test_missing_annotation_file(kind, file, tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"{kind}: ann_file '.*{file}' does not exist. Set data_root \(it is"):
        build(kind, ann_file=file, data_root=str(tmp_path), data_prefix={'img': ''})


def test_no_annotation_file():
    with pytest.raises(ValueError, match='ann_file is not set'):
        build('SapiensCocoStyleDataset')


def test_missing_image_folder(coco_real):
    with pytest.raises(FileNotFoundError, match=r"data_prefix\['img'\] '.*val2017/' is not a folder. Set data_root"):
        build('SapiensCocoDataset', ann_file='person_keypoints.json', data_root=str(coco_real),
              data_prefix={'img': 'val2017/'})


@pytest.mark.parametrize('content', ['{"images": [', '[]', '\x89PNG'])
def test_not_an_annotation_file(content, tmp_path):
    path = tmp_path / 'ann.json'
    path.write_text(content, encoding='latin-1')
    with pytest.raises(ValueError, match=r"ann.json'?: got .* expected .*COCO-style JSON file"):
        build('SapiensCocoDataset', ann_file=str(path))


@pytest.mark.parametrize('drop', [0, 1])
def test_wrong_number_of_keypoints(drop, annotations, metainfo, tmp_path):
    person = annotations['annotations'][0]
    person['keypoints'] = person['keypoints'][:6 - drop]
    path = write(tmp_path / 'ann.json', annotations)
    found = rf"ann.json: got 1 of 1 annotations \(7\) .* {(6 - drop) / 3:g} keypoints \({6 - drop} numbers\)"
    with pytest.raises(ValueError, match=rf"{found} in 'keypoints', expected 3 keypoints of 'three' \(9 numbers"):
        build('SapiensCocoStyleDataset', ann_file=path, metainfo=metainfo)


@pytest.mark.parametrize('value', [None, 'x'])
def test_keypoints_that_are_no_numbers(value, annotations, metainfo, tmp_path):
    annotations['annotations'][0]['keypoints'][4] = value
    path = write(tmp_path / 'ann.json', annotations)
    with pytest.raises(ValueError, match=r"ann.json: got 1 of 1 annotations \(7\) .*numbers"):
        build('SapiensCocoStyleDataset', ann_file=path, metainfo=metainfo)


def test_no_categories_for_evaluation(annotations, metainfo, tmp_path):
    del annotations['categories']
    settings = dict(ann_file=write(tmp_path / 'ann.json', annotations), metainfo=metainfo)
    assert len(build('SapiensCocoStyleDataset', **settings)) == 1
    with pytest.raises(ValueError, match="ann.json' has no 'categories', which the evaluation needs"):
        build('SapiensCocoStyleDataset', test_mode=True, **settings)


@pytest.mark.parametrize('box', [dict(bbox=[1, 2, 3]), dict(bbox='abcd'), dict(score='high')])
def test_boxes_that_are_no_numbers(box, annotations, metainfo, tmp_path):
    boxes = [{**dict(image_id=1, category_id=1, bbox=[1, 2, 3, 4], score=0.5), **box}]
    with pytest.raises(ValueError, match=r"bbox_file '.*boxes.json': got 1 of 1 boxes \(entry 0\) .* bbox"):
        build('SapiensCocoStyleDataset', ann_file=write(tmp_path / 'ann.json', annotations), metainfo=metainfo,
              test_mode=True, bbox_file=write(tmp_path / 'boxes.json', boxes))


def test_threshold_that_leaves_no_box(annotations, metainfo, tmp_path):
    boxes = [dict(image_id=1, category_id=1, bbox=[1, 2, 3, 4], score=0.5)]
    with pytest.raises(ValueError, match='leaves none of 1 samples. Check bbox_score_thr'):
        build('SapiensCocoStyleDataset', ann_file=write(tmp_path / 'ann.json', annotations), metainfo=metainfo,
              test_mode=True, bbox_file=write(tmp_path / 'boxes.json', boxes), filter_cfg=dict(bbox_score_thr=0.9))


def test_coco_annotations_for_the_308(coco_real):
    with pytest.raises(ValueError, match=r"17 keypoints \(51 numbers\) in 'keypoints', expected 308 keypoints"):
        build('SapiensCocoStyleDataset', ann_file='person_keypoints.json', data_root=str(coco_real),
              data_prefix={'img': ''})


def test_coco_annotations_for_wholebody(coco_real):
    with pytest.raises(ValueError, match=r"0 keypoints \(0 numbers\) in 'foot_kpts', expected 6 keypoints"):
        build('SapiensCocoWholeBodyDataset', ann_file='person_keypoints.json', data_root=str(coco_real),
              data_prefix={'img': ''})


@pytest.mark.parametrize(('entries', 'field'), [('images', 'width'), ('images', 'file_name'), ('annotations', 'id')])
def test_missing_field(entries, field, annotations, metainfo, tmp_path):
    del annotations[entries][0][field]
    path = write(tmp_path / 'ann.json', annotations)
    with pytest.raises(ValueError, match=rf"ann.json: got 1 of 1 {entries} .* no '{field}'"):
        build('SapiensCocoStyleDataset', ann_file=path, metainfo=metainfo)


def test_nobody_labelled(annotations, metainfo, tmp_path):
    annotations['annotations'][0]['keypoints'] = [0] * 9
    path = write(tmp_path / 'ann.json', annotations)
    with pytest.raises(ValueError, match=r"ann.json' gives no sample. It needs a person with a box and a labelled"):
        build('SapiensCocoStyleDataset', ann_file=path, metainfo=metainfo)


@pytest.mark.parametrize(('boxes', 'error', 'match'), [
    (None, FileNotFoundError, r"bbox_file '.*boxes.json' does not exist. .*or bbox_file=None"),
    ('{"a"', ValueError, r"bbox_file '.*boxes.json': got .*JSON"),
    ({'annotations': []}, ValueError, r"bbox_file '.*boxes.json': got a dict, expected a list of dicts"),
    ([{'image_id': 785, 'bbox': [0, 0, 9, 9]}], ValueError, r"bbox_file .*entry 0\) that lack category_id, score"),
    ([[0, 0, 9, 9]], ValueError, r"bbox_file .*entry 0\) that lack image_id, category_id, bbox, score"),
    ([{'image_id': 3, 'category_id': 1, 'bbox': [0, 0, 9, 9], 'score': 1}], ValueError,
     r"images that are not in '.*person_keypoints.json': 3, expected .* same split"),
    ([], ValueError, r"boxes.json' gives no sample. It needs a box of a person"),
])
def test_bad_boxes(boxes, error, match, coco_real, tmp_path):
    path = tmp_path / 'boxes.json'
    if boxes is not None:
        path.write_text(boxes if isinstance(boxes, str) else json.dumps(boxes))
    with pytest.raises(error, match=match):
        build('SapiensCocoDataset', ann_file='person_keypoints.json', data_root=str(coco_real), data_prefix={'img': ''},
              bbox_file=str(path), test_mode=True)


def test_boxes_beside_annotations_of_another_vocabulary(coco_real):
    """Nothing is read from the annotations then, but the metric would fail on them later."""
    with pytest.raises(ValueError, match="17 keypoints .*in 'keypoints', expected 308 keypoints of 'goliath'"):
        build('SapiensCocoStyleDataset', ann_file='person_keypoints.json', data_root=str(coco_real),
              data_prefix={'img': ''}, bbox_file=str(coco_real / 'person_detections.json'), test_mode=True)


@pytest.mark.parametrize(('kind', 'keypoints'), [('SapiensCocoDataset', 17), ('SapiensCocoWholeBodyDataset', 133),
                                                 ('SapiensCommon114Dataset', 308)])
@pytest.mark.parametrize('boxes', [False, True])
def test_real_data(kind, keypoints, boxes, coco_real):
    dataset = build(kind, ann_file=FILES[kind], data_root=str(coco_real), data_prefix={'img': ''}, test_mode=True,
                    bbox_file=str(coco_real / 'person_detections.json') if boxes else None)
    assert len(dataset) == (118 if boxes else 12)
    sample = dataset[0]
    assert sample['keypoints'].shape == (1, keypoints, 2)
    assert sample['keypoints'].dtype == sample['keypoints_visible'].dtype == np.float32
    assert len(sample['flip_indices']) == keypoints


def test_checks_change_nothing(coco_real):
    kwargs = {'ann_file': 'person_keypoints.json', 'data_root': str(coco_real), 'data_prefix': {'img': ''}}
    ours = build('SapiensCocoDataset', **kwargs)
    theirs = CocoDataset(metainfo=copy.deepcopy(METAINFO_17), **kwargs)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one['keypoints'], other['keypoints'])
        np.testing.assert_array_equal(one['bbox'], other['bbox'])


def test_common_keypoints_are_in_their_goliath_places(coco_real):
    kwargs = {'ann_file': 'coco_wholebody.json', 'data_root': str(coco_real), 'data_prefix': {'img': ''}}
    wholebody = build('SapiensCocoWholeBodyDataset', **kwargs)
    common = build('SapiensCommon114Dataset', **kwargs)
    for one, other in zip(wholebody, common, strict=True):
        for key in ('keypoints', 'keypoints_visible'):
            np.testing.assert_array_equal(one[key][:, COMMON_114_IN_133], other[key][:, COMMON_114_IN_308])
        rest = np.setdiff1d(np.arange(308), COMMON_114_IN_308)
        assert (other['keypoints_visible'][:, rest] == 0).all()
    assert common.metainfo['num_keypoints'] == 308


def test_wholebody_annotations_of_integers_give_floats(coco_real, tmp_path):
    data = json.loads((coco_real / 'coco_wholebody.json').read_text())
    for annotation in data['annotations']:
        for field in ('keypoints', 'foot_kpts', 'face_kpts', 'lefthand_kpts', 'righthand_kpts'):
            annotation[field] = [int(number) for number in annotation[field]]
    dataset = build('SapiensCocoWholeBodyDataset', ann_file=write(tmp_path / 'ann.json', data))
    assert dataset[0]['keypoints'].dtype == np.float32


def test_own_vocabulary(annotations, metainfo, tmp_path):
    path = write(tmp_path / 'ann.json', annotations)
    sample = build('SapiensCocoStyleDataset', ann_file=path, metainfo=metainfo)[0]
    np.testing.assert_array_equal(sample['keypoints'], [[[20, 20], [25, 30], [0, 0]]])
    np.testing.assert_array_equal(sample['keypoints_visible'], [[1, 1, 0]])
    assert sample['dataset_name'] == 'three'


def test_308_keypoints(annotations, tmp_path):
    annotations['annotations'][0]['keypoints'] = [20, 30, 2] * 308
    dataset = build('SapiensCocoStyleDataset', ann_file=write(tmp_path / 'ann.json', annotations))
    assert dataset.metainfo['dataset_name'] == METAINFO_308['dataset_name']
    assert dataset[0]['keypoints_visible'].sum() == 308
