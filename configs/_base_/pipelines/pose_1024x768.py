# The codec and the pipelines of a 1024 x 768 (H x W) top-down pose model.
codec = dict(
    type='SapiensUDPHeatmap', input_size=(768, 1024), heatmap_size=(192, 256), sigma=6, blur_kernel_size=11)

train_pipeline = [
    dict(type='SapiensSeedSample'),
    dict(type='SapiensLoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(type='RandomFlip', direction='horizontal', prob=0.5),
    dict(type='RandomHalfBody'),
    dict(type='RandomBBoxTransform', scale_factor=(0.5, 1.5), rotate_factor=80),
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
    dict(type='SapiensPhotometricDistortion'),
    dict(type='SapiensRandomBlur', kind='mean', prob=0.1),
    dict(type='SapiensRandomBlur', kind='median', prob=0.1),
    dict(type='SapiensCoarseDropout', size=(0.2, 0.4)),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
test_pipeline = [
    dict(type='SapiensLoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
    dict(type='PackPoseInputs'),
]
