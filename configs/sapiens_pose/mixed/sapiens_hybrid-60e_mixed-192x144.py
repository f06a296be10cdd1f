"""A small model of 17 keypoints (1.7 M parameters) on photos of athletes and on synthetic people.

Photos have labels for 12 keypoints; synthetic people add the five of the face. Not trained to the end yet: see
sapiens_mm/weights/README.md.
Data:  tools/dataset_converters/lsp.py LSPET_FOLDER LSP_FOLDER PARSE_FOLDER data/lsp (docs/datasets.md)
       tools/synthesize.py data/synthetic/train --num 1337 --size 384 288 --seed 1
Train: tools/dist_train.sh configs/sapiens_pose/mixed/sapiens_hybrid-60e_mixed-192x144.py 2
Test:  tools/dist_test.sh configs/sapiens_pose/mixed/sapiens_hybrid-60e_mixed-192x144.py CHECKPOINT 2
"""
_base_ = [
    '../../_base_/pose_runtime.py',
    '../../_base_/models/sapiens_pose.py',
    '../../_base_/schedules/pose_210e.py',
    '../../_base_/datasets/pose_lsp.py',
]

lsp = '{{$LSP_ROOT:data/lsp}}/'
synthetic = '{{$SYNTHETIC_ROOT:data/synthetic}}/'

codec = dict(type='SapiensUDPHeatmap', input_size=(144, 192), heatmap_size=(36, 48), sigma=2, blur_kernel_size=11)
model = dict(
    backbone=dict(
        _delete_=True,
        type='SapiensHybridViT',
        arch=dict(embed_dims=160, num_layers=6, num_heads=5, feedforward_channels=160 * 2),
        img_size=(192, 144)),
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
persons = dict(type='SapiensCocoDataset', data_mode='topdown', data_prefix=dict(img='images/'), pipeline=train_pipeline)
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        _delete_=True,
        type='SapiensMixedDataset',
        datasets=[
            dict(**persons, data_root=lsp, ann_file='annotations/lspet_train.json'),
            dict(**persons, data_root=lsp, ann_file='annotations/lsp_train.json'),
            dict(**persons, data_root=lsp, ann_file='annotations/parse_train.json'),
            dict(**persons, data_root=synthetic + 'train/', ann_file='annotations/person_keypoints.json'),
        ],
        weights=[0.56, 0.2, 0.02, 0.22],
        length=10_000))
val_dataloader = dict(batch_size=32, num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(batch_size=32, num_workers=1, dataset=dict(pipeline=test_pipeline))

train_cfg = dict(max_epochs=60, val_interval=5)
optim_wrapper = dict(
    optimizer=dict(lr=1.2e-3, betas=(0.9, 0.98), weight_decay=0.05, fused=True),
    paramwise_cfg=dict(layer_decay_rate=1.0))
# Constant, so that a training can be extended, then down to 0 over the last fifth.
param_scheduler = [
    dict(type='LinearLR', begin=0, end=150, start_factor=0.01, by_epoch=False),
    dict(type='LinearLR', begin=48, end=60, start_factor=1, end_factor=0, by_epoch=True, convert_to_iter_based=True),
]
custom_hooks = _base_.custom_hooks + [dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.0005, gamma=1000)]
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(interval=1, max_keep_ckpts=2))
