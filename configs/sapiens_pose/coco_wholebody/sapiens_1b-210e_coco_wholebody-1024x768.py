"""Sapiens 1B on COCO-WholeBody, 133 keypoints.

Published: 72.7 whole-body AP, 79.2 AR (COCO-WholeBody v1.0 val).
Train:     tools/dist_train.sh configs/sapiens_pose/coco_wholebody/sapiens_1b-210e_coco_wholebody-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_pose/coco_wholebody/sapiens_1b-210e_coco_wholebody-1024x768.py CHECKPOINT 8
"""
_base_ = './sapiens_0.3b-210e_coco_wholebody-1024x768.py'

model = dict(
    backbone=dict(
        arch='sapiens_1b',
        init_cfg=dict(checkpoint='hf://facebook/sapiens-pretrain-1b/sapiens_1b_epoch_173_clean.pth')),
    head=dict(in_channels=1536))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.85))
