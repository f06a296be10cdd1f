"""Checks of the evaluator's annotations for mmpose's ``CocoMetric``, before training."""
import json
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmpose.registry import DATASETS, HOOKS, METRICS

import sapiens_mm.pose  # noqa: F401
from sapiens_mm.engine.launch import build_runner
from sapiens_mm.utils.problems import DataError

from .conftest import evaluate


@pytest.fixture
def content(tiny_coco):
    return json.loads((tiny_coco / 'annotations/person_keypoints_val2017.json').read_text())


@pytest.fixture
def loop(tiny_coco, tmp_path):
    """The validation loop of a runner, given the content of the annotation file."""

    def make(content, **kwargs):
        path = tmp_path / 'ann.json'
        path.write_text(json.dumps(content))
        dataset = DATASETS.build(dict(type='SapiensCocoDataset', ann_file=str(path), test_mode=True,
                                      data_prefix=dict(img=str(tiny_coco / 'val2017')), **kwargs))
        evaluator = Evaluator(METRICS.build(dict(type='CocoMetric', ann_file=str(path))))
        evaluator.dataset_meta = dataset.metainfo
        return SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset), evaluator=evaluator)

    return make


def exact_ap(loop):
    hook = HOOKS.build(dict(type='SapiensCheckCocoMetricHook'))
    hook.before_train(SimpleNamespace(val_loop=loop))
    return evaluate(loop.evaluator, loop.dataloader.dataset)['coco/AP']


def test_exact_keypoints_score_1(content, loop):
    assert exact_ap(loop(content)) == pytest.approx(1)


def test_text_ids(content, loop):
    for entry in content['images']:
        entry['id'] = f'image {entry["id"]}'
    for entry in content['annotations']:
        entry['image_id'], entry['id'] = f'image {entry["image_id"]}', str(entry['id'])
    assert exact_ap(loop(content)) == pytest.approx(1)


def test_subsets_and_persons_without_a_box(content, loop):
    assert exact_ap(loop(content, indices=3)) == pytest.approx(1)
    content['annotations'][0]['bbox'] = [10, 10, 0, 100]
    assert exact_ap(loop(content)) == pytest.approx(1)


@pytest.mark.parametrize('area', [0, None])
def test_area(content, loop, area):
    content['annotations'][2].update(area=area)
    if area is None:
        del content['annotations'][2]['area']
    with pytest.raises(DataError, match=r'1 of 6 persons \(3\)'):
        exact_ap(loop(content))


def test_annotations_of_another_set(content, loop, tmp_path):
    made = loop(content)
    for image in content['images']:
        image['file_name'] = f'x{image["file_name"]}'
    other = tmp_path / 'other.json'
    other.write_text(json.dumps(content))
    metric, = made.evaluator.metrics
    metric.ann_file = str(other)
    with pytest.raises(DataError, match='other.json: got 6 of 6 images'):
        exact_ap(made)


@pytest.mark.parametrize('spoil', ['area', 'ann_file', 'save_best', 'sigmas'])
def test_a_training_stops_before_its_first_iteration(micro_config, tiny_coco, tmp_path, spoil):
    """A runner raises the error before it trains or writes a checkpoint."""
    cfg = Config.fromfile(micro_config)
    content = json.loads((tiny_coco / 'annotations/person_keypoints_val2017.json').read_text())
    assert cfg.val_evaluator.type == 'CocoMetric'
    path = tmp_path / 'val.json'
    if spoil == 'area':
        content['annotations'][0]['area'] = 0
        cfg.val_dataloader.dataset.ann_file = str(path)
    if spoil == 'ann_file':
        content['images'][0]['file_name'] = 'other.png'
    if spoil == 'save_best':
        cfg.default_hooks.checkpoint.save_best = 'goliath/AP'
    if spoil == 'sigmas':
        metainfo = Config.fromfile(DATASETS.get('SapiensCocoDataset').METAINFO['from_file']).dataset_info.to_dict()
        cfg.val_dataloader.dataset.metainfo = dict(metainfo, sigmas=[.05] * 16)
    else:
        path.write_text(json.dumps(content))
        cfg.val_evaluator.ann_file = str(path)
    cfg.val_dataloader.dataset.bbox_file = None
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    cfg.work_dir = str(tmp_path / 'run')
    with pytest.raises(ValueError, match='area|val.json|save_best|sigmas'):
        build_runner(cfg).train()
    assert not list((tmp_path / 'run').glob('*.pth'))
