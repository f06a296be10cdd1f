# Backbone and head of Sapiens 2B, initialized from the public pretrained weights.
size = dict(
    backbone=dict(
        arch='sapiens_2b',
        init_cfg=dict(
            type='Pretrained', checkpoint='hf://facebook/sapiens-pretrain-2b/sapiens_2b_epoch_660_clean.pth')),
    head=dict(in_channels=1920))
