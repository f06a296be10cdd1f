"""faster-rcnn_r50_fpn_1x_coco.py with a Sapiens backbone, by tools/drop_in.py:

* with_cp=True recomputes activations, since images are 512 x 512 or larger
* init_cfg: weights under the license CC-BY-NC 4.0, and so is what is trained from them
* SapiensFeaturePyramid of strides 4, 8, 16, 32, 64 with 256 channels: in place of FPN, as the anchor or point generator
  of the head states
* AdamW: lr 0.0001, weight decay 0.1, in place of SGD with lr 0.02; tune it to your batch size
* SapiensLayerDecayConstructor: layer decay 0.85; no weight decay on norms, biases and embeddings
* clip_grad: gradients are clipped at 1, as in the release
* SapiensNonFiniteHook: skips steps with non-finite gradients, and stops the run after 5 in a row
"""
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['sapiens_mm'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,
        type='SapiensViT',
        arch='sapiens_0.3b',
        img_size=1024,
        with_cp=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://facebook/sapiens-pretrain-0.3b/sapiens_0.3b_epoch_1600_clean.pth',
        ),
    ),
    neck=dict(
        _delete_=True,
        type='SapiensFeaturePyramid',
        in_channels=1024,
        out_channels=256,
        strides=[4, 8, 16, 32, 64],
    ),
)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    clip_grad=dict(max_norm=1.0, norm_type=2),
    optimizer=dict(type='AdamW', lr=0.0001, betas=(0.9, 0.999), weight_decay=0.1),
    constructor='SapiensLayerDecayConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.85),
)
custom_hooks = [dict(type='SapiensNonFiniteHook', max_consecutive=5)]
