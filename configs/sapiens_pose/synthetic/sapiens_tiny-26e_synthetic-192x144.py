"""A small model of 17 keypoints (1.4 M parameters in the backbone) on a few hundred synthetic people, from scratch.

Small inputs, a narrow backbone and a high learning rate speed up training at the cost of accuracy: the model confuses
some views from behind with views from the front. On two cores training takes about 5 minutes.
Data:  tools/synthesize.py data/synthetic/train --num 700 --size 256 192 --samples 6 --no-denoise --seed 1 \
           --framing full_body --max-persons 1
       (and data/synthetic/test with --num 60 --seed 2)
Train: SYNTHETIC_ROOT=data/synthetic tools/dist_train.sh \
           configs/sapiens_pose/synthetic/sapiens_tiny-26e_synthetic-192x144.py 2
"""
_base_ = [
    '../../_base_/pose_runtime.py',
    '../../_base_/models/sapiens_pose.py',
    '../../_base_/schedules/pose_210e.py',
    '../../_base_/datasets/pose_coco.py',
]

# The folder with train/ and test/, each made by tools/synthesize.py: set the environment variable, or change this line.
data_root = '{{$SYNTHETIC_ROOT:data/synthetic}}/'
ann_file = 'annotations/person_keypoints.json'

codec = dict(type='SapiensUDPHeatmap', input_size=(144, 192), heatmap_size=(36, 48), sigma=2, blur_kernel_size=11)
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=160, num_layers=6, num_heads=5, feedforward_channels=160 * 2),
        img_size=(192, 144),
        with_cp=False),
    head=dict(
        in_channels=160,
        out_channels=17,
        deconv_out_channels=(64, 32),
        conv_out_channels=(32, ),
        conv_kernel_sizes=(1, ),
        loss=dict(loss_weight=100.),
        decoder=codec))

train_pipeline = [
    dict(type='SapiensSeedSample'),
    dict(type='SapiensLoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(type='RandomFlip', direction='horizontal', prob=0.5),
    dict(type='RandomBBoxTransform', shift_factor=0.05, scale_factor=(0.85, 1.15), rotate_factor=15),
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
test_pipeline = [
    dict(type='SapiensLoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    dataset=dict(
        data_root=data_root + 'train/',
        ann_file=ann_file,
        data_prefix=dict(img='images/'),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(
        data_root=data_root + 'test/',
        ann_file=ann_file,
        data_prefix=dict(img='images/'),
        bbox_file=None,
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'test/' + ann_file)
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=26, val_interval=26)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=100, start_factor=0.01, by_epoch=False),
    dict(type='CosineAnnealingLR', begin=0, end=26, eta_min=0, by_epoch=True, convert_to_iter_based=True),
]
optim_wrapper = dict(
    optimizer=dict(lr=1.2e-3, betas=(0.9, 0.98), weight_decay=0.05, fused=True),
    paramwise_cfg=dict(layer_decay_rate=1.0))
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=4, save_best='coco/AP', rule='greater'))
