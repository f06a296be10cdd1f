# Backbone and head of Sapiens 0.3B, initialized from the public pretrained weights.
size = dict(
    backbone=dict(
        arch='sapiens_0.3b',
        init_cfg=dict(
            type='Pretrained', checkpoint='hf://facebook/sapiens-pretrain-0.3b/sapiens_0.3b_epoch_1600_clean.pth')),
    head=dict(in_channels=1024))
