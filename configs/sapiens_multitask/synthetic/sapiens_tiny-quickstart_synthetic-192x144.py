"""A small model of parts, depth and normals (1.4 M parameters in the backbone) on a few hundred synthetic people.

`make quickstart` trains it before the keypoint model, which starts from its backbone. On two cores it takes 5.5
minutes and reaches mIoU 11.5 %, RMSE 0.097 m and a mean angle of 25.2 degrees on 60 held-out people (constant
predictions: 2.9 %, 0.137 m, 39.4 degrees). More epochs and people still improve these metrics.

Data:  tools/synthesize.py data/synthetic/train --num 700 --size 256 192 --samples 6 --no-denoise --seed 1 \
           --framing full_body --max-persons 1
       (and data/synthetic/test with --num 60 --seed 2)
Train: SYNTHETIC_ROOT=data/synthetic tools/dist_train.sh \
           configs/sapiens_multitask/synthetic/sapiens_tiny-quickstart_synthetic-192x144.py 2
Test:  SYNTHETIC_ROOT=data/synthetic tools/dist_test.sh \
           configs/sapiens_multitask/synthetic/sapiens_tiny-quickstart_synthetic-192x144.py CHECKPOINT 2
"""
_base_ = [
    '../../_base_/dense_runtime.py',
    '../../_base_/models/sapiens_multitask.py',
    '../../_base_/schedules/dense_200e.py',
    '../../_base_/datasets/dense_synthetic.py',
]

small = dict(
    in_channels=160,
    deconv_out_channels=(64, 32),
    deconv_kernel_sizes=(4, 4),
    conv_out_channels=(32, ),
    conv_kernel_sizes=(1, ),
    loss_size='outputs')
model = dict(
    data_preprocessor=dict(size=(192, 144)),
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=160, num_layers=6, num_heads=5, feedforward_channels=160 * 2),
        img_size=(192, 144),
        patch_cfg=dict(padding=2),  # as in the model of keypoints
        with_cp=False),
    # Class weights need longer training: here the large parts lose more than the small ones gain.
    heads=dict(seg=dict(**small, loss_decode=dict(class_weight=None)), depth=small, normal=small),
    test_cfg=dict(flip_test=True))

train_pipeline = [
    dict(type='SapiensSeedSample'),
    dict(type='SapiensLoadLabels'),
    dict(type='SapiensRandomWarp', size=(192, 144), scale_range=(0.8, 1.2), rotate_range=15.),
    dict(type='SapiensNormalizeDepth'),
    dict(type='SapiensPackDense'),
]
test_pipeline = [
    dict(type='SapiensLoadImage'),
    dict(type='SapiensResize', size=(192, 144)),
    dict(type='SapiensLoadLabels'),
    dict(type='SapiensPackDense'),
]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=16, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='SapiensPartsMetric'),
    dict(type='SapiensDepthMetric', alignment='scale-shift'),
    dict(type='SapiensNormalMetric'),
]
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=20, val_interval=20)
optim_wrapper = dict(
    optimizer=dict(lr=1.2e-3, betas=(0.9, 0.98), weight_decay=0.05, fused=True),
    paramwise_cfg=dict(layer_decay_rate=1.0))
param_scheduler = [
    dict(type='LinearLR', begin=0, end=100, start_factor=0.01, by_epoch=False),
    dict(type='CosineAnnealingLR', begin=0, end=20, eta_min=0, by_epoch=True, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=2), visualization=dict(interval=1))
