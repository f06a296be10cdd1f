"""Fine-tuning of the embedded model of parts, depth and normals (1.7 M parameters) on synthetic people.

`make quickstart` trains it.
Data:  tools/synthesize.py data/synthetic/train --num 700 --size 256 192 --samples 6 --no-denoise --seed 1 \
           --framing full_body --max-persons 1
       (and data/synthetic/test with --num 60 --seed 2)
Train: tools/dist_train.sh configs/sapiens_multitask/synthetic/sapiens_hybrid-10e_synthetic-256x192.py 2
Test:  tools/dist_test.sh configs/sapiens_multitask/synthetic/sapiens_hybrid-10e_synthetic-256x192.py CHECKPOINT 2
"""
_base_ = [
    '../../_base_/dense_runtime.py',
    '../../_base_/models/sapiens_multitask.py',
    '../../_base_/schedules/dense_200e.py',
    '../../_base_/datasets/dense_synthetic.py',
]

size = (256, 192)
small = dict(
    in_channels=32, deconv_out_channels=(), deconv_kernel_sizes=(), conv_out_channels=(64, ), conv_kernel_sizes=(1, ),
    loss_size='outputs')
model = dict(
    data_preprocessor=dict(size=size),
    backbone=dict(
        _delete_=True,
        type='SapiensHybridViT',
        arch=dict(embed_dims=160, num_layers=6, num_heads=5, feedforward_channels=160 * 2),
        img_size=size),
    # Class weights need longer training: here the large parts lose more than the small ones gain.
    heads=dict(seg=dict(**small, loss_decode=dict(class_weight=None)), depth=small, normal=small),
    test_cfg=dict(flip_test=True))
load_from = 'sapiens_mm/weights/sapiens_hybrid-dense.safetensors'

train_pipeline = [
    dict(type='SapiensSeedSample'),
    dict(type='SapiensLoadLabels'),
    dict(type='SapiensRandomWarp', size=size, scale_range=(0.8, 1.2), rotate_range=15.),
    dict(type='SapiensNormalizeDepth'),
    dict(type='SapiensPackDense'),
]
test_pipeline = [
    dict(type='SapiensLoadImage'),
    dict(type='SapiensResize', size=size),
    dict(type='SapiensLoadLabels'),
    dict(type='SapiensPackDense'),
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=16, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
# Some faces are nearer than 0.1 m, the default minimum of the metric.
val_evaluator = [
    dict(type='SapiensPartsMetric'),
    dict(type='SapiensDepthMetric', alignment='scale-shift', min_depth=0.005),
    dict(type='SapiensNormalMetric'),
]
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=10, val_interval=10)
optim_wrapper = dict(
    optimizer=dict(lr=6e-4, betas=(0.9, 0.98), weight_decay=0.05, fused=True),
    paramwise_cfg=dict(layer_decay_rate=1.0))
param_scheduler = [
    dict(type='LinearLR', begin=0, end=100, start_factor=0.01, by_epoch=False),
    dict(type='CosineAnnealingLR', begin=0, end=10, eta_min=0, by_epoch=True, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=2), visualization=dict(interval=1))
