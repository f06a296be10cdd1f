"""Sapiens 2B on the 20 classes of LIP.

Published: none for this dataset.
Train:     tools/dist_train.sh configs/sapiens_seg/lip/sapiens_2b-400e_lip-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_seg/lip/sapiens_2b-400e_lip-1024x768.py CHECKPOINT 8
"""
_base_ = [
    '../../_base_/tasks/seg_20.py',
    '../../_base_/schedules/dense_400e_cosine.py',
    '../../_base_/datasets/seg_lip.py',
    '../../_base_/sizes/2b.py',
]

model = dict(backbone=_base_.size.backbone, decode_head=_base_.size.head)

# 64 images per step on 8 GPUs of 80 GB, in two passes.
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(accumulative_counts=2)
param_scheduler = [dict(_base_.param_scheduler[0], end=400 * 2), _base_.param_scheduler[1]]
