# The tiny dense models on synthetic people, without their task.
_base_ = [
    './dense_runtime.py',
    './pipelines/dense_256x192.py',
    './schedules/dense_200e.py',
    './datasets/dense_synthetic.py',
    './sizes/tiny.py',
]

tiny = dict(
    data_preprocessor=dict(size=(256, 192)),
    backbone=dict(**_base_.size.backbone, img_size=(256, 192)),
    decode_head=dict(
        **_base_.size.head,
        deconv_out_channels=(64, 64, 64),
        conv_out_channels=(64, 64),
        deconv_kernel_sizes=(4, 4, 4),
        conv_kernel_sizes=(1, 1)))
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=40, val_interval=10)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=1.0))
param_scheduler = [dict(_base_.param_scheduler[0], end=100), dict(_base_.param_scheduler[1], end=40)]
default_hooks = dict(visualization=dict(interval=5))
