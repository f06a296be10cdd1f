"""Sapiens 2B: normals on Hi4D, pairs 28, 32 and 37, camera 4: 1195 photos.

Published: mean 12.14, median 9.62 degrees; 60.22, 89.08, 94.74 % within 11.25, 22.5, 30.
Data:      tools/dataset_converters/render_scans.py --help
Test:      tools/dist_test.sh configs/sapiens_normal/hi4d/sapiens_2b-test_hi4d-1024x768.py CHECKPOINT 8
"""
_base_ = [
    '../../_base_/tasks/normal.py',
    '../../_base_/schedules/dense_200e.py',
    '../../_base_/datasets/normal_hi4d.py',
    '../../_base_/sizes/2b.py',
]

model = dict(backbone=_base_.size.backbone, decode_head=_base_.size.head)
