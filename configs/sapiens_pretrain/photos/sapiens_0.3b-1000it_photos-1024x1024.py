"""Sapiens 0.3B pretrained further on your photos, from the public weights and with a new decoder.

1000 steps of 1024 images: 94 times each of the 10,895 training images of sapiens_tiny-2000it_photos-256x192.py, which
also shows how to write the list of photos.
Train: tools/dist_train.sh configs/sapiens_pretrain/photos/sapiens_0.3b-1000it_photos-1024x1024.py 8
On fewer GPUs gradients are accumulated over more passes; batch, learning rate and steps stay the same.
"""
_base_ = [
    '../../_base_/pretrain_runtime.py',
    '../../_base_/models/sapiens_mae.py',
    '../../_base_/schedules/pretrain_adamw.py',
    '../../_base_/datasets/pretrain_images.py',
    '../../_base_/sizes/0.3b.py',
]

# The list of photos, with paths relative to its folder: set the environment variable, or change this line.
photos = dict(_delete_=True, type='list', path='{{$PHOTO_LIST:data/photos.txt}}')

gpus = {{'$WORLD_SIZE:8'}}  # set by the launchers
per_gpu = 32
batch = 1024
passes = max(1, round(batch / (gpus * per_gpu)))  # gradients are accumulated over them
steps = 1000
warm_up = steps // 40

model = dict(backbone=_base_.size.backbone)
train_dataloader = dict(batch_size=per_gpu, dataset=dict(source=photos))
train_cfg = dict(type='SapiensStreamTrainLoop', max_iters=steps * passes)
# Only after whole steps: a checkpoint has no accumulated gradients.
default_hooks = dict(checkpoint=dict(interval=500 * passes))
optim_wrapper = dict(accumulative_counts=passes, optimizer=dict(lr=1.5e-4 * batch / 256))
param_scheduler = [
    dict(type='LinearLR', begin=0, end=warm_up * passes, start_factor=1e-4, by_epoch=False),
    dict(type='CosineAnnealingLR', begin=warm_up * passes, end=steps * passes, eta_min=0, by_epoch=False),
]
