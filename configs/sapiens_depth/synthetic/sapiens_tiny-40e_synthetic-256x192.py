"""A tiny model (5 M parameters in the backbone) of depth on synthetic people, from scratch, for a laptop.

Data:  tools/synthesize.py data/synthetic/train --num 1000 --size 512 384 --seed 1
       (and data/synthetic/test with --num 100 --seed 2)
Train: SYNTHETIC_ROOT=data/synthetic tools/dist_train.sh configs/sapiens_depth/synthetic/sapiens_tiny-40e_synthetic-256x192.py 2
Test:  SYNTHETIC_ROOT=data/synthetic tools/test.py configs/sapiens_depth/synthetic/sapiens_tiny-40e_synthetic-256x192.py CHECKPOINT
"""
_base_ = [
    '../../_base_/dense_runtime.py',
    '../../_base_/models/sapiens_depth.py',
    '../../_base_/pipelines/dense_256x192.py',
    '../../_base_/schedules/dense_200e.py',
    '../../_base_/datasets/dense_synthetic.py',
]

model = dict(
    data_preprocessor=dict(size=(256, 192)),
    backbone=dict(arch='sapiens_tiny', img_size=(256, 192), with_cp=False),
    decode_head=dict(
        in_channels=192,
        deconv_out_channels=(64, 64, 64, 64),
        conv_out_channels=(64, 64),
        deconv_kernel_sizes=(4, 4, 4, 4),
        conv_kernel_sizes=(1, 1)))

train_pipeline = [
    *_base_.load_and_warp,
    dict(type='SapiensPhotometricDistortion'),
    dict(type='SapiensNormalizeDepth'),
    dict(type='SapiensPackDense'),
]
train_dataloader = dict(dataset=dict(tasks=('depth', ), pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(tasks=('depth', ), pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='SapiensDepthMetric', alignment='scale-shift')
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=40)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=1.0))
param_scheduler = _base_.param_scheduler
param_scheduler[0]['end'] = 100
param_scheduler[1]['end'] = 40
default_hooks = dict(visualization=dict(interval=5))
