# CIHP, unpacked: set the environment variable, or change this line.
_base_ = ['./dense_loaders.py', '../pipelines/dense_1024x768.py']

data_root = '{{$CIHP_ROOT:data/cihp}}/'

folders = dict(type='SapiensCIHPDataset', data_root=data_root)
train_dataloader = dict(dataset=dict(**folders, split='train', pipeline=_base_.seg_20_pipeline))
val_dataloader = dict(dataset=dict(**folders, split='val', test_mode=True, pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
