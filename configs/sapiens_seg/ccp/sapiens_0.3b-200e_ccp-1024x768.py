"""Sapiens 0.3B on the clothes of 803 street photos.

Published: none for this dataset. Of the 28 classes, five are labeled: background, apparel, hair, lower and upper
clothing. Others are not learned.
Data:  tools/dataset_converters/clothing_co_parsing.py clothing-co-parsing data/ccp (docs/datasets.md)
Train: tools/dist_train.sh configs/sapiens_seg/ccp/sapiens_0.3b-200e_ccp-1024x768.py 8 --amp
Test:  tools/dist_test.sh configs/sapiens_seg/ccp/sapiens_0.3b-200e_ccp-1024x768.py CHECKPOINT 8
"""
_base_ = [
    '../../_base_/tasks/seg.py',
    '../../_base_/schedules/dense_200e.py',
    '../../_base_/datasets/seg_ccp.py',
    '../../_base_/sizes/0.3b.py',
]

model = dict(backbone=_base_.size.backbone, decode_head=_base_.size.head)
# 23 of 28 classes have no label, and mIoU counts each of them that is predicted.
default_hooks = dict(checkpoint=dict(save_best='parts/mIoU_present', rule='greater'))
