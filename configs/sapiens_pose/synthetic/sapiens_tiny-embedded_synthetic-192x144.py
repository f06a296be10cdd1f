"""The embedded model of 17 keypoints: that of the quickstart, trained longer on people in all framings.

It starts from the backbone of the model of parts, depth and normals. On two busy cores it took 12 minutes and reached
AP 0.234, AP50 0.536 on the people of 200 other images.
Data:  tools/synthesize.py data/synthetic/train --num 1337 --size 384 288 --samples 6 --no-denoise --seed 1
       (and data/synthetic/test with --num 200 --seed 2)
Train: SYNTHETIC_ROOT=data/synthetic tools/dist_train.sh \
           configs/sapiens_pose/synthetic/sapiens_tiny-embedded_synthetic-192x144.py 2 \
           --cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=CHECKPOINT
"""
_base_ = './sapiens_tiny-quickstart_synthetic-192x144.py'

train_pipeline = [
    dict(type='SapiensSeedSample'),
    dict(type='SapiensLoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(type='RandomFlip', direction='horizontal', prob=0.5),
    dict(type='RandomHalfBody'),
    dict(type='RandomBBoxTransform', shift_factor=0.1, scale_factor=(0.75, 1.3), rotate_factor=30),
    dict(type='TopdownAffine', input_size=_base_.codec['input_size'], use_udp=True),
    dict(type='SapiensPhotometricDistortion'),
    dict(type='GenerateTarget', encoder=_base_.codec),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))

train_cfg = dict(max_epochs=20, val_interval=20)
param_scheduler = _base_.param_scheduler
param_scheduler[1]['end'] = 20
