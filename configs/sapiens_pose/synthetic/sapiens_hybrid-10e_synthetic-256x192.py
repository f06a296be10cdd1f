"""Fine-tuning of the embedded model of 17 keypoints on your own labels, or on synthetic people.

`make quickstart` trains it, and docs/human_in_the_loop.md uses it on corrected predictions.
Data:  data/synthetic/{train,test}/ with images/ and annotations/person_keypoints.json, or SYNTHETIC_ROOT=FOLDER
Train: python tools/train.py configs/sapiens_pose/synthetic/sapiens_hybrid-10e_synthetic-256x192.py
"""
_base_ = ['../../_base_/pose_hybrid.py', '../../_base_/datasets/pose_coco.py']

data_root = '{{$SYNTHETIC_ROOT:data/synthetic}}/'
ann_file = 'annotations/person_keypoints.json'

people = dict(ann_file=ann_file, data_prefix=dict(img='images/'))
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(**people, data_root=data_root + 'train/', pipeline=_base_.train_pipeline))
val_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(**people, data_root=data_root + 'test/', bbox_file=None, pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'test/' + ann_file)
test_evaluator = val_evaluator

load_from = 'sapiens_mm/weights/sapiens_hybrid-pose.safetensors'
train_cfg = dict(max_epochs=10, val_interval=10)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=20, start_factor=0.01, by_epoch=False),
    dict(type='CosineAnnealingLR', begin=0, end=10, eta_min=0, by_epoch=True, convert_to_iter_based=True),
]
optim_wrapper = dict(optimizer=dict(lr=3e-4))
