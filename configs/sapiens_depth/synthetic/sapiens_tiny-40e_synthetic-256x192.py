"""A tiny model of depth (5 M parameters in the backbone) on synthetic people, from scratch, for a laptop.

Data:  tools/synthesize.py data/synthetic/train --num 1000 --size 512 384 --seed 1
       (and data/synthetic/test with --num 100 --seed 2)
Train: SYNTHETIC_ROOT=data/synthetic tools/dist_train.sh configs/sapiens_depth/synthetic/sapiens_tiny-40e_synthetic-256x192.py 2
Test:  SYNTHETIC_ROOT=data/synthetic tools/test.py configs/sapiens_depth/synthetic/sapiens_tiny-40e_synthetic-256x192.py CHECKPOINT
"""
_base_ = ['../../_base_/models/sapiens_depth.py', '../../_base_/dense_tiny.py']

model = _base_.tiny
model['decode_head'].update(deconv_out_channels=(64, 64, 64, 64), deconv_kernel_sizes=(4, 4, 4, 4))
train_dataloader = dict(dataset=dict(tasks=('depth', ), pipeline=_base_.depth_pipeline))
val_dataloader = dict(dataset=dict(tasks=('depth', )))
test_dataloader = val_dataloader
val_evaluator = dict(type='SapiensDepthMetric', alignment='scale-shift')
test_evaluator = val_evaluator
