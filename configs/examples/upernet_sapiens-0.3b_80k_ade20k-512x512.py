"""mmsegmentation's UPerNet on a Sapiens backbone, through the simple feature pyramid of ViTDet.

Train: tools/dist_train.sh configs/examples/upernet_sapiens-0.3b_80k_ade20k-512x512.py 8 --amp
"""
_base_ = 'mmseg::upernet/upernet_r50_4xb4-80k_ade20k-512x512.py'
custom_imports = dict(imports=['sapiens_mm'], allow_failed_imports=False)

model = dict(
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='SapiensViT',
        arch='sapiens_0.3b',
        img_size=512,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://facebook/sapiens-pretrain-0.3b/sapiens_0.3b_epoch_1600_clean.pth')),
    neck=dict(type='SapiensFeaturePyramid', in_channels=1024, out_channels=256),
    decode_head=dict(in_channels=[256, 256, 256, 256]),
    auxiliary_head=dict(in_channels=256))

custom_hooks = [dict(type='SapiensNonFiniteHook', max_consecutive=5)]
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1),
    constructor='SapiensLayerDecayConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.85),
    clip_grad=dict(max_norm=1.0, norm_type=2))
# A lower bound on the learning rate (the stock 1e-4) would lift the decayed layers above it.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0, power=1.0, begin=1500, end=80000, by_epoch=False),
]
