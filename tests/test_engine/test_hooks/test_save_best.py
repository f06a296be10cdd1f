"""Tests of the check of `save_best` before training."""
from types import SimpleNamespace

import pytest
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmseg.registry import METRICS

import sapiens_mm.dense  # noqa: F401


class CocoMetric(BaseMetric):
    """Has the name by which mmpose's is known."""
    default_prefix = 'coco'

    def process(self, data_batch, data_samples):
        pass

    def compute_metrics(self, results):
        return {}


class Other(CocoMetric):
    default_prefix = 'other'


def check(save_best, *metrics):
    runner = SimpleNamespace(hooks=[CheckpointHook(save_best=save_best, rule='greater')],
                             val_loop=SimpleNamespace(evaluator=SimpleNamespace(metrics=metrics)))
    HOOKS.build(dict(type='SapiensCheckSaveBestHook')).before_train(runner)


@pytest.mark.parametrize('name', ['goliath/AP', 'coco/mAP', 'AP', 'coco/', ['coco/AP', 'coco/PCK']])
def test_unknown_names_stop_before_the_training(name):
    with pytest.raises(ValueError, match='save_best'):
        check(name, CocoMetric())


@pytest.mark.parametrize('name', ['depth/RMSE', 'depth/scale/per-image/RMSE', 'parts/mIoU',
                                  'depth/scale-shift/per-image/rmse'])
def test_unknown_names_of_dense_metrics(name):
    with pytest.raises(ValueError, match='depth/scale-shift/per-image/RMSE'):
        check(name, METRICS.build(dict(type='SapiensDepthMetric')))


def test_known_names():
    depth = METRICS.build(dict(type='SapiensDepthMetric'))
    check(['coco/AP', 'coco/AP .5'], CocoMetric())
    check('auto', CocoMetric())
    check('other/anything', CocoMetric(), Other())
    check(['depth/scale-shift/per-image/RMSE', 'depth/scale-shift/per-image/face/RMSE'], depth)
    check(None, depth)
