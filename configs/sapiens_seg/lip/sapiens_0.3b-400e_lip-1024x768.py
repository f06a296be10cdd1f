"""Sapiens 0.3B on the 20 classes of LIP.

Published: nothing for this data set.
Train:     tools/dist_train.sh configs/sapiens_seg/lip/sapiens_0.3b-400e_lip-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_seg/lip/sapiens_0.3b-400e_lip-1024x768.py CHECKPOINT 8
"""
_base_ = [
    '../../_base_/dense_runtime.py',
    '../../_base_/models/sapiens_parts_20.py',
    '../../_base_/pipelines/dense_1024x768.py',
    '../../_base_/schedules/dense_200e.py',
    '../../_base_/datasets/parts_lip.py',
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
# A cosine, as in the release, whose CIHP falls linearly.
param_scheduler[1] = dict(
    type='CosineAnnealingLR', begin=0, end=400, eta_min=0, by_epoch=True, convert_to_iter_based=True)
train_cfg = dict(max_epochs=400)
auto_scale_lr = dict(base_batch_size=64)
default_hooks = dict(checkpoint=dict(save_best='parts/mIoU', rule='greater'))
