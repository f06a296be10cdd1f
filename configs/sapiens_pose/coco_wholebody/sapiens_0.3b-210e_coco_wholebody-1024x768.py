"""Sapiens 0.3B on COCO-WholeBody, 133 keypoints.

Published: 62.0 whole-body AP, 69.4 AR (COCO-WholeBody v1.0 val).
Train:     tools/dist_train.sh configs/sapiens_pose/coco_wholebody/sapiens_0.3b-210e_coco_wholebody-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_pose/coco_wholebody/sapiens_0.3b-210e_coco_wholebody-1024x768.py CHECKPOINT 8
"""
_base_ = ['../../_base_/tasks/pose_coco_wholebody.py', '../../_base_/sizes/0.3b.py']

model = dict(backbone=_base_.size.backbone, head=_base_.size.head)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.75))
