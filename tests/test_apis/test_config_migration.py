"""Migration of configs shaped like those of the public release, and training by the new configs."""
import inspect
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from mmpose.registry import KEYPOINT_CODECS
from mmpose.registry import TRANSFORMS as POSE_TRANSFORMS
from mmseg.registry import TRANSFORMS as SEG_TRANSFORMS

import sapiens_mm.pose
import sapiens_mm.pretrain  # noqa: F401
from sapiens_mm.apis.config_migration import migrate_config, migrate_file, migrate_folder, read_config
from sapiens_mm.apis.config_report import ConfigError, Report
from sapiens_mm.engine.launch import build_runner
from sapiens_mm.pose.metainfo import get_metainfo

from ..test_dense.conftest import write_people

TINY = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
SETS = {17: 'CocoDataset', 133: 'CocoWholeBodyDataset', 308: 'GoliathDataset'}
RUNTIME = """
custom_imports = dict(imports=['a_fork_that_nobody_has'], allow_failed_imports=False)
model_name = 'sapiens_0.3b'
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork'), dist_cfg=dict(backend='nccl'))
vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=3.7e-4, betas=(0.9, 0.998), weight_decay=0.11),
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        num_layers=24, layer_decay_rate=0.83,
        custom_keys=dict(bias=dict(decay_multi=0.0), pos_embed=dict(decay_mult=0.0), norm=dict(decay_mult=0.0))),
    clip_grad=dict(max_norm=0.7, norm_type=2))
train_cfg = dict(by_epoch=True, max_epochs=19, val_interval=3)
log_level = 'INFO'
load_from = None
resume = False
default_hooks = dict(
    timer=dict(type='IterTimerHook'), logger=dict(type='LoggerHook', interval=7),
    param_scheduler=dict(type='ParamSchedulerHook'), checkpoint=dict(type='CheckpointHook', interval=5{best}),
    sampler_seed=dict(type='DistSamplerSeedHook'), visualization=dict(type='{hook}', interval=11{hook_args}))
"""
BACKBONE = """backbone=dict(
        type='mmpretrain.VisionTransformer', arch='sapiens_0.3b', img_size=(64, 48), patch_size=16, qkv_bias=True,
        final_norm=True, drop_path_rate=0.0, with_cls_token=False, out_type='featmap', {patch_cfg}
        init_cfg=dict(type='Pretrained', checkpoint='/home/someone/checkpoints/sapiens_0.3b_epoch_1600_clean.pth')),"""
SCHEDULE = """
param_scheduler = [
    dict(type='LinearLR', begin=0, end=77, start_factor=0.002, by_epoch=False),
    dict(type='{type}', begin=0, end=19, by_epoch=True, {args})]
"""
LOADER = """
{name} = dict(
    batch_size={batch}, num_workers=3, persistent_workers=True, sampler=dict(type='DefaultSampler', shuffle={shuffle}),
    dataset={dataset})
"""


def pose_text(outputs: int, loss: str = "dict(type='KeypointMSELoss', use_target_weight=True)") -> str:
    """A pose config, whose training set is a union of one."""
    dataset, files = SETS[outputs], "data_root='/home/someone/data/', data_mode='topdown'"
    train = f"dict(type='{dataset}', {files}, ann_file='annotations/train.json'" + \
        (')' if outputs == 308 else ", data_prefix=dict(img='photos/'))")
    test = (f"dict(type='{dataset.replace('thD', 'thEvalD')}', {files}, ann_file='annotations/val.json', "
            "data_prefix=dict(img='photos/'), test_mode=True")
    if outputs == 308:
        other = f"dict(type='CocoWholeBodyDataset', {files}, ann_file='w.json', bbox_file='b.json')"
        test = f"dict(type='CombinedDataset', metainfo=dict(from_file='c/goliath.py'), datasets=[{test}), {other}]"
    else:
        test += ", bbox_file='/home/someone/data/boxes/found.json'"
    return RUNTIME.format(best=", save_best='coco/AP', rule='greater'", hook='ForkPoseVisualizationHook',
                          hook_args=', enable=True, scale=4, radius=6') + SCHEDULE.format(
        type='MultiStepLR', args='milestones=[13, 17], gamma=0.2') + f"""
codec = dict(type='UDPHeatmap', input_size=(48, 64), heatmap_size=(12, 16), sigma=1.5)
model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(type='PoseDataPreprocessor', mean=[1., 2., 3.], std=[4., 5., 6.], bgr_to_rgb=True),
    {BACKBONE.format(patch_cfg='patch_cfg=dict(padding=2),')}
    head=dict(
        type='HeatmapHead', in_channels=1024, out_channels={outputs}, deconv_out_channels=(16, 8),
        deconv_kernel_sizes=(4, 4), conv_out_channels=(8, 8), conv_kernel_sizes=(1, 1), loss={loss}, decoder=codec),
    test_cfg=dict(flip_test=True, flip_mode='heatmap', shift_heatmap=False))
train_pipeline = [
    dict(type='LoadImage'), dict(type='GetBBoxCenterScale', padding=1.3), dict(type='RandomFlip', prob=0.4),
    dict(type='RandomHalfBody'), dict(type='RandomBBoxTransform', rotate_factor=33),
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True), dict(type='PhotometricDistortion'),
    dict(type='Albumentation', transforms=[
        dict(type='Blur', p=0.12), dict(type='MedianBlur', p=0.13),
        dict(type='CoarseDropout', max_holes=1, max_height=0.5, max_width=0.5, min_holes=1, min_height=0.1,
             min_width=0.1, p=0.9)]),
    dict(type='GenerateTarget', encoder=codec), dict(type='PackPoseInputs')]
val_pipeline = [
    dict(type='LoadImage'), dict(type='GetBBoxCenterScale', padding=1.3),
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True), dict(type='PackPoseInputs')]
val_evaluator = dict(type='{"CocoMetric" if outputs == 17 else "CocoWholeBodyMetric"}', ann_file='/home/a/val.json')
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=264)
""" + LOADER.format(
        name='train_dataloader', batch=33, shuffle=True,
        dataset=f"dict(type='CombinedDataset', datasets=[{train}], pipeline=train_pipeline)") + LOADER.format(
        name='val_dataloader', batch=34, shuffle=False, dataset=f'{test}, pipeline=val_pipeline)') + \
        'test_dataloader = val_dataloader\n'


# Task: estimator, head, loss, channels, the names in its transforms, the transforms that make its target, dataset.
DENSE = {
    'parts-28': ('EncoderDecoder', 'VitHead', "dict(type='CrossEntropyLoss', use_sigmoid=False, reduction='none', "
                 f'class_weight={[0.5] * 28}, loss_weight=1.5)', 28, ('', 'Seg'), '', 'GoliathDataset'),
    'lip': ('EncoderDecoder', 'VitHead', "dict(type='CrossEntropyLoss', loss_weight=1.5)", 20, ('', 'Seg'), '',
            'LIPDataset'),
    'cihp': ('EncoderDecoder', 'VitHead', "dict(type='CrossEntropyLoss', loss_weight=1.5)", 20, ('', 'Seg'), '',
             'CIHPDataset'),
    'face': ('EncoderDecoder', 'VitHead', "dict(type='CrossEntropyLoss', loss_weight=1.5)", 16, ('', 'Seg'), '',
             'FaceDataset'),
    'depth': ('DepthEstimator', 'VitDepthHead', "dict(type='SiLogLoss', loss_weight=1.5)", 1, ('Depth', 'Depth'),
              "dict(type='GenerateDepthTarget'), ", 'RenderPeopleDataset'),
    'normal': ('DepthEstimator', 'VitNormalHead', "[dict(type='CosineSimilarityLoss', loss_weight=1.5), "
               "dict(type='L1Loss', loss_weight=0.5)]", 3, ('Normal', 'Normal'),
               "dict(type='GenerateNormalTarget', background_val=-1000), ", 'NormalRenderPeopleDataset'),
}


def dense_text(name: str) -> str:
    """A config of parts, depth or normals, whose training set is a union of one."""
    estimator, head, loss, outputs, (kind, pack), target, dataset = DENSE[name]
    parts = estimator == 'EncoderDecoder'
    deconvs, convs = (4, 2) if name == 'depth' else (3, 3)
    load = "dict(type='LoadAnnotations'), " if parts else f"dict(type='Random{kind}ResizeCompensate'), "
    crop = f"dict(type='Random{kind}Crop', crop_size=(64, 48){', cat_max_ratio=0.7' if parts else ''})"
    rotate = '' if name == 'normal' else f"dict(type='{kind}RandomRotate', prob=0.6, degree=35" + \
        (', seg_pad_val=0), ' if parts else '), ')
    flip = ', swap_seg_labels=[(14, 15), (3, 2)]' if name == 'face' else ''
    prefix = ", data_prefix=dict(img_path='i/{0}', seg_map_path='s/{0}')" if name in ('lip', 'cihp') else ''
    files = f"type='{dataset}', data_root='/home/someone/data/'"
    tests = ''
    if parts and name != 'face':
        tests = LOADER.format(
            name='val_dataloader', batch=5, shuffle=False,
            dataset=f'dict({files}{prefix.format("val")}, pipeline=test_pipeline)') + """
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
"""
    else:
        tests = '\nval_dataloader = val_evaluator = val_cfg = test_dataloader = test_evaluator = test_cfg = None\n'
    return RUNTIME.format(best=", save_best='mIoU'" if parts else '', hook=f'{pack}VisualizationForkHook',
                          hook_args=', max_samples=4').replace('ForkHook', 'Hook') + SCHEDULE.format(
        type='PolyLR', args='power=1.0, eta_min=0.0') + f"""
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    type='{estimator}', pretrained=None,
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[1., 2., 3.], std=[4., 5., 6.], bgr_to_rgb=True, pad_val=0, seg_pad_val=255,
        size=(64, 48)),
    {BACKBONE.format(patch_cfg='patch_cfg=dict(padding=2),' if name in ('normal', 'lip', 'cihp') else '')}
    decode_head=dict(
        type='{head}', in_channels=1024, channels=8, num_classes={outputs}, norm_cfg=norm_cfg, align_corners=False,
        deconv_out_channels={(8, ) * deconvs}, deconv_kernel_sizes={(4, ) * deconvs},
        conv_out_channels={(8, ) * convs}, conv_kernel_sizes={(1, ) * convs}, loss_decode={loss}),
    train_cfg=dict(), test_cfg=dict(mode='whole'))
train_pipeline = [
    dict(type='LoadImage'), dict(type='RandomBackground', prob=0.3, background_images_root='/home/someone/places'),
    {load}dict(type='RandomResize', scale=(60, 80), ratio_range=(0.6, 1.7), keep_ratio=True), {crop},
    dict(type='{kind}Resize', scale=(48, 64){', keep_ratio=False' if parts else ''}),
    {rotate}dict(type='{kind}RandomFlip', prob=0.45{flip}),
    {target}dict(type='PhotoMetricDistortion', hue_delta=9), dict(type='Pack{pack}Inputs')]
test_pipeline = [
    dict(type='LoadImage'), dict(type='Resize', scale=(48, 64), keep_ratio=False), dict(type='LoadAnnotations'),
    dict(type='PackSegInputs')]
{tests}
""" + LOADER.format(
        name='train_dataloader', batch=4, shuffle=True,
        dataset=f"dict(type='{kind}CombinedDataset', metainfo=dict(from_file='m.py'), "
                f"datasets=[dict({files}{prefix.format('train')})], pipeline=train_pipeline)")


MAE_TEXT = """
custom_imports = dict(imports=['a_fork_that_nobody_has'])
model = dict(
    type='MAE',
    backbone=dict(type='MAEViT', arch='sapiens_0.3b', img_size=64, patch_size=16, mask_ratio=0.6, final_norm=True),
    neck=dict(
        type='MAEPretrainDecoder', patch_size=16, in_chans=3, embed_dim=1024, decoder_embed_dim=32, decoder_depth=2,
        decoder_num_heads=2, mlp_ratio=3., num_patches=16),
    head=dict(type='MAEPretrainHead', norm_pix=True, patch_size=16,
              loss=dict(type='PixelReconstructionLoss', criterion='L2')),
    init_cfg=[dict(type='Xavier', layer='Linear', distribution='uniform')])
data_preprocessor = dict(type='SelfSupDataPreprocessor', mean=[1., 2., 3.], std=[4., 5., 6.], to_rgb=True)
train_dataloader = dict(
    batch_size=3, num_workers=1, persistent_workers=True, sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='CombinedDataset', datasets=[dict(
        type='SomeImages', data_root='/home/someone/images', split='train', pipeline=[
            dict(type='RandomResizedCrop', scale=64, crop_ratio_range=(0.3, 0.9), backend='pillow',
                 interpolation='bicubic'),
            dict(type='RandomFlip', prob=0.4), dict(type='PackInputs')])]))
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=3e-3, betas=(0.9, 0.95), weight_decay=0.05),
    paramwise_cfg=dict(custom_keys=dict(ln=dict(decay_mult=0.0), bias=dict(decay_mult=0.0))))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=8, by_epoch=True, begin=2, end=10, convert_to_iter_based=True)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10)
auto_scale_lr = dict(base_batch_size=12)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1), param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=2), visualization=dict(type='ForkVisualizationHook'))
custom_hooks = [dict(type='PretrainVisualizationHook', vis_every_iters=13, vis_max_samples=2)]
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
"""


@pytest.fixture
def public(tmp_path):
    """Writes a public config and returns its path."""
    def write(text: str, name: str = 'public.py') -> Path:
        path = tmp_path / 'public' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path
    return write


def migrated(path: Path, **options) -> tuple[Config, Report]:
    out = path.parents[1] / 'ours/out.py'
    out.unlink(missing_ok=True)
    report = migrate_file(path, out, **options)
    return Config.fromfile(out), report


@pytest.fixture
def run(run_main):
    """Runs the tool: exit status and printed text."""
    return lambda *args: run_main('tools/migrate_config.py', *args)[:2]


@pytest.mark.parametrize(('old', 'new', 'named'), [
    ("type='mmpretrain.VisionTransformer', arch='sapiens_0.3b'", "type='ResNet', depth=50", 'ResNet'),
    ("arch='sapiens_0.3b'", "arch='huge'", 'huge'),  # stock ViTPose
    ("arch='sapiens_0.3b'", "arch='sapiens_9b'", 'sapiens_9b'),
    ("'mmpretrain.VisionTransformer'", "'SapiensViT'", 'already'),
    ("'HeatmapHead'", "'RTMCCHead'", 'RTMCCHead'),
    ('model = dict(', 'thing = dict(', 'model'),
    ('train_dataloader = ', 'other_dataloader = ', 'train_dataloader'),
    ("'UDPHeatmap'", "'MSRAHeatmap'", 'MSRAHeatmap'),
    ('import', '_base_ = "./missing_base.py"\nimport', 'missing_base.py'),
    ('import', 'broken =\nimport', 'public.py'),
    ("input_size=(48, 64)", 'input_size=None', 'codec.input_size: got None'),
    ('optim_wrapper = ', 'other_wrapper = ', 'optim_wrapper'),
    ("dict(type='LoadImage'), ", "'LoadImage', ", 'train_dataloader.dataset: got'),
])
def test_other_configs_are_refused(old, new, named, public, tmp_path):
    text = 'import os.path\n' + pose_text(17)
    assert old in text
    path = public(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=re.escape(named)):
        migrate_file(path, tmp_path / 'out.py')
    assert not (tmp_path / 'out.py').exists()


@pytest.mark.parametrize(('old', 'new', 'named'), [
    ("type='RandomCrop'", "type='NewCrop'", 'pipeline: got no crop'), ('crop_size=(64, 48), ', '', 'without crop_size'),
    ('degree=35, ', '', 'without degree'), ('scale=(60, 80), ', '', 'without scale')])
def test_a_warp_without_what_it_needs_is_refused(old, new, named, public):
    assert old in dense_text('lip')
    with pytest.raises(ConfigError, match=named):
        migrated(public(dense_text('lip').replace(old, new)))


def test_a_mistake_of_ours_is_not_the_users(public, monkeypatch):
    def wrong(*args):
        raise KeyError('ours')
    monkeypatch.setattr('sapiens_mm.apis.config_migration.migrate_visualizer', wrong)
    with pytest.raises(KeyError):
        migrated(public(pose_text(17)))


def test_nothing_is_written_over_a_file(public, tmp_path, run):
    path = public(pose_text(17))
    with pytest.raises(ConfigError, match='exists'):
        migrate_file(path, path)
    public(pose_text(133), 'other.py')
    out = tmp_path / 'ours/public.py'
    out.parent.mkdir()
    out.write_text('mine')
    assert run(path, out)[0] == 1
    status, printed = run(path.parent, out.parent)
    assert status == 1
    assert [line for line in printed.splitlines() if 'FAILED' in line and str(out) in line]
    assert out.read_text() == 'mine'
    assert (out.parent / 'other.py').exists()


def test_nothing_is_written_into_the_source(public):
    path = public(pose_text(17))
    with pytest.raises(ConfigError, match='inside'):
        migrate_folder(path.parent, path.parent / 'ours')
    with pytest.raises(ConfigError, match='nowhere.py'):
        migrate_file(path.parent / 'nowhere.py', path.parent / 'out.py')
    assert path.read_text() == pose_text(17)


@pytest.mark.parametrize(('name', 'old', 'new', 'where'), [
    ('pose', "type='RandomHalfBody'", "type='NewTransform'", 'train_dataloader.dataset.datasets.0.pipeline.3'),
    ('pose', "type='MedianBlur'", "type='Emboss'", 'train_dataloader.dataset.datasets.0.pipeline.7.transforms.1'),
    ('pose', 'max_holes=1', 'max_holes=3', 'train_dataloader.dataset.datasets.0.pipeline.7.transforms.2'),
    ('pose', "'KeypointMSELoss'", "'NewLoss'", 'model.head.loss'),
    ('pose', "'CocoMetric'", "'NewMetric'", 'val_evaluator'),
    ('pose', "'CocoDataset'", "'NewDataset'", 'train_dataloader.dataset.datasets.0'),
    ('pose', 'out_channels=17', 'out_channels=18', 'train_dataloader.dataset.datasets.0'),
    ('pose', 'in_channels=1024', 'in_channels=1280', 'model.head.in_channels'),
    ('pose', 'final_norm=True', 'pre_norm=True', 'model.backbone.pre_norm'),
    ('pose', "type='MultiStepLR'", "type='NewLR'", 'param_scheduler.1'),
    ('lip', "type='PhotoMetricDistortion'", "type='NewTransform'", 'train_dataloader.dataset.datasets.0.pipeline.8'),
    ('lip', "dict(type='RandomFlip'", "dict(type='RandomFlip', prob=0.1), dict(type='RandomFlip'",
     'train_dataloader.dataset.datasets.0.pipeline.8'),
    ('lip', "dict(type='RandomFlip'", "dict(type='RGB2Gray'), dict(type='RandomFlip'",
     'train_dataloader.dataset.datasets.0.pipeline.7'),
    ('lip', "dict(type='LoadAnnotations')", "dict(type='LoadAnnotations', reduce_zero_label=True)",
     'train_dataloader.dataset.datasets.0.pipeline.2.reduce_zero_label'),
    ('lip', "dict(type='LoadAnnotations')", "dict(type='LoadAnnotations', reduce_zero_label=True)",
     'val_dataloader.dataset.pipeline.2.reduce_zero_label'),
    ('lip', "type='LIPDataset'", "type='LIPDataset', img_suffix='_rgb.jpg'",
     'train_dataloader.dataset.datasets.0.img_suffix'),
    ('lip', "type='LIPDataset'", "type='LIPDataset', seg_map_suffix='_labels.png'",
     'val_dataloader.dataset.seg_map_suffix'),
    ('lip', 'hue_delta=9', 'strength=0', 'train_dataloader.dataset.datasets.0.pipeline.8.strength'),
    ('lip', 'hue_delta=9', 'strength=0.0', 'train_dataloader.dataset.datasets.0.pipeline.8.strength'),
    ('lip', 'prob=0.45', "prob=0.45, direction='vertical'", 'train_dataloader.dataset.datasets.0.pipeline.7'),
    ('lip', 'degree=35', 'degree=(-5, 35)', 'train_dataloader.dataset.datasets.0.pipeline.6'),
    ('lip', "'CrossEntropyLoss'", "'NewLoss'", 'model.decode_head.loss_decode'),
    ('lip', 'loss_weight=1.5', 'use_sigmoid=True', 'model.decode_head.loss_decode.use_sigmoid'),
    ('lip', 'keep_ratio=True', 'keep_ratio=False', 'train_dataloader.dataset.datasets.0.pipeline.3'),
    ('depth', 'scale=(48, 64)', 'scale=(96, 64)', 'train_dataloader.dataset.datasets.0.pipeline.5'),
    ('mae', 'decoder_depth=2', 'depth=2', 'model.neck.depth'),
    ('mae', 'num_patches=16', 'num_patches=17', 'model.neck.num_patches'),
    ('mae', "criterion='L2'", "criterion='L1'", 'model.head.loss'),
    ('mae', "type='RandomFlip'", "type='NewTransform'", 'train_dataloader.dataset.datasets.0.pipeline.1'),
    ('normal', "'L1Loss'", "'NewLoss'", 'model.decode_head.loss_decode'),
])
def test_what_has_no_counterpart_is_named_by_its_place(name, old, new, where, public):
    text = dict(pose=pose_text(17), mae=MAE_TEXT).get(name) or dense_text(name)
    assert old in text
    cfg, report = migrated(public(text.replace(old, new)), num_images=100)
    assert not report.complete
    assert where in [note.path for note in report.not_mapped]
    for step in cfg.get('train_pipeline', ()):
        if step.type == 'SapiensRandomWarp':
            assert set(step) <= {'type', *inspect.signature(SEG_TRANSFORMS.get(step.type)).parameters}


@pytest.mark.parametrize(('name', 'old', 'stock'), [
    ('pose', "dict(type='PhotometricDistortion')", dict(type='YOLOXHSVRandomAug', hue_delta=3)),
    ('lip', "dict(type='PhotoMetricDistortion', hue_delta=9)", dict(type='RGB2Gray', out_channels=3)),
    ('lip', "keep_ratio=False), dict(type='LoadAnnotations')", dict(type='RGB2Gray', out_channels=3)),
])
def test_stock_transforms_are_kept(name, old, stock, public):
    text = pose_text(17) if name == 'pose' else dense_text(name)
    assert old in text
    cfg, report = migrated(public(text.replace(old, f'{old}, {stock}')))
    assert report.complete
    pipeline = cfg.test_pipeline if 'LoadAnnotations' in old else cfg.train_pipeline
    assert stock in [step.to_dict() for step in pipeline]
    if name == 'lip':
        types = [step.type for step in pipeline]
        warp = 'SapiensResize' if 'LoadAnnotations' in old else 'SapiensRandomWarp'
        assert types.index(warp) < types.index(stock['type'])


def test_plain_suffixes_need_no_counterpart(public):
    files = "type='LIPDataset', img_suffix='.jpg', seg_map_suffix='.png'"
    cfg, report = migrated(public(dense_text('lip').replace("type='LIPDataset'", files)))
    assert report.complete
    assert 'img_suffix' not in cfg.train_dataloader.dataset


def test_an_experiment_keeps_its_name(public):
    cfg, _ = migrated(public(f"{pose_text(17)}\nexperiment_name = 'mine'\n"))
    assert cfg.experiment_name == 'mine'
    assert 'model_name' not in cfg


def test_hooks_without_a_counterpart_are_left_out(public):
    text = pose_text(17).replace("timer=dict(type='IterTimerHook')", "timer=dict(type='NewHook')")
    cfg, report = migrated(public(text))
    assert report.complete
    assert 'timer' not in cfg.default_hooks
    assert 'default_hooks.timer' in [note.path for note in report.not_mapped]


@pytest.mark.parametrize(('name', 'asked'), [
    ('checkpoints/sapiens_1b_epoch_173_clean.pth', True), ('work_dirs/mine/epoch_3.pth', True),
    ('sapiens_0.3b_epoch_1600_clean.pth', False)])
def test_a_backbone_starts_from_the_public_file_of_its_arch(name, asked, public):
    text = pose_text(17).replace('checkpoints/sapiens_0.3b_epoch_1600_clean.pth', name)
    cfg, report = migrated(public(text))
    assert cfg.model.backbone.init_cfg.checkpoint == \
        'hf://facebook/sapiens-pretrain-0.3b/sapiens_0.3b_epoch_1600_clean.pth'
    assert ('model.backbone.init_cfg.checkpoint' in [note.path for note in report.fill_in]) == asked


@pytest.mark.parametrize(('name', 'expected'), [
    ('/home/a/sapiens_0.3b_goliath_best_goliath_AP_573.pth',
     'hf://facebook/sapiens-pose-0.3b/sapiens_0.3b_goliath_best_goliath_AP_573.pth'),
    ('/home/a/mine.pth', None)])
def test_whole_models_are_read_from_public_files_alone(name, expected, public):
    cfg, report = migrated(public(pose_text(308).replace('load_from = None', f'load_from = {name!r}')))
    assert cfg.load_from == expected
    assert ('load_from' in [note.path for note in report.fill_in]) == (expected is None)


def test_pretraining_needs_the_number_of_images(public, run):
    path = public(MAE_TEXT)
    with pytest.raises(ConfigError, match='--num-images'):
        migrate_config(read_config(path))
    cfg, report = migrated(public(MAE_TEXT.replace('SomeImages', 'Humans300M')))
    assert [note.path for note in report.fill_in].count('num_images') == 1  # its name says 300 million
    assert cfg.num_images == 300_000_000
    with pytest.raises(ConfigError, match='RandomResizedCrop'):
        migrate_config(read_config(public(MAE_TEXT.replace("'RandomResizedCrop'", "'NewCrop'"))), num_images=100)
    assert run(path, path.parent / 'out.py', '--num-images', 0)[0] == 2


def test_one_config_that_fails_stops_no_other(public, tmp_path, run):
    public(pose_text(17), 'pose/a name with spaces .py')
    public(pose_text(17).replace("'HeatmapHead'", "'RTMCCHead'"), 'pose/bad.py')
    public(MAE_TEXT, 'pretrain/mae.py')
    public('x = 1', '_base_/base.py')
    out = tmp_path / 'ours'
    status, printed = run(tmp_path / 'public', out, '--num-images', 100)
    assert status == 1
    assert sorted(str(path.relative_to(out)) for path in out.rglob('*.py')) == [
        'pose/a name with spaces .py', 'pretrain/mae.py']
    assert len(printed.splitlines()) == 3
    assert run(tmp_path / 'public/pretrain', tmp_path / 'more', '--num-images', 100)[0] == 0


def test_a_config_loads_from_any_folder_with_its_data_root(public, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg, _ = migrated(public(pose_text(17)), data_root='/data/people')
    assert cfg.train_dataloader.dataset.data_root == '/data/people/'
    assert cfg.val_evaluator.ann_file == '/data/people/annotations/val.json'
    assert cfg.val_dataloader.dataset.bbox_file == '/data/people/boxes/found.json'
    monkeypatch.setenv('COCO_ROOT', '/elsewhere')
    cfg, _ = migrated(public(pose_text(17)))
    assert cfg.train_dataloader.dataset.data_root == '/elsewhere/'


@pytest.mark.parametrize('installed', [True, False])
def test_tensorboard_only_where_it_is_installed(installed, public, monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: installed or None)
    text = pose_text(17) + "visualizer = dict(type='PoseLocalVisualizer', vis_backends=vis_backends)\n"
    variables, _ = migrate_config(read_config(public(text)))
    assert (dict(type='TensorboardVisBackend') in variables['visualizer']['vis_backends']) == installed


def check_runtime(cfg: Config, text: str) -> None:
    """Checks the numbers that every fine-tuning keeps."""
    wrapper = cfg.optim_wrapper
    assert wrapper.optimizer == dict(type='AdamW', lr=3.7e-4, betas=(0.9, 0.998), weight_decay=0.11)
    assert wrapper.paramwise_cfg == dict(layer_decay_rate=0.83)
    assert wrapper.clip_grad == dict(max_norm=0.7, norm_type=2)
    assert (cfg.param_scheduler[0].end, cfg.param_scheduler[0].start_factor) == (77, 0.002)
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (19, 3)
    hooks = cfg.default_hooks
    assert (hooks.logger.interval, hooks.checkpoint.interval, hooks.visualization.interval) == (7, 5, 11)
    assert (cfg.train_dataloader.num_workers, cfg.train_dataloader.persistent_workers) == (3, True)
    assert cfg.model.data_preprocessor['mean'] == [1., 2., 3.]
    assert '/home/' not in text
    assert 'SapiensNonFiniteHook' in [hook['type'] for hook in cfg.custom_hooks]


@pytest.mark.parametrize('outputs', [17, 133, 308])
def test_pose_settings_survive(outputs, public):
    loss = "dict(type='KeypointOHKMMSELoss', use_target_weight=True, topk=9)"
    path = public(pose_text(outputs, loss))
    cfg, report = migrated(path)
    assert report.complete
    check_runtime(cfg, (path.parents[1] / 'ours/out.py').read_text())
    assert cfg.model.head.loss == dict(type='SapiensOHKMMSELoss', use_target_weight=True, topk=9)
    assert cfg.model.backbone.patch_cfg == dict(padding=2)
    assert cfg.model.backbone.with_cp  # or the public batch sizes do not fit
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert steps['GenerateTarget'].encoder == cfg.model.head.decoder == dict(
        type='SapiensUDPHeatmap', input_size=(48, 64), heatmap_size=(12, 16), sigma=1.5)
    assert (steps['GetBBoxCenterScale'].padding, steps['RandomFlip'].prob) == (1.3, 0.4)
    assert steps['RandomBBoxTransform'].rotate_factor == 33
    assert steps['SapiensCoarseDropout'] == dict(type='SapiensCoarseDropout', size=(0.1, 0.5), prob=0.9)
    assert [(step.kind, step.prob, step.kernel_size) for step in cfg.train_pipeline
            if step.type == 'SapiensRandomBlur'] == [('mean', 0.12, (3, 7)), ('median', 0.13, (3, 7))]
    assert (cfg.train_dataloader.batch_size, cfg.val_dataloader.batch_size) == (33, 34)
    assert cfg.param_scheduler[1].milestones == [13, 17]
    assert cfg.auto_scale_lr.base_batch_size == 264
    prefix = {17: 'coco', 133: 'coco_wholebody', 308: 'goliath'}[outputs]
    assert (cfg.default_hooks.checkpoint.save_best, cfg.default_hooks.checkpoint.rule) == (f'{prefix}/AP', 'greater')
    assert (cfg.val_dataloader.dataset.get('bbox_file') is not None) == (outputs != 308)


@pytest.mark.parametrize('name', DENSE)
def test_dense_settings_survive(name, public):
    path = public(dense_text(name))
    cfg, report = migrated(path)
    assert report.complete
    check_runtime(cfg, (path.parents[1] / 'ours/out.py').read_text())
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    warp = steps['SapiensRandomWarp']
    assert (warp.size, warp.base_size, warp.scale_range, warp.flip_prob) == ((64, 48), (80, 60), (0.6, 1.7), 0.45)
    assert (warp.rotate_prob, warp.get('rotate_range')) == ((0., None) if name == 'normal' else (0.6, 35.))
    assert 'train_dataloader.batch_size' in [note.path for note in report.fill_in]
    parts = name not in ('depth', 'normal')
    assert warp.cat_max_ratio == (0.7 if parts else 1.)
    assert warp.get('corner_label') == (0 if parts else None)
    assert steps['SapiensRandomBackground'].prob == 0.3
    assert list(steps).index('SapiensRandomBackground') < list(steps).index('SapiensRandomWarp')
    assert steps['SapiensPhotometricDistortion'].hue_delta == 9
    assert ('SapiensNormalizeDepth' in steps) == (name == 'depth')
    loss = cfg.model.decode_head.loss_decode
    assert (loss.cos_weight, loss.l1_weight) == (1.5, 0.5) if name == 'normal' else loss.loss_weight == 1.5
    assert loss.get('class_weight') == ([0.5] * 28 if name == 'parts-28' else None)
    assert cfg.default_hooks.checkpoint.get('save_best') == ('parts/mIoU' if parts else None)
    assert 'norm_cfg' not in cfg.model.decode_head
    if name == 'face':
        table = cfg.train_dataloader.dataset.metainfo.flip_indices
        assert [(i, j) for i, j in enumerate(table) if i != j] == [(2, 3), (3, 2), (14, 15), (15, 14)]


def release_pipeline(kind: str, scale: tuple[float, float], background: float | None = None,
                     rotation: dict | None = None, parts: bool = False, target: str = '') -> list[dict]:
    """A public training pipeline of a dense task with the release's numbers."""
    steps = [dict(type='LoadImage')]
    steps += [dict(type='RandomBackground', prob=background, background_images_root='/home/a')] if background else []
    steps += [dict(type='LoadAnnotations') if parts else dict(type=f'Random{kind}ResizeCompensate')]
    steps += [dict(type='RandomResize', scale=(768, 1024), ratio_range=scale, keep_ratio=True),
              dict(type=f'Random{kind}Crop', crop_size=(1024, 768), **dict(cat_max_ratio=0.75) if parts else {}),
              dict(type=f'{kind}Resize', scale=(768, 1024))]
    steps += [dict(type=f'{kind}RandomRotate', prob=0.5, **rotation)] if rotation else []
    steps += [dict(type=f'{kind}RandomFlip', prob=0.5)]
    steps += [dict(type=target)] if target else []
    return [*steps, dict(type='PhotoMetricDistortion'), dict(type=f'Pack{kind or "Seg"}Inputs')]


LIP = release_pipeline('', (0.75, 1.25), rotation=dict(degree=45, seg_pad_val=255, pad_val=0), parts=True)
#: Our config -> the config above that has its types, and the release's training pipeline by issue and facts.
RELEASE = {
    'sapiens_seg/goliath': ('parts-28', release_pipeline(
        '', (0.2, 2.), 0.8, dict(degree=45, seg_pad_val=0), parts=True)),
    'sapiens_seg/lip': ('lip', LIP),
    'sapiens_seg/cihp': ('cihp', LIP),
    'sapiens_depth/render_people': ('depth', release_pipeline(
        'Depth', (0.2, 2.), 0.5, dict(degree=60), target='GenerateDepthTarget')),
    'sapiens_normal/render_people': ('normal', release_pipeline(
        'Normal', (0.2, 2.), 0.5, target='GenerateNormalTarget')),
    **{f'sapiens_pose/{name}': (outputs, [
        dict(type='LoadImage'), dict(type='GetBBoxCenterScale'), dict(type='RandomFlip', direction='horizontal'),
        dict(type='RandomHalfBody'), dict(type='RandomBBoxTransform', scale_factor=(0.5, 1.5), rotate_factor=80),
        dict(type='TopdownAffine', input_size=(768, 1024), use_udp=True), dict(type='PhotometricDistortion'),
        dict(type='Albumentation', transforms=[
            dict(type='Blur', p=0.1), dict(type='MedianBlur', p=0.1),
            dict(type='CoarseDropout', max_holes=1, max_height=0.4, max_width=0.4, min_holes=1, min_height=0.2,
                 min_width=0.2, p=1.0)]),
        dict(type='GenerateTarget', encoder=dict(
            type='UDPHeatmap', input_size=(768, 1024), heatmap_size=(192, 256), sigma=6)),
        dict(type='PackPoseInputs')]) for name, outputs in (('coco', 17), ('coco_wholebody', 133), ('goliath', 308))},
}


def spelled_out(step: dict, registry) -> dict:
    """A component with the defaults of its arguments."""
    parameters = inspect.signature(registry.get(step['type'])).parameters
    defaults = {key: value.default for key, value in parameters.items() if value.default is not value.empty}
    step = {**defaults, **step}
    if 'encoder' in step:
        step['encoder'] = spelled_out(step['encoder'], KEYPOINT_CODECS)
    return step


@pytest.mark.parametrize('name', RELEASE)
def test_a_config_of_the_release_gets_the_training_pipeline_of_ours(name, public, root):
    """No step and no argument differs; both pad an image smaller than the crop, which the release stretches."""
    source, pipeline = RELEASE[name]
    text = pose_text(source) if isinstance(source, int) else dense_text(source)
    text = text.replace('input_size=(48, 64), heatmap_size=(12, 16), sigma=1.5',
                        'input_size=(768, 1024), heatmap_size=(192, 256), sigma=6')
    cfg, report = migrated(public(f"{text}\ntrain_dataloader['dataset']['pipeline'] = {pipeline}\n"))
    assert report.complete
    ours = Config.fromfile(next((root / 'configs' / name).glob('sapiens_0.3b-*')))
    registry = POSE_TRANSFORMS if isinstance(source, int) else SEG_TRANSFORMS
    new, expected = ([spelled_out(step, registry) for step in config.train_dataloader.dataset.pipeline]
                     for config in (cfg, ours))
    assert new == expected


def test_a_mean_by_weights_stays_one(public):
    cfg, report = migrated(public(dense_text('parts-28').replace("reduction='none'", "reduction='mean'")))
    assert report.complete
    assert cfg.model.decode_head.loss_decode.type == 'CrossEntropyLoss'


def test_pretraining_settings_survive(public):
    cfg, report = migrated(public(MAE_TEXT), num_images=100)
    assert report.complete
    model, images = cfg.model, cfg.train_dataloader.dataset
    assert (model.mask_ratio, model.norm_target) == (0.6, True)
    assert (model.neck.embed_dims, model.neck.num_layers, model.neck.num_heads) == (32, 2, 2)
    assert model.neck.feedforward_channels == 96
    assert (images.size, images.scale, images.flip) == ((64, 64), (0.3, 0.9), 0.4)
    # 9 iterations see 100 images 12 at a time.
    assert cfg.train_cfg.max_iters == 90
    assert [(step.begin, step.end, step.by_epoch) for step in cfg.param_scheduler] == [(0, 18, False), (18, 90, False)]
    assert cfg.param_scheduler[1].T_max == 72
    assert cfg.default_hooks.checkpoint.interval == 18
    assert cfg.optim_wrapper.optimizer.lr == 3e-3


def write_poses(folder: Path, outputs: int, box_file: str = '') -> None:
    """Four images of one person each, with the files that a migrated config names."""
    rng, images, annotations = np.random.default_rng(0), [], []
    for name in ('annotations', 'photos', 'images', 'boxes'):
        (folder / name).mkdir(parents=True, exist_ok=True)
    fields = dict(keypoints=17, foot_kpts=6, face_kpts=68, lefthand_kpts=21, righthand_kpts=21)
    fields = fields if outputs == 133 else dict(keypoints=outputs)
    for i in range(1, 5):
        image = rng.integers(0, 256, (120, 100, 3), dtype=np.uint8)
        for name in ('photos', 'images'):
            cv2.imwrite(str(folder / f'{name}/{i}.png'), image)
        images.append(dict(id=i, file_name=f'{i}.png', width=100, height=120))
        person = dict(id=i, image_id=i, category_id=1, iscrowd=0, bbox=[10, 10, 80, 100], area=4000, num_keypoints=17,
                      face_box=[10, 10, 30, 30], lefthand_box=[10, 10, 9, 9], righthand_box=[30, 30, 9, 9])
        for key, number in fields.items():
            points = rng.uniform((20, 20), (80, 100), (number, 2)).round()
            person[key] = np.concatenate([points, np.full((number, 1), 2)], axis=1).ravel().tolist()
        person |= {key.replace('kpts', 'valid'): True for key in fields if key != 'keypoints'}
        annotations.append(person)
    content = dict(images=images, annotations=annotations, categories=[dict(id=1, name='person')])
    for split in ('train', 'val'):
        (folder / f'annotations/{split}.json').write_text(json.dumps(content))
    boxes = [dict(image_id=i, category_id=1, bbox=[10., 10., 80., 100.], score=0.9) for i in range(1, 5)]
    (folder / 'boxes/found.json').write_text(json.dumps(boxes))


@pytest.fixture
def light(monkeypatch):
    """Skips slow extras of runs: formatting their config, and several threads."""
    monkeypatch.setattr(Config, 'pretty_text', '')
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny_run(cfg: Config, folder: Path):
    """Trains a tiny copy of a migrated config for one epoch or iteration, tests it, and returns the metrics."""
    cfg.model.backbone.arch, cfg.model.backbone.init_cfg = TINY, None
    head = cfg.model.get('head') or cfg.model.get('decode_head')
    if head:
        head.in_channels = 32
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if cfg.get(name):
            cfg[name].update(batch_size=2, num_workers=0, persistent_workers=False)
    cfg.work_dir, cfg.default_hooks.logger.interval = str(folder / 'run'), 1
    if 'max_iters' in cfg.train_cfg:
        cfg.train_cfg.max_iters = 2
    else:
        cfg.train_cfg.max_epochs = 1
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        runner = build_runner(cfg)
        before = {name: value.clone() for name, value in runner.model.state_dict().items()}
        runner.train()
        assert any(not value.equal(before[name]) for name, value in runner.model.state_dict().items())
        return runner, runner.test() if cfg.get('test_dataloader') else None


@pytest.mark.parametrize('outputs', [17, 133, 308])
@pytest.mark.usefixtures('light')
def test_pose_trains_and_tests(outputs, public, tmp_path):
    write_poses(tmp_path / 'data', outputs)
    assert len(get_metainfo(outputs)['flip_indices']) == outputs
    cfg, _ = migrated(public(pose_text(outputs)), data_root=str(tmp_path / 'data'))
    _, metrics = tiny_run(cfg, tmp_path)
    assert cfg.default_hooks.checkpoint.save_best in metrics


def write_parts(folder: Path, train: tuple[str, str], test: tuple[str, str]) -> None:
    """Four images with the labels of three parts, in folders of a train and a test set."""
    people = write_people(folder / 'people', 'abcd', (120, 100))
    for names in (train, test):
        for kind, name in zip(('images', 'parts'), names):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(people / kind)


@pytest.mark.parametrize('name', DENSE)
@pytest.mark.usefixtures('light')
def test_dense_tasks_train_and_test(name, public, tmp_path, monkeypatch):
    data = tmp_path / 'data'
    monkeypatch.setenv('BACKGROUND_ROOT', str(write_people(tmp_path / 'places', 'gh') / 'images'))
    if name in ('lip', 'cihp'):
        write_parts(data, ('i/train', 's/train'), ('i/val', 's/val'))
    else:
        for split in ('train', 'test'):
            write_people(data / split, 'abcd', (120, 100))
    cfg, _ = migrated(public(dense_text(name)), data_root=str(data))
    _, metrics = tiny_run(cfg, tmp_path)
    key = dict(depth='depth/scale-shift/per-image/RMSE', normal='normal/pooled/mean').get(name, 'parts/mIoU')
    assert np.isfinite(metrics[key])


@pytest.mark.usefixtures('light')
def test_pretraining_trains_and_predicts(public, tmp_path):
    write_people(tmp_path / 'people', [f'{i:03d}' for i in range(70)])
    cfg, _ = migrated(public(MAE_TEXT), data_root=str(tmp_path / 'people/images'), num_images=70)
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook.type != 'SapiensReconstructionHook']
    runner, _ = tiny_run(cfg, tmp_path)
    image = DATASETS.build(cfg.train_dataloader.dataset).__iter__().__next__()['inputs']
    batch = runner.model.data_preprocessor(dict(inputs=[image]))['inputs']
    pred, mask = runner.model.eval().predict(batch)
    assert pred.shape == (1, 16, 16 * 16 * 3)
    assert mask.sum() == 10
