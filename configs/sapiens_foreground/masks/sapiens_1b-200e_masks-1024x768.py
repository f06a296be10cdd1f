"""Sapiens 1B on masks of people, with the schedule of the body parts.

Published: no metric; the release has a model of 1B without its data and settings.
Train:     tools/dist_train.sh configs/sapiens_foreground/masks/sapiens_1b-200e_masks-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_foreground/masks/sapiens_1b-200e_masks-1024x768.py CHECKPOINT 8
"""
_base_ = [
    '../../_base_/tasks/foreground.py',
    '../../_base_/schedules/dense_200e.py',
    '../../_base_/datasets/foreground_masks.py',
    '../../_base_/sizes/1b.py',
]

model = dict(backbone=_base_.size.backbone, decode_head=_base_.size.head)

# 64 images per step on 8 GPUs of 80 GB, in two passes.
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(accumulative_counts=2)
param_scheduler = [dict(_base_.param_scheduler[0], end=400 * 2), _base_.param_scheduler[1]]
