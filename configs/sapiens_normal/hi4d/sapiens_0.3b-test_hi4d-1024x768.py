"""Sapiens 0.3B: normals on Hi4D, pairs 28, 32 and 37, camera 4: 1195 photos.

Published: mean 15.04, median 12.22 degrees; 47.07, 81.49, 90.70 % within 11.25, 22.5, 30.
Data:      tools/dataset_converters/render_scans.py --help
Test:      tools/dist_test.sh configs/sapiens_normal/hi4d/sapiens_0.3b-test_hi4d-1024x768.py CHECKPOINT 8
"""
_base_ = [
    '../../_base_/tasks/normal.py',
    '../../_base_/schedules/dense_200e.py',
    '../../_base_/datasets/normal_hi4d.py',
    '../../_base_/sizes/0.3b.py',
]

model = dict(backbone=_base_.size.backbone, decode_head=_base_.size.head)
