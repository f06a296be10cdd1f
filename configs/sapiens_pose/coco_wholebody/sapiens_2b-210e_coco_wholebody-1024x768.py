"""Sapiens 2B on COCO-WholeBody, 133 keypoints.

Published: 74.4 whole-body AP, 81.0 AR (COCO-WholeBody v1.0 val).
Train:     tools/dist_train.sh configs/sapiens_pose/coco_wholebody/sapiens_2b-210e_coco_wholebody-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_pose/coco_wholebody/sapiens_2b-210e_coco_wholebody-1024x768.py CHECKPOINT 8
"""
_base_ = './sapiens_0.3b-210e_coco_wholebody-1024x768.py'

model = dict(
    backbone=dict(
        arch='sapiens_2b',
        init_cfg=dict(checkpoint='hf://facebook/sapiens-pretrain-2b/sapiens_2b_epoch_660_clean.pth')),
    head=dict(in_channels=1920))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.85))
