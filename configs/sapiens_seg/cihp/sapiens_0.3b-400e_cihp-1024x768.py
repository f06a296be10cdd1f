"""Sapiens 0.3B on the 20 classes of CIHP.

Published: nothing for this data set.
Train:     tools/dist_train.sh configs/sapiens_seg/cihp/sapiens_0.3b-400e_cihp-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_seg/cihp/sapiens_0.3b-400e_cihp-1024x768.py CHECKPOINT 8
"""
_base_ = [
    '../../_base_/dense_runtime.py',
    '../../_base_/models/sapiens_parts_20.py',
    '../../_base_/pipelines/dense_1024x768.py',
    '../../_base_/schedules/dense_200e.py',
    '../../_base_/datasets/parts_cihp.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://facebook/sapiens-pretrain-0.3b/sapiens_0.3b_epoch_1600_clean.pth')))

# 64 images a step on 8 GPUs of 80 GB.
train_dataloader = dict(dataset=dict(pipeline=_base_.parts_20_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
param_scheduler = _base_.param_scheduler
param_scheduler[1]['end'] = 400
train_cfg = dict(max_epochs=400)
auto_scale_lr = dict(base_batch_size=64)
default_hooks = dict(checkpoint=dict(save_best='parts/mIoU', rule='greater'))
