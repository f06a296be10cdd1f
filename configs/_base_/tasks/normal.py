# Surface normals at 1024 x 768.
_base_ = ['../dense_runtime.py', '../models/sapiens_normal.py']

val_evaluator = dict(type='SapiensNormalMetric')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='normal/pooled/mean', rule='less'))
auto_scale_lr = dict(base_batch_size=64)
