# Two outputs of tools/synthesize.py, train/ and test/: set the environment variable, or change this line.
_base_ = './dense_loaders.py'

data_root = '{{$SYNTHETIC_ROOT:data/synthetic}}/'

train_dataloader = dict(num_workers=1, dataset=dict(type='SapiensSyntheticDataset', data_root=data_root + 'train/'))
val_dataloader = dict(
    num_workers=1, dataset=dict(type='SapiensSyntheticDataset', data_root=data_root + 'test/', test_mode=True))
test_dataloader = val_dataloader
