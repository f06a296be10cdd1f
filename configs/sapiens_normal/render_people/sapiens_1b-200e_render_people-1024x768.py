"""Sapiens 1B on normals of rendered people.

Published: see the test configs in ../thuman2 and ../hi4d.
Train:     tools/dist_train.sh configs/sapiens_normal/render_people/sapiens_1b-200e_render_people-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_normal/render_people/sapiens_1b-200e_render_people-1024x768.py CHECKPOINT 8
"""
_base_ = [
    '../../_base_/tasks/normal.py',
    '../../_base_/schedules/dense_200e.py',
    '../../_base_/datasets/normal_render_people.py',
    '../../_base_/sizes/1b.py',
]

model = dict(backbone=_base_.size.backbone, decode_head=_base_.size.head)

# 64 images per step on 8 GPUs of 80 GB, in two passes.
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(accumulative_counts=2)
param_scheduler = [dict(_base_.param_scheduler[0], end=400 * 2), _base_.param_scheduler[1]]
