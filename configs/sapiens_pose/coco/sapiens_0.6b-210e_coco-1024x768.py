"""Sapiens 0.6B on COCO, 17 keypoints.

Published: 81.2 AP, 84.9 AR (COCO val2017).
Train:     tools/dist_train.sh configs/sapiens_pose/coco/sapiens_0.6b-210e_coco-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_pose/coco/sapiens_0.6b-210e_coco-1024x768.py CHECKPOINT 8
"""
_base_ = ['../../_base_/tasks/pose_coco.py', '../../_base_/sizes/0.6b.py']

model = dict(backbone=_base_.size.backbone, head=_base_.size.head)
