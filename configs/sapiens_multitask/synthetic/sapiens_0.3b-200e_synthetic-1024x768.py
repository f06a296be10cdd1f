"""Sapiens 0.3B with heads for body parts, depth and normals, trained together on synthetic people.

The heads can start from those of the public models: `tools/fetch_weights.py sapiens_0.3b seg` (depth, normal) and
`--cfg-options model.heads.seg.init_cfg.type=Pretrained model.heads.seg.init_cfg.checkpoint=FILE`.
Data:  tools/synthesize.py data/synthetic/train --num 20000 --seed 1 --workers 64   (and data/synthetic/test with --seed 2)
Train: SYNTHETIC_ROOT=data/synthetic tools/dist_train.sh \
           configs/sapiens_multitask/synthetic/sapiens_0.3b-200e_synthetic-1024x768.py 8 --amp
Test:  SYNTHETIC_ROOT=data/synthetic tools/dist_test.sh \
           configs/sapiens_multitask/synthetic/sapiens_0.3b-200e_synthetic-1024x768.py CHECKPOINT 8
"""
_base_ = [
    '../../_base_/dense_runtime.py',
    '../../_base_/models/sapiens_multitask.py',
    '../../_base_/pipelines/dense_1024x768.py',
    '../../_base_/schedules/dense_200e.py',
    '../../_base_/datasets/dense_synthetic.py',
    '../../_base_/sizes/0.3b.py',
]

model = dict(backbone=_base_.size.backbone)

train_pipeline = [
    dict(type='SapiensSeedSample'),
    dict(type='SapiensLoadLabels', mmap=True),
    dict(type='SapiensRandomWarp', size=(1024, 768)),
    dict(type='SapiensPhotometricDistortion'),
    dict(type='SapiensNormalizeDepth'),
    dict(type='SapiensPackDense'),
]
train_cfg = dict(val_interval=10)
# 64 images per step on 8 GPUs of 80 GB, in two passes.
optim_wrapper = dict(accumulative_counts=2)
train_dataloader = dict(batch_size=4, num_workers=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=4, dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='SapiensPartsMetric'),
    dict(type='SapiensDepthMetric', alignment='scale-shift'),
    dict(type='SapiensNormalMetric'),
]
test_evaluator = val_evaluator
param_scheduler = [dict(_base_.param_scheduler[0], end=400 * 2), _base_.param_scheduler[1]]
auto_scale_lr = dict(base_batch_size=64)
