"""Sapiens 1B on COCO, 17 keypoints.

Published: 82.1 AP, 85.9 AR (COCO val2017).
Train:     tools/dist_train.sh configs/sapiens_pose/coco/sapiens_1b-210e_coco-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_pose/coco/sapiens_1b-210e_coco-1024x768.py CHECKPOINT 8
"""
_base_ = './sapiens_0.3b-210e_coco-1024x768.py'

model = dict(
    backbone=dict(
        arch='sapiens_1b',
        init_cfg=dict(checkpoint='hf://facebook/sapiens-pretrain-1b/sapiens_1b_epoch_173_clean.pth')),
    head=dict(in_channels=1536))
