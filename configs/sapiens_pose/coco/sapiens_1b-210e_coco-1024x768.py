"""Sapiens 1B on COCO, 17 keypoints.

Published: 82.1 AP, 85.9 AR (COCO val2017).
Train:     tools/dist_train.sh configs/sapiens_pose/coco/sapiens_1b-210e_coco-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_pose/coco/sapiens_1b-210e_coco-1024x768.py CHECKPOINT 8
"""
_base_ = ['../../_base_/tasks/pose_coco.py', '../../_base_/sizes/1b.py']

model = dict(backbone=_base_.size.backbone, head=_base_.size.head)
