# Depth at 1024 x 768.
_base_ = ['../dense_runtime.py', '../models/sapiens_depth.py']

val_evaluator = dict(type='SapiensDepthMetric', alignment='scale-shift', per='image')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='depth/scale-shift/per-image/RMSE', rule='less'))
auto_scale_lr = dict(base_batch_size=64)
