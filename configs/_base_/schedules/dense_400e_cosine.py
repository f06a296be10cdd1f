# 400 epochs with cosine decay, for LIP.
_base_ = './dense_200e.py'

train_cfg = dict(max_epochs=400)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(type='CosineAnnealingLR', begin=0, end=400, eta_min=0, by_epoch=True, convert_to_iter_based=True),
]
