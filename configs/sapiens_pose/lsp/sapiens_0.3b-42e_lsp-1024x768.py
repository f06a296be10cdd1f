"""Sapiens 0.3B on photos of athletes, 12 of 17 keypoints.

Published: none for this dataset. The five keypoints of the face are not labeled and stay untrained: ignore them, or
start from weights that know them (--cfg-options load_from=...).
Data:  tools/dataset_converters/lsp.py LSPET_FOLDER LSP_FOLDER PARSE_FOLDER data/lsp (docs/datasets.md)
Train: tools/dist_train.sh configs/sapiens_pose/lsp/sapiens_0.3b-42e_lsp-1024x768.py 8 --amp
Test:  tools/dist_test.sh configs/sapiens_pose/lsp/sapiens_0.3b-42e_lsp-1024x768.py CHECKPOINT 8
"""
_base_ = [
    '../../_base_/pose_runtime.py',
    '../../_base_/models/sapiens_pose.py',
    '../../_base_/pipelines/pose_1024x768.py',
    '../../_base_/schedules/pose_210e.py',
    '../../_base_/datasets/pose_lsp.py',
    '../../_base_/sizes/0.3b.py',
]

model = dict(backbone=_base_.size.backbone, head=dict(**_base_.size.head, out_channels=17, decoder=_base_.codec))
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))

# A fifth of COCO's epochs.
train_cfg = dict(max_epochs=42)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=42, milestones=[34, 40])]
default_hooks = dict(checkpoint=dict(save_best='coco/AP', rule='greater'))
