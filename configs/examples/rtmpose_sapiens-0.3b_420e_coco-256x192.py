"""mmpose's RTMPose head (SimCC) on a Sapiens backbone.

RTMPose's own augmentation needs albumentations (pip install albumentations).
Train: tools/dist_train.sh configs/examples/rtmpose_sapiens-0.3b_420e_coco-256x192.py 8 --amp
"""
_base_ = 'mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-m_8xb256-420e_coco-256x192.py'
custom_imports = dict(imports=['sapiens_mm'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        _delete_=True,
        type='SapiensViT',
        arch='sapiens_0.3b',
        img_size=(256, 192),
        patch_cfg=dict(padding=2),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://facebook/sapiens-pretrain-0.3b/sapiens_0.3b_epoch_1600_clean.pth')),
    head=dict(in_channels=1024, in_featuremap_size=(12, 16)))

custom_hooks = [*_base_.custom_hooks, dict(type='SapiensNonFiniteHook', max_consecutive=5)]
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.999), weight_decay=0.1),
    constructor='SapiensLayerDecayConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.85),
    clip_grad=dict(max_norm=1.0, norm_type=2))
# A lower bound on the learning rate (the stock 2e-4) would lift the decayed layers above it.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-5, by_epoch=False, begin=0, end=1000),
    dict(
        type='CosineAnnealingLR', eta_min=0, begin=210, end=420, T_max=210, by_epoch=True, convert_to_iter_based=True),
]
