# Microsoft's SynthHuman for training, renders of THuman2.0 for validation and test. Set the environment variables, or
# change these lines.
_base_ = './dense_loaders.py'

data_root = '{{$SYNTHHUMAN_ROOT:data/synthhuman}}/'
test_root = '{{$THUMAN2_ROOT:data/thuman2}}/'

train_dataloader = dict(dataset=dict(type='SapiensSynthHumanDataset', data_root=data_root, tasks=('depth', )))
val_dataloader = dict(
    dataset=dict(type='SapiensTHuman2Dataset', data_root=test_root, tasks=('depth', ), test_mode=True))
test_dataloader = val_dataloader

val_evaluator = dict(type='SapiensDepthMetric', alignment='scale-shift', per='image')
test_evaluator = val_evaluator
