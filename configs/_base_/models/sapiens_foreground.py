# The public model of the foreground. Its patch embedding pads as its TorchScript archive states; here it does not.
# Defaults are those of 0.3B; ../sizes/ changes them.
model = dict(
    type='SapiensForegroundSegmentor',
    data_preprocessor=dict(
        type='SapiensDensePreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
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
        deconv_out_channels=(768, 768, 768),
        deconv_kernel_sizes=(4, 4, 4),
        conv_out_channels=(768, 768, 768),
        conv_kernel_sizes=(1, 1, 1),
        loss_decode=dict(type='SapiensWeightedCrossEntropyLoss')),
    test_cfg=dict(mode='whole'))
