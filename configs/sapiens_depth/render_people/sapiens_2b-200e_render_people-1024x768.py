"""Sapiens 2B on depth of rendered people.

Published: see the test configs in ../thuman2 and ../hi4d.
Train:     tools/dist_train.sh configs/sapiens_depth/render_people/sapiens_2b-200e_render_people-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_depth/render_people/sapiens_2b-200e_render_people-1024x768.py CHECKPOINT 8
"""
_base_ = [
    '../../_base_/dense_runtime.py',
    '../../_base_/models/sapiens_depth.py',
    '../../_base_/pipelines/dense_1024x768.py',
    '../../_base_/schedules/dense_200e.py',
    '../../_base_/datasets/depth_render_people.py',
]

model = dict(
    backbone=dict(
        arch='sapiens_2b',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://facebook/sapiens-pretrain-2b/sapiens_2b_epoch_660_clean.pth')),
    decode_head=dict(in_channels=1920))

# 64 images a step on 8 GPUs of 80 GB, in two passes.
optim_wrapper = dict(accumulative_counts=2)
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=_base_.depth_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
param_scheduler = _base_.param_scheduler
param_scheduler[0]['end'] = 800  # 400 steps
auto_scale_lr = dict(base_batch_size=32)
default_hooks = dict(checkpoint=dict(save_best='depth/scale-shift/per-image/RMSE', rule='less'))
