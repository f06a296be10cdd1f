"""A tiny model (5 M parameters in the backbone) on 308 keypoints, from scratch, for a laptop.

For trying things out; no published metric exists.
Train: tools/dist_train.sh configs/sapiens_pose/goliath/sapiens_tiny-210e_goliath-256x192.py 2
Test:  tools/test.py configs/sapiens_pose/goliath/sapiens_tiny-210e_goliath-256x192.py CHECKPOINT
"""
_base_ = ['../../_base_/pose_tiny.py', '../../_base_/datasets/pose_goliath.py']

model = dict(head=dict(out_channels=308))
train_dataloader = dict(batch_size=32, num_workers=2, dataset=dict(pipeline=_base_.train_pipeline))
# Annotated boxes: no detector needed.
val_dataloader = dict(num_workers=2, dataset=dict(pipeline=_base_.test_pipeline, bbox_file=None))
test_dataloader = val_dataloader
default_hooks = dict(checkpoint=dict(save_best='goliath/AP', rule='greater'))
