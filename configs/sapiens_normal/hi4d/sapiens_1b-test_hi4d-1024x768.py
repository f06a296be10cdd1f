"""Sapiens 1B: normals on Hi4D, pairs 28, 32 and 37, camera 4: 1195 photos.

Published: mean 12.18, median 9.59 degrees; 60.36, 88.62, 94.44 % within 11.25, 22.5, 30.
Data:      tools/dataset_converters/render_scans.py --help
Test:      tools/dist_test.sh configs/sapiens_normal/hi4d/sapiens_1b-test_hi4d-1024x768.py CHECKPOINT 8
"""
_base_ = [
    '../../_base_/tasks/normal.py',
    '../../_base_/schedules/dense_200e.py',
    '../../_base_/datasets/normal_hi4d.py',
    '../../_base_/sizes/1b.py',
]

model = dict(backbone=_base_.size.backbone, decode_head=_base_.size.head)
