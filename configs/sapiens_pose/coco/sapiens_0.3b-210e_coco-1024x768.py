"""Sapiens 0.3B on COCO, 17 keypoints.

Published: 79.6 AP, 83.6 AR (COCO val2017).
Train:     tools/dist_train.sh configs/sapiens_pose/coco/sapiens_0.3b-210e_coco-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_pose/coco/sapiens_0.3b-210e_coco-1024x768.py CHECKPOINT 8
"""
_base_ = [
    '../../_base_/pose_runtime.py',
    '../../_base_/models/sapiens_pose.py',
    '../../_base_/pipelines/pose_1024x768.py',
    '../../_base_/schedules/pose_210e.py',
    '../../_base_/datasets/pose_coco.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://facebook/sapiens-pretrain-0.3b/sapiens_0.3b_epoch_1600_clean.pth')),
    head=dict(out_channels=17, decoder=_base_.codec))

# 512 images a step on 8 GPUs; in passes, where these do not fit: ../README.md
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
default_hooks = dict(checkpoint=dict(save_best='coco/AP', rule='greater'))
