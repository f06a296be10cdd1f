"""Sapiens 0.6B: normals on Hi4D, pairs 28, 32 and 37, camera 4: 1195 photos.

Published: none for this size and dataset.
Data:      tools/dataset_converters/render_scans.py --help
Test:      tools/dist_test.sh configs/sapiens_normal/hi4d/sapiens_0.6b-test_hi4d-1024x768.py CHECKPOINT 8
"""
_base_ = [
    '../../_base_/tasks/normal.py',
    '../../_base_/schedules/dense_200e.py',
    '../../_base_/datasets/normal_hi4d.py',
    '../../_base_/sizes/0.6b.py',
]

model = dict(backbone=_base_.size.backbone, decode_head=_base_.size.head)
