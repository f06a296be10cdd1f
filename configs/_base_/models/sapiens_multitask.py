# One backbone with the public heads of parts, depth and normals. The 0.3b figures; a larger size changes `arch` and the
# heads' `in_channels`.
# Of the parts, by class, as in the release: the background counts little, small parts much.
class_weight = [
    0.1, 10, 3, 2, 4, 4, 2, 2, 6, 10, 3, 3, 1, 4, 4, 2, 2, 6, 10, 3, 3, 1, 1, 10, 10, 10, 10, 10
]
head = dict(
    type='SapiensDenseHead',
    in_channels=1024,
    deconv_out_channels=(768, 768, 768),
    deconv_kernel_sizes=(4, 4, 4),
    conv_out_channels=(768, 768, 768),
    conv_kernel_sizes=(1, 1, 1))
model = dict(
    type='SapiensMultiTask',
    data_preprocessor=dict(
        type='SapiensDensePreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        seg_pad_val=255,
        size=(1024, 768)),
    backbone=dict(
        type='SapiensViT',
        arch='sapiens_0.3b',
        img_size=(1024, 768),
        patch_size=16,
        out_type='featmap',
        with_cp=True),
    heads=dict(
        parts=dict(
            **head,
            num_classes=28,
            loss_decode=dict(type='SapiensWeightedCrossEntropyLoss', class_weight=class_weight)),
        depth=dict(
            type='SapiensDenseHead',
            in_channels=1024,
            deconv_out_channels=(384, 384, 384, 384),
            deconv_kernel_sizes=(4, 4, 4, 4),
            conv_out_channels=(384, 384),
            conv_kernel_sizes=(1, 1)),
        normal=head),
    loss_weights=dict(parts=1., depth=1., normal=1.),
    test_cfg=dict(mode='whole'))
