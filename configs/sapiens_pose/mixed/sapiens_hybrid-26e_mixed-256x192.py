"""A small model of 17 keypoints (1.7 M parameters) on photos of athletes and on synthetic people.

Photos have labels for 12 keypoints; synthetic people add the five of the face.
sapiens_mm/weights/README.md has the trained model and its metrics.
Data:  tools/dataset_converters/lsp.py LSPET_FOLDER LSP_FOLDER PARSE_FOLDER data/lsp (docs/datasets.md)
       tools/synthesize.py data/synthetic/train --num 1337 --size 384 288 --seed 1
Train: tools/dist_train.sh configs/sapiens_pose/mixed/sapiens_hybrid-26e_mixed-256x192.py 2
Test:  tools/dist_test.sh configs/sapiens_pose/mixed/sapiens_hybrid-26e_mixed-256x192.py CHECKPOINT 2
"""
_base_ = ['../../_base_/pose_hybrid.py', '../../_base_/datasets/pose_lsp.py']

lsp = '{{$LSP_ROOT:data/lsp}}/'
synthetic = '{{$SYNTHETIC_ROOT:data/synthetic}}/'

# Without SapiensSeedSample: the mix seeds its samples.
persons = dict(
    type='SapiensCocoDataset',
    data_mode='topdown',
    data_prefix=dict(img='images/'),
    pipeline=_base_.train_pipeline[1:])
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
        weights=[0.52, 0.2, 0.02, 0.26],
        length=10_000))
val_dataloader = dict(batch_size=32, num_workers=1, dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = dict(batch_size=32, num_workers=1, dataset=dict(pipeline=_base_.test_pipeline))

train_cfg = dict(max_epochs=26, val_interval=13)
# Constant, so that a training can be extended, then down to 0 over the last fifth.
param_scheduler = [
    dict(type='LinearLR', begin=0, end=150, start_factor=0.01, by_epoch=False),
    dict(type='LinearLR', begin=21, end=26, start_factor=1, end_factor=0, by_epoch=True, convert_to_iter_based=True),
]
custom_hooks = _base_.custom_hooks + [dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.0005, gamma=1000)]
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(interval=1, max_keep_ckpts=2))
