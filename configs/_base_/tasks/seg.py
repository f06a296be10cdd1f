# 28 body parts at 1024 x 768.
_base_ = ['../dense_runtime.py', '../models/sapiens_seg.py']

val_evaluator = dict(type='SapiensPartsMetric')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='parts/mIoU', rule='greater'))
auto_scale_lr = dict(base_batch_size=64)
