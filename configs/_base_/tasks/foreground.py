# Foreground at 1024 x 768.
_base_ = ['../dense_runtime.py', '../models/sapiens_foreground.py']

val_evaluator = dict(type='SapiensForegroundMetric')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='foreground/pooled/IoU', rule='greater'))
auto_scale_lr = dict(base_batch_size=64)
