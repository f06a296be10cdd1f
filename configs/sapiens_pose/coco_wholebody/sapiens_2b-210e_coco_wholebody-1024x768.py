"""Sapiens 2B on COCO-WholeBody, 133 keypoints.

Published: 74.4 whole-body AP, 81.0 AR (COCO-WholeBody v1.0 val).
Train:     tools/dist_train.sh configs/sapiens_pose/coco_wholebody/sapiens_2b-210e_coco_wholebody-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_pose/coco_wholebody/sapiens_2b-210e_coco_wholebody-1024x768.py CHECKPOINT 8
"""
_base_ = ['../../_base_/tasks/pose_coco_wholebody.py', '../../_base_/sizes/2b.py']

model = dict(backbone=_base_.size.backbone, head=_base_.size.head)
