# The public pose model. Defaults are those of 0.3B; ../sizes/ changes them.
model = dict(
    type='SapiensPoseEstimator',
    data_preprocessor=dict(
        type='PoseDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        type='SapiensViT',
        arch='sapiens_0.3b',
        img_size=(1024, 768),
        patch_size=16,
        patch_cfg=dict(padding=2),
        out_type='featmap',
        with_cp=True),
    head=dict(
        type='SapiensPoseHead',
        in_channels=1024,
        out_channels=17,
        deconv_out_channels=(768, 768),
        deconv_kernel_sizes=(4, 4),
        conv_out_channels=(768, 768),
        conv_kernel_sizes=(1, 1),
        loss=dict(type='KeypointMSELoss', use_target_weight=True)),
    test_cfg=dict(flip_test=True))
