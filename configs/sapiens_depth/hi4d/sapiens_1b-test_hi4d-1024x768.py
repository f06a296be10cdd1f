"""Sapiens 1B: depth measured on Hi4D, pairs 28, 32 and 37, camera 4: 1195 photos.

Published: RMSE 0.125, AbsRel 0.039, delta1 1.0.
Data:      tools/dataset_converters/render_scans.py --help
Test:      tools/dist_test.sh configs/sapiens_depth/hi4d/sapiens_1b-test_hi4d-1024x768.py CHECKPOINT 8
"""
_base_ = '../render_people/sapiens_1b-200e_render_people-1024x768.py'

# What tools/dataset_converters/render_scans.py wrote: set the environment variable, or change this line.
test_root = '{{$HI4D_ROOT:data/hi4d}}/'
test_dataloader = dict(dataset=dict(type='SapiensHi4DDataset', data_root=test_root))
