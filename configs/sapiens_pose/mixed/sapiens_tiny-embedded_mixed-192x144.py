"""The embedded model of 17 keypoints (1.4 M parameters in the backbone) on photos of athletes and synthetic people.

Photos have labels for 12 keypoints; synthetic people add the five of the face. It starts from the model of
sapiens_pose/synthetic/sapiens_tiny-embedded_synthetic-192x144.py, which saw synthetic people only.
Data:  tools/dataset_converters/lsp.py LSPET_FOLDER LSP_FOLDER PARSE_FOLDER data/lsp (docs/datasets.md)
       tools/synthesize.py data/synthetic/train --num 400 --size 384 288 --seed 1
Train: tools/dist_train.sh configs/sapiens_pose/mixed/sapiens_tiny-embedded_mixed-192x144.py 2 \
           --cfg-options load_from=CHECKPOINT
Test:  tools/dist_test.sh configs/sapiens_pose/mixed/sapiens_tiny-embedded_mixed-192x144.py CHECKPOINT 2
"""
_base_ = './sapiens_hybrid-60e_mixed-192x144.py'

model = dict(
    backbone=dict(type='SapiensViT', patch_cfg=dict(padding=2)),
    head=dict(in_channels=160, deconv_out_channels=(64, 32), deconv_kernel_sizes=(4, 4)))

train_cfg = dict(max_epochs=10)
optim_wrapper = dict(optimizer=dict(lr=6e-4))
param_scheduler = [
    _base_.param_scheduler[0],
    dict(type='CosineAnnealingLR', begin=0, end=10, eta_min=0, by_epoch=True, convert_to_iter_based=True),
]
