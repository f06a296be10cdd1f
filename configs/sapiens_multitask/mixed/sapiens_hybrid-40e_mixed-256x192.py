"""A small model of parts, depth and normals (1.7 M parameters) on photos of clothes and faces and on synthetic people.

Photos have labels of some parts, or masks of the person alone; synthetic people have all labels. Half of the people are
put before another photo. The backbone starts from the keypoint model of configs/sapiens_pose/mixed.
Data:  tools/dataset_converters/clothing_co_parsing.py clothing-co-parsing data/ccp (docs/datasets.md)
       tools/dataset_converters/celebamask.py FOLDER data/celebamask
       tools/dataset_converters/human_segmentation.py Human-Segmentation-Dataset data/persons
       photos without people in data/backgrounds, such as INRIA's (docs/datasets.md)
       tools/synthesize.py data/synthetic/train --num 1337 --size 384 288 --seed 1
Train: tools/dist_train.sh configs/sapiens_multitask/mixed/sapiens_hybrid-40e_mixed-256x192.py 2
Test:  tools/dist_test.sh configs/sapiens_multitask/mixed/sapiens_hybrid-40e_mixed-256x192.py CHECKPOINT 2
"""
_base_ = '../synthetic/sapiens_hybrid-10e_synthetic-256x192.py'

ccp = '{{$CCP_ROOT:data/ccp}}/'
celebamask = '{{$CELEBAMASK_ROOT:data/celebamask}}/'
persons = '{{$PERSONS_ROOT:data/persons}}/'
backgrounds = '{{$BACKGROUND_ROOT:data/backgrounds}}'
synthetic = '{{$SYNTHETIC_ROOT:data/synthetic}}/'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint='sapiens_mm/weights/sapiens_hybrid-pose.safetensors', prefix='backbone.')),
    heads=dict(seg=dict(mask_loss=True)))
load_from = None

train_pipeline = [
    dict(type='SapiensLoadLabels', background=True),
    dict(type='SapiensRandomWarp', size=_base_.size, scale_range=(0.35, 1.5), rotate_range=20.),
    dict(type='SapiensRandomBackground', folder=backgrounds, prob=0.5),
    dict(type='SapiensPhotometricDistortion'),
    dict(type='SapiensNormalizeDepth'),
    dict(type='SapiensPackDense'),
]
photos = dict(type='SapiensDenseDataset', tasks=('seg', ), ann_file='train.txt', pipeline=train_pipeline)
train_dataloader = dict(
    num_workers=1,
    dataset=dict(
        _delete_=True,
        type='SapiensMixedDataset',
        datasets=[
            dict(type='SapiensSyntheticDataset', data_root=synthetic + 'train/', pipeline=train_pipeline),
            dict(**photos, data_root=ccp),
            dict(**photos, data_root=celebamask),
            dict(type='SapiensDenseDataset', tasks=(), ann_file='train.txt', data_root=persons, pipeline=train_pipeline),
        ],
        weights=[0.45, 0.25, 0.1, 0.2],
        length=3000))
train_cfg = dict(max_epochs=40, val_interval=40)
param_scheduler = _base_.param_scheduler
param_scheduler[1]['end'] = 40
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(interval=1, max_keep_ckpts=2))
custom_hooks = _base_.custom_hooks + [dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.001, gamma=10)]
