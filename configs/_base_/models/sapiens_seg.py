# The public model of 28 body parts. Defaults are those of 0.3B; ../sizes/ changes them.
# Class weights of the release: low for the background, high for small parts.
class_weight = [
    0.1, 10, 3, 2, 4, 4, 2, 2, 6, 10, 3, 3, 1, 4, 4, 2, 2, 6, 10, 3, 3, 1, 1, 10, 10, 10, 10, 10
]
model = dict(
    type='SapiensPartsSegmentor',
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
    decode_head=dict(
        type='SapiensDenseHead',
        in_channels=1024,
        num_classes=28,
        deconv_out_channels=(768, 768, 768),
        deconv_kernel_sizes=(4, 4, 4),
        conv_out_channels=(768, 768, 768),
        conv_kernel_sizes=(1, 1, 1),
        loss_decode=dict(type='SapiensWeightedCrossEntropyLoss', class_weight=class_weight)),
    test_cfg=dict(mode='whole'))
