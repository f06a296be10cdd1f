"""Sapiens 2B on the 20 classes of CIHP.

Published: nothing for this data set.
Train:     tools/dist_train.sh configs/sapiens_seg/cihp/sapiens_2b-400e_cihp-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_seg/cihp/sapiens_2b-400e_cihp-1024x768.py CHECKPOINT 8
"""
_base_ = './sapiens_0.3b-400e_cihp-1024x768.py'

model = dict(
    backbone=dict(
        arch='sapiens_2b',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://facebook/sapiens-pretrain-2b/sapiens_2b_epoch_660_clean.pth')),
    decode_head=dict(in_channels=1920))

# 64 images a step on 8 GPUs of 80 GB, in two passes.
optim_wrapper = dict(accumulative_counts=2)
train_dataloader = dict(batch_size=4)
param_scheduler = _base_.param_scheduler
param_scheduler[0]['end'] = 800  # 400 steps
