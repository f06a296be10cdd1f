# A small model of 17 keypoints (1.7 M parameters) at 256 x 192, that of sapiens_mm/weights/sapiens_hybrid-pose.safetensors.
_base_ = ['./pose_runtime.py', './models/sapiens_pose.py', './schedules/pose_210e.py']

codec = dict(type='SapiensUDPHeatmap', input_size=(192, 256), heatmap_size=(48, 64), sigma=2, blur_kernel_size=11)
model = dict(
    backbone=dict(
        _delete_=True,
        type='SapiensHybridViT',
        arch=dict(embed_dims=160, num_layers=6, num_heads=5, feedforward_channels=160 * 2),
        img_size=(256, 192)),
    head=dict(
        in_channels=32,
        out_channels=17,
        deconv_out_channels=(),
        deconv_kernel_sizes=(),
        conv_out_channels=(32, ),
        conv_kernel_sizes=(1, ),
        loss=dict(loss_weight=400.),
        decoder=codec))

train_pipeline = [
    dict(type='SapiensSeedSample'),
    dict(type='SapiensLoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(type='RandomFlip', direction='horizontal', prob=0.5),
    dict(type='RandomHalfBody'),
    dict(type='RandomBBoxTransform', shift_factor=0.1, scale_factor=(0.75, 1.35), rotate_factor=60, rotate_prob=0.7),
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
    dict(type='SapiensPhotometricDistortion'),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
test_pipeline = [
    dict(type='SapiensLoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
    dict(type='PackPoseInputs'),
]
optim_wrapper = dict(
    optimizer=dict(lr=1.2e-3, betas=(0.9, 0.98), weight_decay=0.05, fused=True),
    paramwise_cfg=dict(layer_decay_rate=1.0))
