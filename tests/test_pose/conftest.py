"""A COCO-style dataset of five keypoints."""
import json
import logging

import numpy as np
import pytest
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmpose.registry import DATASETS, METRICS

import sapiens_mm.pose  # noqa: F401
from sapiens_mm.pose.annotations import whole_id

KEYPOINTS = ['head', 'left_hand', 'right_hand', 'left_foot', 'right_foot']
SWAPS = ['', 'right_hand', 'left_hand', 'right_foot', 'left_foot']
METAINFO = dict(
    dataset_name='five', skeleton_info={}, joint_weights=[1.] * 5, sigmas=[.05] * 5,
    keypoint_info={i: dict(id=i, name=name, swap=swap, type='', color=[0, 0, 0])
                   for i, (name, swap) in enumerate(zip(KEYPOINTS, SWAPS))})


@pytest.fixture
def content():
    """Three images of 320x240 with four persons each."""
    rng = np.random.default_rng(0)
    annotations = []
    for number in range(12):
        x, y, width, height = 20 + 70 * (number % 4), 20 + 10 * (number % 3), 60, 180
        points = np.stack([x + rng.uniform(5, width - 5, 5), y + rng.uniform(5, height - 5, 5), np.full(5, 2)], 1)
        annotations.append(dict(
            id=number + 1, image_id=number // 4 + 1, category_id=1, iscrowd=0, area=5000., bbox=[x, y, width, height],
            keypoints=points.round(1).ravel().tolist()))
    return dict(images=[dict(id=i, file_name=f'{i}.jpg', width=320, height=240) for i in (1, 2, 3)],
                categories=[dict(id=1, name='person')], annotations=annotations)


@pytest.fixture
def open_set(tmp_path):
    """Opens a dataset of five keypoints as a test set, given the content or the text of its files."""

    def build(content, boxes=None, **kwargs):
        for name, value in (('ann', content), ('boxes', boxes)):
            (tmp_path / f'{name}.json').write_text(value if isinstance(value, str) else json.dumps(value))
        if boxes is not None:
            kwargs['bbox_file'] = str(tmp_path / 'boxes.json')
        return DATASETS.build(dict(dict(
            type='SapiensCocoStyleDataset', ann_file=str(tmp_path / 'ann.json'), metainfo=METAINFO, test_mode=True,
            data_prefix=dict(img=str(tmp_path))), **kwargs))

    return build


@pytest.fixture
def logged(monkeypatch):
    """What is logged, as one text."""
    lines = []
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'handle', lambda record: lines.append(record.getMessage()))
    logger.setLevel(logging.INFO)
    return lambda: '\n'.join(lines)


def evaluate(evaluator, dataset, points_of=lambda sample: sample['keypoints']):
    """Metrics of predictions with a score of 1."""
    for sample in dataset:
        points = points_of(sample)
        evaluator.process([dict(
            id=sample['id'], img_id=sample['img_id'], category_id=sample['category_id'],
            pred_instances=dict(keypoints=points, keypoint_scores=np.ones(points.shape[:2]), bboxes=sample['bbox'],
                                bbox_scores=np.ones(1)),
            gt_instances=dict(bbox_scores=np.ones(1)))])
    return evaluator.evaluate(len(dataset))


def exact_ap(dataset, truth, **kwargs):
    """AP of predictions that are the annotated keypoints, matched by the middle of the box."""
    evaluator = Evaluator(METRICS.build(dict(type='SapiensKeypointMetric', ann_file=dataset.ann_file, **kwargs)))
    evaluator.dataset_meta = dataset.metainfo

    def nearest(sample):
        x0, y0, x1, y1 = sample['bbox'][0]
        middle = np.array([x0 + x1, y0 + y1]) / 2
        entry = min((entry for entry in truth if whole_id(entry['image_id']) == sample['img_id']), key=lambda entry:
                    np.abs(np.array(entry['bbox'][:2]) + np.array(entry['bbox'][2:]) / 2 - middle).sum())
        return np.array(entry['keypoints']).reshape(1, -1, 3)[..., :2]

    return evaluate(evaluator, dataset, nearest)['five/AP']


def boxes_of(content, category=1):
    return [dict(image_id=entry['image_id'], category_id=category, bbox=entry['bbox'], score=.9)
            for entry in content['annotations']]
