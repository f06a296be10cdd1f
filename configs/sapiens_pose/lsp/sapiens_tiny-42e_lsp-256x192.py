"""A tiny model (5 M parameters in the backbone) on photos of athletes, 12 of 17 keypoints, from scratch, for a laptop.

The five keypoints of the face are not labeled and stay untrained: ignore them, or start from weights that know them
(--cfg-options load_from=...).
Data:  tools/dataset_converters/lsp.py LSPET_FOLDER LSP_FOLDER PARSE_FOLDER data/lsp (docs/datasets.md)
Train: tools/dist_train.sh configs/sapiens_pose/lsp/sapiens_tiny-42e_lsp-256x192.py 2
Test:  tools/test.py configs/sapiens_pose/lsp/sapiens_tiny-42e_lsp-256x192.py CHECKPOINT
"""
_base_ = ['../../_base_/pose_tiny.py', '../../_base_/datasets/pose_lsp.py']

model = dict(head=dict(out_channels=17))
train_dataloader = dict(batch_size=32, num_workers=2, dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(num_workers=2, dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = dict(num_workers=2, dataset=dict(pipeline=_base_.test_pipeline))

# A fifth of COCO's epochs.
train_cfg = dict(max_epochs=42)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=42, milestones=[34, 40])]
default_hooks = dict(checkpoint=dict(save_best='coco/AP', rule='greater'))
