# Microsoft's SynthHuman for training, renders of THuman2.0 for validation and test. Set the environment variables, or
# change these lines.
_base_ = ['./dense_loaders.py', '../pipelines/dense_1024x768.py']

data_root = '{{$SYNTHHUMAN_ROOT:data/synthhuman}}/'
test_root = '{{$THUMAN2_ROOT:data/thuman2}}/'

train_dataloader = dict(
    dataset=dict(
        type='SapiensSynthHumanDataset', data_root=data_root, tasks=('depth', ),
        pipeline=_base_.plain_depth_pipeline))
val_dataloader = dict(
    dataset=dict(
        type='SapiensTHuman2Dataset', data_root=test_root, tasks=('depth', ), test_mode=True,
        pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
