# 17 keypoints at 1024 x 768.
_base_ = [
    '../pose_runtime.py',
    '../models/sapiens_pose.py',
    '../pipelines/pose_1024x768.py',
    '../schedules/pose_210e.py',
    '../datasets/pose_coco.py',
]

model = dict(head=dict(out_channels=17, decoder=_base_.codec))
# 512 images per step on 8 GPUs; ../../sapiens_pose/README.md splits the step for smaller GPUs.
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
default_hooks = dict(checkpoint=dict(save_best='coco/AP', rule='greater'))
