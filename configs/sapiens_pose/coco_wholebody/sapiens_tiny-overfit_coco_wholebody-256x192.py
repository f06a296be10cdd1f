"""Overfits a few photos, to check training end to end: from scratch, without augmentation, in minutes on a CPU.

Train: COCO_REAL_ROOT=FOLDER tools/dist_train.sh configs/sapiens_pose/coco_wholebody/sapiens_tiny-overfit_coco_wholebody-256x192.py 2
Test:  COCO_REAL_ROOT=FOLDER tools/test.py configs/sapiens_pose/coco_wholebody/sapiens_tiny-overfit_coco_wholebody-256x192.py CHECKPOINT
"""
_base_ = ['../../_base_/pose_tiny.py', '../../_base_/datasets/pose_coco_wholebody.py']

# A folder with a few photos and COCO-WholeBody annotations: set the environment variable, or change this line.
data_root = '{{$COCO_REAL_ROOT:data/coco_real}}/'
ann_file = 'coco_wholebody.json'

# The mirror images of a flip test were not trained on.
model = dict(head=dict(out_channels=133), test_cfg=dict(flip_test=False))

train_dataloader = dict(
    batch_size=7,
    num_workers=1,
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=10,
        dataset=dict(
            type=_base_.dataset_type,
            data_root=data_root,
            data_mode='topdown',
            ann_file=ann_file,
            data_prefix=dict(img=''),
            pipeline=_base_.test_pipeline[:-1] + [
                dict(type='GenerateTarget', encoder=_base_.codec),
                dict(type='PackPoseInputs'),
            ])))
val_dataloader = dict(
    batch_size=14,
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        ann_file=ann_file,
        data_prefix=dict(img=''),
        bbox_file=None,
        pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + ann_file)
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=30, val_interval=30)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=50, start_factor=0.01, by_epoch=False),
    dict(type='CosineAnnealingLR', begin=0, end=30, eta_min=0, by_epoch=True, convert_to_iter_based=True),
]
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.01))
default_hooks = dict(
    logger=dict(interval=10), checkpoint=dict(interval=5, save_best='coco_wholebody/AP', rule='greater'))
