"""Sapiens 0.3B on normals of Microsoft's SynthHuman.

Published: see the test configs in ../thuman2 and ../hi4d.
Train:     tools/dist_train.sh configs/sapiens_normal/synthhuman/sapiens_0.3b-200e_synthhuman-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_normal/synthhuman/sapiens_0.3b-200e_synthhuman-1024x768.py CHECKPOINT 8
"""
_base_ = [
    '../../_base_/dense_runtime.py',
    '../../_base_/models/sapiens_normal.py',
    '../../_base_/pipelines/dense_1024x768.py',
    '../../_base_/schedules/dense_200e.py',
    '../../_base_/datasets/normal_synthhuman.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://facebook/sapiens-pretrain-0.3b/sapiens_0.3b_epoch_1600_clean.pth')))

# 64 images a step on 8 GPUs of 80 GB.
train_dataloader = dict(dataset=dict(pipeline=_base_.plain_normal_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=64)
default_hooks = dict(checkpoint=dict(save_best='normal/pooled/mean', rule='less'))
