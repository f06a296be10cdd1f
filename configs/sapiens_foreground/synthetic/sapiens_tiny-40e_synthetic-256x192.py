"""A tiny model of the foreground (5 M parameters in the backbone) on synthetic people, from scratch, for a laptop.

Data:  tools/synthesize.py data/synthetic/train --num 1000 --size 512 384 --seed 1
       (and data/synthetic/test with --num 100 --seed 2)
Train: SYNTHETIC_ROOT=data/synthetic tools/dist_train.sh configs/sapiens_foreground/synthetic/sapiens_tiny-40e_synthetic-256x192.py 2
Test:  SYNTHETIC_ROOT=data/synthetic tools/test.py configs/sapiens_foreground/synthetic/sapiens_tiny-40e_synthetic-256x192.py CHECKPOINT
"""
_base_ = ['../../_base_/models/sapiens_foreground.py', '../../_base_/dense_tiny.py']

model = _base_.tiny
train_dataloader = dict(dataset=dict(tasks=('foreground', )))
val_dataloader = dict(dataset=dict(tasks=('foreground', )))
test_dataloader = val_dataloader
val_evaluator = dict(type='SapiensForegroundMetric')
test_evaluator = val_evaluator
