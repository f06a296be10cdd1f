"""Sapiens 0.3B: normals on THuman2.0, 1578 renders of 526 scans: face, upper body, full body.

Published: none for this size and dataset.
Data:      tools/dataset_converters/render_scans.py --help
Test:      tools/dist_test.sh configs/sapiens_normal/thuman2/sapiens_0.3b-test_thuman2-1024x768.py CHECKPOINT 8
"""
_base_ = [
    '../../_base_/tasks/normal.py',
    '../../_base_/schedules/dense_200e.py',
    '../../_base_/datasets/normal_thuman2.py',
    '../../_base_/sizes/0.3b.py',
]

model = dict(backbone=_base_.size.backbone, decode_head=_base_.size.head)
