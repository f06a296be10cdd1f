# CIHP as it is unpacked: set the environment variable, or change this line.
_base_ = './parts_lip.py'

data_root = '{{$CIHP_ROOT:data/cihp}}/'

train_dataloader = dict(dataset=dict(type='SapiensCIHPDataset', data_root=data_root))
val_dataloader = dict(dataset=dict(type='SapiensCIHPDataset', data_root=data_root))
test_dataloader = val_dataloader
