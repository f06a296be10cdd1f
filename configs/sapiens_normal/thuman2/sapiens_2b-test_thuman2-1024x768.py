"""Sapiens 2B: normals measured on THuman2.0, 1578 renders of 526 scans: face, upper body, full body.

Published: mean 11.84 degrees.
Data:      tools/dataset_converters/render_scans.py --help
Test:      tools/dist_test.sh configs/sapiens_normal/thuman2/sapiens_2b-test_thuman2-1024x768.py CHECKPOINT 8
"""
_base_ = '../render_people/sapiens_2b-200e_render_people-1024x768.py'

# What tools/dataset_converters/render_scans.py wrote: set the environment variable, or change this line.
test_root = '{{$THUMAN2_ROOT:data/thuman2}}/'
test_dataloader = dict(dataset=dict(type='SapiensTHuman2Dataset', data_root=test_root))
