"""rtmpose-m_8xb256-420e_coco-256x192.py with a Sapiens backbone, as tools/drop_in.py chose it:

* no pyramid: the head takes one map, and gets stride 16 instead of 32
* in_featuremap_size=(12, 16) of stride 16
* AdamW: lr 0.0005, weight decay 0.1, in place of AdamW with lr 0.004; tune it to your batch size
* SapiensLayerDecayConstructor: decay 0.85 a layer; no weight decay on norms, biases and embeddings
* clip_grad: gradients are clipped at 1, as in the release
* CosineAnnealingLR: eta_min 0.0002 becomes a share of each learning rate
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
