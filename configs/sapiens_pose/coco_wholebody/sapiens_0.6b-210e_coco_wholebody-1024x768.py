"""Sapiens 0.6B on COCO-WholeBody, 133 keypoints.

Published: 69.5 whole-body AP, 76.3 AR (COCO-WholeBody v1.0 val).
Train:     tools/dist_train.sh configs/sapiens_pose/coco_wholebody/sapiens_0.6b-210e_coco_wholebody-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_pose/coco_wholebody/sapiens_0.6b-210e_coco_wholebody-1024x768.py CHECKPOINT 8
"""
_base_ = ['../../_base_/tasks/pose_coco_wholebody.py', '../../_base_/sizes/0.6b.py']

model = dict(backbone=_base_.size.backbone, head=_base_.size.head)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.75))
