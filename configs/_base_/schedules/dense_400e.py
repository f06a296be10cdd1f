# The linear schedule of 400 epochs, for CIHP.
_base_ = './dense_200e.py'

train_cfg = dict(max_epochs=400)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=400)]
