# Microsoft's SynthHuman for training, renders of THuman2.0 for validation and test. Set the environment variables, or
# change these lines.
data_root = '{{$SYNTHHUMAN_ROOT:data/synthhuman}}/'
test_root = '{{$THUMAN2_ROOT:data/thuman2}}/'

train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='SapiensSynthHumanDataset', data_root=data_root, tasks=('normal', )))
val_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='SapiensTHuman2Dataset', data_root=test_root, tasks=('normal', ), test_mode=True))
test_dataloader = val_dataloader

val_evaluator = dict(type='SapiensNormalMetric')
test_evaluator = val_evaluator
