"""rtmpose-m_8xb256-420e_coco-256x192.py with a Sapiens backbone, by tools/drop_in.py:

* init_cfg: weights under the license CC-BY-NC 4.0, and so is what is trained from them
* no pyramid: the head takes one map, and gets stride 16 (stock: 32)
* in_featuremap_size=(12, 16) of stride 16
* AdamW: lr 0.0005, weight decay 0.1, in place of AdamW with lr 0.004; tune it to your batch size
* SapiensLayerDecayConstructor: layer decay 0.85; no weight decay on norms, biases and embeddings
* clip_grad: gradients are clipped at 1, as in the release
* CosineAnnealingLR: eta_min 0.0002 becomes a fraction of each learning rate
* SapiensNonFiniteHook: skips steps with non-finite gradients, and stops the run after 5 in a row
"""
_base_ = 'mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-m_8xb256-420e_coco-256x192.py'
custom_imports = dict(imports=['sapiens_mm'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,
        type='SapiensViT',
        arch='sapiens_0.3b',
        img_size=(256, 192),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://facebook/sapiens-pretrain-0.3b/sapiens_0.3b_epoch_1600_clean.pth',
        ),
    ),
    head=dict(in_channels=1024, in_featuremap_size=(12, 16)),
)
custom_hooks = [
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.0002, update_buffers=True, priority=49),
    dict(
        type='mmdet.PipelineSwitchHook',
        switch_epoch=390,
        switch_pipeline=[
            dict(type='LoadImage', backend_args=dict(backend='local')),
            dict(type='GetBBoxCenterScale'),
            dict(type='RandomFlip', direction='horizontal'),
            dict(type='RandomHalfBody'),
            dict(type='RandomBBoxTransform', shift_factor=0.0, scale_factor=[0.75, 1.25], rotate_factor=60),
            dict(type='TopdownAffine', input_size=(192, 256)),
            dict(type='mmdet.YOLOXHSVRandomAug'),
            dict(
                type='Albumentation',
                transforms=[
                    dict(type='Blur', p=0.1),
                    dict(type='MedianBlur', p=0.1),
                    dict(
                        type='CoarseDropout',
                        max_holes=1,
                        max_height=0.4,
                        max_width=0.4,
                        min_holes=1,
                        min_height=0.2,
                        min_width=0.2,
                        p=0.5,
                    ),
                ],
            ),
            dict(
                type='GenerateTarget',
                encoder=dict(
                    type='SimCCLabel',
                    input_size=(192, 256),
                    sigma=(4.9, 5.66),
                    simcc_split_ratio=2.0,
                    normalize=False,
                    use_dark=False,
                ),
            ),
            dict(type='PackPoseInputs'),
        ],
    ),
    dict(type='SapiensNonFiniteHook', max_consecutive=5),
]
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    clip_grad=dict(max_norm=1.0, norm_type=2),
    optimizer=dict(type='AdamW', lr=0.0005, betas=(0.9, 0.999), weight_decay=0.1),
    constructor='SapiensLayerDecayConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.85),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-05, by_epoch=False, begin=0, end=1000),
    dict(
        type='CosineAnnealingLR',
        begin=210,
        end=420,
        T_max=210,
        by_epoch=True,
        convert_to_iter_based=True,
        eta_min_ratio=0.05,
    ),
]
