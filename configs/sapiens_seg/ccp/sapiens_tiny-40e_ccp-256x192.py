"""A tiny segmentation model (5 M parameters in the backbone) on 803 street photos, from scratch, for a laptop.

Of the 28 classes, five are labeled: background, apparel, hair, lower and upper clothing. Others are not learned.
Data:  tools/dataset_converters/clothing_co_parsing.py clothing-co-parsing data/ccp (docs/datasets.md)
Train: tools/dist_train.sh configs/sapiens_seg/ccp/sapiens_tiny-40e_ccp-256x192.py 2
Test:  tools/test.py configs/sapiens_seg/ccp/sapiens_tiny-40e_ccp-256x192.py CHECKPOINT
"""
_base_ = ['../../_base_/models/sapiens_seg.py', '../../_base_/dense_tiny.py']

data_root = '{{$CCP_ROOT:data/ccp}}/'

model = _base_.tiny
folders = dict(type='SapiensDenseDataset', data_root=data_root, tasks=('seg', ))
train_dataloader = dict(dataset=dict(**folders, ann_file='train.txt'))
val_dataloader = dict(dataset=dict(**folders, ann_file='test.txt'))
test_dataloader = val_dataloader
val_evaluator = dict(type='SapiensPartsMetric')
test_evaluator = val_evaluator
# 23 of 28 classes have no label, and mIoU counts each of them that is predicted.
default_hooks = dict(checkpoint=dict(save_best='parts/mIoU_present', rule='greater'))
