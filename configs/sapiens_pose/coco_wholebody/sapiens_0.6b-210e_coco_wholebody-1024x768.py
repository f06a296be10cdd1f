"""Sapiens 0.6B on COCO-WholeBody, 133 keypoints.

Published: 69.5 whole-body AP, 76.3 AR (COCO-WholeBody v1.0 val).
Train:     tools/dist_train.sh configs/sapiens_pose/coco_wholebody/sapiens_0.6b-210e_coco_wholebody-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_pose/coco_wholebody/sapiens_0.6b-210e_coco_wholebody-1024x768.py CHECKPOINT 8
"""
_base_ = './sapiens_0.3b-210e_coco_wholebody-1024x768.py'

model = dict(
    backbone=dict(
        arch='sapiens_0.6b',
        init_cfg=dict(checkpoint='hf://facebook/sapiens-pretrain-0.6b/sapiens_0.6b_epoch_1600_clean.pth')),
    head=dict(in_channels=1280))
