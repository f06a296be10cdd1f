"""Sapiens 1B on 308 keypoints.

Published: 59.4 AP, 65.3 AR over the 114 keypoints in common with COCO-WholeBody on Humans-5K (private); the test below
           measures all 308 and each part, `SapiensCommon114Metric` the 114.
Train:     tools/dist_train.sh configs/sapiens_pose/goliath/sapiens_1b-210e_goliath-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_pose/goliath/sapiens_1b-210e_goliath-1024x768.py CHECKPOINT 8
"""
_base_ = ['../../_base_/tasks/pose_goliath.py', '../../_base_/sizes/1b.py']

model = dict(
    backbone=_base_.size.backbone,
    head=dict(**_base_.size.head, loss=dict(type='SapiensOHKMMSELoss', topk=128)))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.95))
