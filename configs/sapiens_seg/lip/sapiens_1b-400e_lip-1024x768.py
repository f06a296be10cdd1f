"""Sapiens 1B on the 20 classes of LIP.

Published: nothing for this data set.
Train:     tools/dist_train.sh configs/sapiens_seg/lip/sapiens_1b-400e_lip-1024x768.py 8 --amp
Test:      tools/dist_test.sh configs/sapiens_seg/lip/sapiens_1b-400e_lip-1024x768.py CHECKPOINT 8
"""
_base_ = [
    '../../_base_/dense_runtime.py',
    '../../_base_/models/sapiens_parts.py',
    '../../_base_/pipelines/dense_1024x768.py',
    '../../_base_/schedules/dense_200e.py',
    '../../_base_/datasets/parts_lip.py',
]

class_weight = [
    0.1, 1.5, 1.0, 1.5, 1.5, 0.8, 1.2, 1.0, 1.5, 0.8, 1.2, 1.5, 1.5, 0.7, 1.0, 1.0, 1.0, 1.0, 1.5, 1.5
]

# Photos without people, that take the place of the background in 80 % of the training images.
backgrounds = '{{$BACKGROUND_ROOT:data/backgrounds}}'
parts_pipeline = [
    *_base_.load_and_warp,
    dict(type='SapiensRandomBackground', folder=backgrounds, prob=0.8),
    dict(type='SapiensPhotometricDistortion'),
    dict(type='SapiensPackDense'),
]
model = dict(
    backbone=dict(
        arch='sapiens_1b',
        patch_cfg=dict(padding=2),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://facebook/sapiens-pretrain-1b/sapiens_1b_epoch_173_clean.pth')),
    decode_head=dict(in_channels=1536, num_classes=20, loss_decode=dict(class_weight=class_weight)))

# 64 images a step on 8 GPUs of 80 GB, in two passes.
optim_wrapper = dict(accumulative_counts=2)
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=parts_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
param_scheduler = _base_.param_scheduler
param_scheduler[0]['end'] = 800  # 400 steps
param_scheduler[1]['end'] = 400
train_cfg = dict(max_epochs=400)
auto_scale_lr = dict(base_batch_size=32)
default_hooks = dict(checkpoint=dict(save_best='parts/mIoU', rule='greater'))
