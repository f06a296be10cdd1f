# The tiny pose models without their data and keypoints.
_base_ = [
    './pose_runtime.py',
    './models/sapiens_pose.py',
    './pipelines/pose_256x192.py',
    './schedules/pose_210e.py',
    './sizes/tiny.py',
]

model = dict(
    backbone=dict(**_base_.size.backbone, img_size=(256, 192)),
    head=dict(
        **_base_.size.head,
        deconv_out_channels=(192, 192),
        conv_out_channels=(192, 192),
        decoder=_base_.codec))
train_cfg = dict(val_interval=10)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=1.0))
