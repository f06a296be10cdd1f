"""Tests of optimizer, schedule and normalization of drop-in configs."""
import pytest

from sapiens_mm.apis.config_report import ConfigError
from sapiens_mm.apis.drop_in import drop_in
from sapiens_mm.apis.drop_in.check import TINY

from .conftest import adapt


def test_images_are_normalized_as_the_weights_know_them(write_config):
    for name in ('fcos_r50-caffe_fpn_gn-head_1x_coco', 'yolox_tiny_8xb8-300e_coco', 'rtmdet_tiny_8xb32-300e_coco'):
        settings = adapt(f'mmdet::{name}').cfg.model.data_preprocessor
        assert (settings.mean, settings.std, settings.bgr_to_rgb) == (
            [123.675, 116.28, 103.53], [58.395, 57.12, 57.375], True)
    unconverted = adapt(write_config('model = dict(data_preprocessor=dict(bgr_to_rgb=False))'))
    assert unconverted.cfg.model.data_preprocessor.bgr_to_rgb  # mmdet reads BGR
    plan = adapt('mmdet::retinanet_r50_fpn_1x_coco')
    assert plan.cfg.model.data_preprocessor == plan.stock.model.data_preprocessor


def test_optimizer():
    """AdamW with layer decay; a stock AdamW's rates, and what it says of other places than the backbone, stay."""
    wrapper = adapt('mmdet::retinanet_r50_fpn_1x_coco', 'sapiens_0.3b').cfg.optim_wrapper
    assert (wrapper.optimizer.type, wrapper.constructor, wrapper.clip_grad.max_norm) == (
        'AdamW', 'SapiensLayerDecayConstructor', 1.0)
    assert wrapper.paramwise_cfg == dict(layer_decay_rate=0.85)
    random = adapt('mmdet::retinanet_r50_fpn_1x_coco', 'sapiens_tiny').cfg.optim_wrapper
    assert random.paramwise_cfg == dict(layer_decay_rate=1.0)  # random weights must all learn
    wrapper = adapt('mmdet::deformable-detr_r50_16xb2-50e_coco').cfg.optim_wrapper
    assert (wrapper.optimizer.lr, wrapper.optimizer.weight_decay, wrapper.clip_grad.max_norm) == (2e-4, 1e-4, 0.1)
    assert wrapper.paramwise_cfg.custom_keys == dict(
        sampling_offsets=dict(lr_mult=0.1), reference_points=dict(lr_mult=0.1))
    plan = adapt('mmdet::centernet-update_r50_fpn_8xb8-amp-lsj-200e_coco')
    assert (plan.cfg.optim_wrapper.type, plan.cfg.optim_wrapper.dtype) == ('AmpOptimWrapper', 'bfloat16')


@pytest.mark.parametrize('name', [
    'mmdet::yolox_tiny_8xb8-300e_coco', 'mmseg::upernet_r50_4xb4-80k_ade20k-512x512',
    'mmpose::rtmpose-m_8xb256-420e_coco-256x192'])
def test_schedules_have_no_absolute_end(name):
    schedulers = adapt(name).cfg.param_scheduler
    assert not any(scheduler.get('eta_min') for scheduler in schedulers)


def test_stock_adamw_stays_whole(write_config):
    text = "optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', {}betas=(0.9, 0.95), eps=1e-6))"
    optimizer = adapt(write_config(text.format('lr=2e-4, '))).cfg.optim_wrapper.optimizer
    assert optimizer == dict(type='AdamW', lr=2e-4, betas=(0.9, 0.95), eps=1e-6)
    assert adapt(write_config(text.format(''))).cfg.optim_wrapper.optimizer.lr == 1e-4


def test_warm_up(write_config):
    """Added where the stock schedule has none."""
    assert [scheduler.type for scheduler in adapt(write_config()).cfg.param_scheduler] == ['LinearLR', 'MultiStepLR']
    bare = write_config("param_scheduler = [dict(type='MultiStepLR', milestones=[8, 11], by_epoch=True)]")
    assert [(scheduler.type, scheduler.get('end')) for scheduler in adapt(bare).cfg.param_scheduler] == [
        ('LinearLR', 500), ('MultiStepLR', None)]


def test_images_that_are_rgb_already_stay_so():
    """CIFAR's, which the stock config does not convert; its mean of red is the highest."""
    pytest.importorskip('mmpretrain')
    settings = adapt('mmpretrain::resnet18_8xb16_cifar10').cfg.data_preprocessor
    assert (settings.mean, settings.to_rgb) == ([123.675, 116.28, 103.53], False)


def test_schedules_of_one_rate_for_all_layers(write_config):
    with pytest.raises(ConfigError, match='OneCycleLR'):
        adapt(write_config("param_scheduler = [dict(type='OneCycleLR', eta_max=0.05, total_steps=100)]"))
    plateau = write_config("param_scheduler = [dict(type='ReduceOnPlateauLR', monitor='loss', min_value=1e-3)]")
    assert adapt(plateau).cfg.param_scheduler[-1].min_value == 0


def test_settings_of_the_stock_backbone(write_config):
    """Hooks that name it are noted; custom keys that match no parameter of the new model are removed."""
    plan = drop_in(write_config("""
custom_hooks = [dict(type='Freeze', layers=['backbone.layer1'])]
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=1e-4), paramwise_cfg=dict(
    custom_keys={'bbox_head': dict(lr_mult=5.), 'neck.lateral_convs': dict(lr_mult=2.)}))
"""), TINY)
    assert any('Freeze' in str(note) and 'backbone.layer1' in str(note) for note in plan.report.changed)
    assert plan.cfg.optim_wrapper.paramwise_cfg.custom_keys == dict(bbox_head=dict(lr_mult=5.))
