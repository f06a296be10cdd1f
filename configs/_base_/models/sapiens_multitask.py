# One backbone with the public heads of segmentation, depth and normals. Defaults are those of 0.3B.
_base_ = './sapiens_seg.py'

head = dict(
    type='SapiensDenseHead',
    in_channels=1024,
    deconv_out_channels=(768, 768, 768),
    deconv_kernel_sizes=(4, 4, 4),
    conv_out_channels=(768, 768, 768),
    conv_kernel_sizes=(1, 1, 1))
model = dict(
    _delete_=True,
    type='SapiensMultiTask',
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=_base_.model.backbone,
    heads=dict(
        seg=_base_.model.decode_head,
        depth=dict(
            type='SapiensDenseHead',
            in_channels=1024,
            deconv_out_channels=(384, 384, 384, 384),
            deconv_kernel_sizes=(4, 4, 4, 4),
            conv_out_channels=(384, 384),
            conv_kernel_sizes=(1, 1)),
        normal=head),
    loss_weights=dict(seg=1., depth=1., normal=1.),
    test_cfg=dict(mode='whole'))
