"""A tiny model (5.5 M parameters in the encoder) pretrained on synthetic people or any small folder, on a laptop.

This config is for trying out pretraining. The model predicts pixels, not normalized patches, so that reconstructions
have colors. With bfloat16 (--amp) it took 35 minutes on two busy cores; the mean loss of 200 iterations fell from 0.86
to 0.32 (halfway) and 0.295. With 75 and 85 % masked, people are blurred but recognizable; with 95 % only shapes and
colors remain. Noise cannot be predicted: with renders of 6 samples per pixel instead of 32 and a smaller decoder, the
loss stayed at 0.42.
Data:  tools/synthesize.py data/synthetic/pretrain --num 512 --size 256 192 --seed 1 --samples 32 --no-denoise --tasks pose \
           --framing full_body --max-persons 1
Train: PRETRAIN_ROOT=data/synthetic/pretrain/images tools/dist_train.sh \
           configs/sapiens_pretrain/synthetic/sapiens_tiny-2000it_synthetic-384x288.py 2
Look:  tools/reconstruct.py configs/sapiens_pretrain/synthetic/sapiens_tiny-2000it_synthetic-384x288.py \
           work_dirs/sapiens_tiny-2000it_synthetic-384x288/iter_2000.pth data/synthetic/pretrain/images/00000?.png
"""
_base_ = [
    '../../_base_/pretrain_runtime.py',
    '../../_base_/models/sapiens_mae.py',
    '../../_base_/schedules/pretrain_adamw.py',
    '../../_base_/datasets/pretrain_images.py',
]

model = dict(
    backbone=dict(arch='sapiens_tiny', img_size=(384, 288), with_cp=False),
    neck=dict(embed_dims=192, num_layers=4, num_heads=6, with_cp=False),
    norm_target=False)
train_dataloader = dict(
    batch_size=8, num_workers=1, pin_memory=False, dataset=dict(size=(384, 288), scale=(0.6, 1.)))
train_cfg = dict(type='SapiensStreamTrainLoop', max_iters=2000)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', begin=0, end=100, start_factor=0.01, by_epoch=False),
    dict(type='CosineAnnealingLR', begin=100, end=2000, eta_min=0, by_epoch=False),
]
