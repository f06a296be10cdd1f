# Two sets of tools/synthesize.py, train/ and test/: set the environment variable, or change this line.
data_root = '{{$SYNTHETIC_ROOT:data/synthetic}}/'

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='SapiensSyntheticDataset', data_root=data_root + 'train/'))
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(type='SapiensSyntheticDataset', data_root=data_root + 'test/', test_mode=True))
test_dataloader = val_dataloader
