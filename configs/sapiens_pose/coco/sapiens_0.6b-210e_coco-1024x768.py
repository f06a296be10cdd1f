"""Sapiens 0.6B on COCO, 17 keypoints.

Published: 81.2 AP, 84.9 AR (COCO val2017).
Train:     tools/dist_train.sh configs/sapiens_pose/coco/sapiens_0.6b-210e_coco-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_pose/coco/sapiens_0.6b-210e_coco-1024x768.py CHECKPOINT 8
"""
_base_ = './sapiens_0.3b-210e_coco-1024x768.py'

model = dict(
    backbone=dict(
        arch='sapiens_0.6b',
        init_cfg=dict(checkpoint='hf://facebook/sapiens-pretrain-0.6b/sapiens_0.6b_epoch_1600_clean.pth')),
    head=dict(in_channels=1280))
