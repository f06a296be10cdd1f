"""Sapiens 0.6B on 28 body parts.

Published: 77.8 mIoU, 86.3 mAcc on Humans-2K (private).
Train:     tools/dist_train.sh configs/sapiens_seg/goliath/sapiens_0.6b-200e_goliath-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_seg/goliath/sapiens_0.6b-200e_goliath-1024x768.py CHECKPOINT 8
"""
_base_ = [
    '../../_base_/tasks/seg.py',
    '../../_base_/schedules/dense_200e.py',
    '../../_base_/datasets/seg_goliath.py',
    '../../_base_/sizes/0.6b.py',
]

model = dict(backbone=_base_.size.backbone, decode_head=_base_.size.head)
