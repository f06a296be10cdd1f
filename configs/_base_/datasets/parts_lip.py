# LIP as it is unpacked: set the environment variable, or change this line.
data_root = '{{$LIP_ROOT:data/lip}}/'

train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='SapiensLIPDataset', data_root=data_root, split='train'))
val_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='SapiensLIPDataset', data_root=data_root, split='val', test_mode=True))
test_dataloader = val_dataloader

val_evaluator = dict(type='SapiensPartsMetric')
test_evaluator = val_evaluator
