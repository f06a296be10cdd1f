"""Sapiens 2B on COCO, 17 keypoints.

Published: 82.2 AP, 86.0 AR (COCO val2017).
Train:     tools/dist_train.sh configs/sapiens_pose/coco/sapiens_2b-210e_coco-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_pose/coco/sapiens_2b-210e_coco-1024x768.py CHECKPOINT 8
"""
_base_ = './sapiens_0.3b-210e_coco-1024x768.py'

model = dict(
    backbone=dict(
        arch='sapiens_2b',
        init_cfg=dict(checkpoint='hf://facebook/sapiens-pretrain-2b/sapiens_2b_epoch_660_clean.pth')),
    head=dict(in_channels=1920))
