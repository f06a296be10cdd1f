# Backbone and head of Sapiens 1B, initialized from the public pretrained weights.
size = dict(
    backbone=dict(
        arch='sapiens_1b',
        init_cfg=dict(
            type='Pretrained', checkpoint='hf://facebook/sapiens-pretrain-1b/sapiens_1b_epoch_173_clean.pth')),
    head=dict(in_channels=1536))
