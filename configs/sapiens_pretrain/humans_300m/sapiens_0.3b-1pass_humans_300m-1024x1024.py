"""Sapiens 0.3B pretrained on 300 million images of people, 1024 x 1024: masked autoencoding of 1.2 T tokens.

Encoder and decoder have 335.53 M parameters.
Fine-tuned public model: COCO AP 79.6 (17 keypoints) and mIoU 76.7 (28 parts).
3051 steps of 98,304 images of 4096 patches, of which a quarter is encoded.
Data:  any images; the paper's 300 M are private. tools/curate_humans.py filters your own as the paper did.
Train: PRETRAIN_ROOT=/path/to/images NNODES=128 NODE_RANK=... MASTER_ADDR=... tools/dist_train.sh \
           configs/sapiens_pretrain/humans_300m/sapiens_0.3b-1pass_humans_300m-1024x1024.py 8
On fewer GPUs gradients are accumulated over more passes; batch, learning rate and steps stay the same.
"""
_base_ = [
    '../../_base_/pretrain_runtime.py',
    '../../_base_/models/sapiens_mae.py',
    '../../_base_/schedules/pretrain_adamw.py',
    '../../_base_/datasets/pretrain_images.py',
]

gpus = {{'$WORLD_SIZE:1024'}}  # set by the launchers
per_gpu = 32
batch = 98304
passes = max(1, round(batch / (gpus * per_gpu)))  # gradients are accumulated over them
steps = 300_000_000 // batch
warm_up = steps * 40 // 1600

model = dict(backbone=dict(arch='sapiens_0.3b'))
train_dataloader = dict(batch_size=per_gpu)
train_cfg = dict(type='SapiensStreamTrainLoop', max_iters=steps * passes)
# Only after whole steps: a checkpoint has no accumulated gradients.
default_hooks = dict(checkpoint=dict(interval=max(1, 500 // passes) * passes))
optim_wrapper = dict(accumulative_counts=passes, optimizer=dict(lr=1.5e-4 * batch / 256))
param_scheduler = [
    dict(type='LinearLR', begin=0, end=warm_up * passes, start_factor=1e-4, by_epoch=False),
    dict(type='CosineAnnealingLR', begin=warm_up * passes, end=steps * passes, eta_min=0, by_epoch=False),
]
