"""upernet_r50_4xb4-80k_ade20k-512x512.py with a Sapiens backbone, by tools/drop_in.py:

* with_cp=True recomputes activations, since images are 512 x 512 or larger
* init_cfg: weights under the license CC-BY-NC 4.0, and so is what is trained from them
* model.pretrained=None: its weights are the stock backbone's
* SapiensFeaturePyramid of strides 4, 8, 16, 32 with 256 channels: the stock maps of the heads have these strides
* AdamW: lr 0.0001, weight decay 0.1, in place of SGD with lr 0.01; tune it to your batch size
* SapiensLayerDecayConstructor: layer decay 0.85; no weight decay on norms, biases and embeddings
* clip_grad: gradients are clipped at 1, as in the release
* PolyLR: eta_min 0.0001 becomes 0; a fixed minimum would raise the decayed learning rates
* LinearLR: 500 iterations of warm-up, which AdamW on a ViT needs
* SapiensNonFiniteHook: skips steps with non-finite gradients, and stops the run after 5 in a row
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
        with_cp=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://facebook/sapiens-pretrain-0.3b/sapiens_0.3b_epoch_1600_clean.pth',
        ),
    ),
    decode_head=dict(in_channels=[256, 256, 256, 256]),
    auxiliary_head=dict(in_channels=256),
    neck=dict(type='SapiensFeaturePyramid', in_channels=1024, out_channels=256, strides=[4, 8, 16, 32]),
)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    clip_grad=dict(max_norm=1.0, norm_type=2),
    optimizer=dict(type='AdamW', lr=0.0001, betas=(0.9, 0.999), weight_decay=0.1),
    constructor='SapiensLayerDecayConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.85),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='PolyLR', eta_min=0, power=0.9, begin=0, end=80000, by_epoch=False),
]
custom_hooks = [dict(type='SapiensNonFiniteHook', max_consecutive=5)]
