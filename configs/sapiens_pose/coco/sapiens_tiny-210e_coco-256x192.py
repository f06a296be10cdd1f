"""A tiny model (5 M parameters in the backbone) on COCO, 17 keypoints, from scratch, for a laptop.

For trying things out; it reaches no published figure.
Train: tools/dist_train.sh configs/sapiens_pose/coco/sapiens_tiny-210e_coco-256x192.py 2
Test:  tools/test.py configs/sapiens_pose/coco/sapiens_tiny-210e_coco-256x192.py CHECKPOINT
"""
_base_ = [
    '../../_base_/pose_runtime.py',
    '../../_base_/models/sapiens_pose.py',
    '../../_base_/pipelines/pose_256x192.py',
    '../../_base_/schedules/pose_210e.py',
    '../../_base_/datasets/pose_coco.py',
]

model = dict(
    backbone=dict(arch='sapiens_tiny', img_size=(256, 192), with_cp=False),
    head=dict(
        in_channels=192,
        out_channels=17,
        deconv_out_channels=(192, 192),
        conv_out_channels=(192, 192),
        decoder=_base_.codec))

train_dataloader = dict(batch_size=32, num_workers=2, dataset=dict(pipeline=_base_.train_pipeline))
# Annotated boxes: no detector needed.
val_dataloader = dict(num_workers=2, dataset=dict(pipeline=_base_.test_pipeline, bbox_file=None))
test_dataloader = val_dataloader
default_hooks = dict(checkpoint=dict(save_best='coco/AP', rule='greater'))
train_cfg = dict(val_interval=10)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=1.0))
