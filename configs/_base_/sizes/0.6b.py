# Backbone and head of Sapiens 0.6B, initialized from the public pretrained weights.
size = dict(
    backbone=dict(
        arch='sapiens_0.6b',
        init_cfg=dict(
            type='Pretrained', checkpoint='hf://facebook/sapiens-pretrain-0.6b/sapiens_0.6b_epoch_1600_clean.pth')),
    head=dict(in_channels=1280))
