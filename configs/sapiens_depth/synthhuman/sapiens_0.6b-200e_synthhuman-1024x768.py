"""Sapiens 0.6B on depth of Microsoft's SynthHuman.

Published: see the test configs in ../thuman2 and ../hi4d.
Train:     tools/dist_train.sh configs/sapiens_depth/synthhuman/sapiens_0.6b-200e_synthhuman-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_depth/synthhuman/sapiens_0.6b-200e_synthhuman-1024x768.py CHECKPOINT 8
"""
_base_ = './sapiens_0.3b-200e_synthhuman-1024x768.py'

model = dict(
    backbone=dict(
        arch='sapiens_0.6b',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://facebook/sapiens-pretrain-0.6b/sapiens_0.6b_epoch_1600_clean.pth')),
    decode_head=dict(in_channels=1280))
