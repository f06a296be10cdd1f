"""Sapiens 0.6B: depth on THuman2.0, 1578 renders of 526 scans: face, upper body, full body.

Published: none for this size and dataset.
Data:      tools/dataset_converters/render_scans.py --help
Test:      tools/dist_test.sh configs/sapiens_depth/thuman2/sapiens_0.6b-test_thuman2-1024x768.py CHECKPOINT 8
"""
_base_ = [
    '../../_base_/tasks/depth.py',
    '../../_base_/schedules/dense_200e.py',
    '../../_base_/datasets/depth_thuman2.py',
    '../../_base_/sizes/0.6b.py',
]

model = dict(backbone=_base_.size.backbone, decode_head=_base_.size.head)
