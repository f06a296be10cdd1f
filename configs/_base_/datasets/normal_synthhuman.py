# The data sets of depth_synthhuman.py, with their normals.
_base_ = './depth_synthhuman.py'

train_dataloader = dict(dataset=dict(tasks=('normal', )))
val_dataloader = dict(dataset=dict(tasks=('normal', )))
test_dataloader = val_dataloader

val_evaluator = dict(_delete_=True, type='SapiensNormalMetric')
test_evaluator = val_evaluator
