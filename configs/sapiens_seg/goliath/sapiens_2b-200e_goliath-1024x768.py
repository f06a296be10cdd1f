"""Sapiens 2B on 28 body parts.

Published: 81.2 mIoU, 89.4 mAcc on Humans-2K (private).
Train:     tools/dist_train.sh configs/sapiens_seg/goliath/sapiens_2b-200e_goliath-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_seg/goliath/sapiens_2b-200e_goliath-1024x768.py CHECKPOINT 8
"""
_base_ = [
    '../../_base_/tasks/seg.py',
    '../../_base_/schedules/dense_200e.py',
    '../../_base_/datasets/seg_goliath.py',
    '../../_base_/sizes/2b.py',
]

model = dict(backbone=_base_.size.backbone, decode_head=_base_.size.head)

# 64 images per step on 8 GPUs of 80 GB, in two passes.
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(accumulative_counts=2)
param_scheduler = [dict(_base_.param_scheduler[0], end=400 * 2), _base_.param_scheduler[1]]
