# LIP as it is unpacked: set the environment variable, or change this line.
_base_ = './dense_loaders.py'

data_root = '{{$LIP_ROOT:data/lip}}/'

train_dataloader = dict(dataset=dict(type='SapiensLIPDataset', data_root=data_root, split='train'))
val_dataloader = dict(dataset=dict(type='SapiensLIPDataset', data_root=data_root, split='val', test_mode=True))
test_dataloader = val_dataloader

val_evaluator = dict(type='SapiensPartsMetric')
test_evaluator = val_evaluator
