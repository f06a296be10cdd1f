"""Sapiens 2B: normals measured on Hi4D, pairs 28, 32 and 37, camera 4: 1195 photos.

Published: mean 12.14, median 9.62 degrees; 60.22, 89.08, 94.74 % within 11.25, 22.5, 30.
Data:      tools/dataset_converters/render_scans.py --help
Test:      tools/dist_test.sh configs/sapiens_normal/hi4d/sapiens_2b-test_hi4d-1024x768.py CHECKPOINT 8
"""
_base_ = '../render_people/sapiens_2b-200e_render_people-1024x768.py'

# What tools/dataset_converters/render_scans.py wrote: set the environment variable, or change this line.
test_root = '{{$HI4D_ROOT:data/hi4d}}/'
test_dataloader = dict(dataset=dict(type='SapiensHi4DDataset', data_root=test_root))
