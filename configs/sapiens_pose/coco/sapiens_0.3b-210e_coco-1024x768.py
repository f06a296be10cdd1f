"""Sapiens 0.3B on COCO, 17 keypoints.

Published: 79.6 AP, 83.6 AR (COCO val2017).
Train:     tools/dist_train.sh configs/sapiens_pose/coco/sapiens_0.3b-210e_coco-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_pose/coco/sapiens_0.3b-210e_coco-1024x768.py CHECKPOINT 8
"""
_base_ = ['../../_base_/tasks/pose_coco.py', '../../_base_/sizes/0.3b.py']

model = dict(backbone=_base_.size.backbone, head=_base_.size.head)
