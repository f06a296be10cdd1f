"""mmdet's Faster R-CNN on a Sapiens backbone, through the simple feature pyramid of ViTDet.

Train: tools/dist_train.sh configs/examples/faster-rcnn_sapiens-0.3b_1x_coco.py 8 --amp
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
            checkpoint='hf://facebook/sapiens-pretrain-0.3b/sapiens_0.3b_epoch_1600_clean.pth')),
    neck=dict(_delete_=True, type='SapiensFeaturePyramid', in_channels=1024, out_channels=256, num_outs=5))

custom_hooks = [dict(type='SapiensNonFiniteHook', max_consecutive=5)]
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1),
    constructor='SapiensLayerDecayConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.85),
    clip_grad=dict(max_norm=1.0, norm_type=2))
