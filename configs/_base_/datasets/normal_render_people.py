# The folders of depth_render_people.py, with normals/ in place of depths/.
_base_ = './depth_render_people.py'

train_dataloader = dict(dataset=dict(tasks=('normal', )))
val_dataloader = dict(dataset=dict(tasks=('normal', )))
test_dataloader = val_dataloader

val_evaluator = dict(_delete_=True, type='SapiensNormalMetric')
test_evaluator = val_evaluator
