"""Sapiens 0.6B on 308 keypoints.

Published: 56.2 AP, 62.4 AR over the 114 keypoints in common with COCO-WholeBody on Humans-5K (private); the test below
           measures all 308 and each part, `SapiensCommon114Metric` the 114.
Train:     tools/dist_train.sh configs/sapiens_pose/goliath/sapiens_0.6b-210e_goliath-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_pose/goliath/sapiens_0.6b-210e_goliath-1024x768.py CHECKPOINT 8
"""
_base_ = './sapiens_0.3b-210e_goliath-1024x768.py'

model = dict(
    backbone=dict(
        arch='sapiens_0.6b',
        init_cfg=dict(checkpoint='hf://facebook/sapiens-pretrain-0.6b/sapiens_0.6b_epoch_1600_clean.pth')),
    head=dict(
        in_channels=1280,
        loss=dict(_delete_=True, type='KeypointMSELoss', use_target_weight=True)))
