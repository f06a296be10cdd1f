# Folders of your own with 28 classes: train/ and test/, each with images/ and parts/. Set the environment
# variable, or change this line.
data_root = '{{$PARTS_ROOT:data/parts}}/'

train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='SapiensDenseDataset',
        data_root=data_root + 'train/',
        tasks=('parts', ),
        data_prefix=dict(mask_path=None)))
val_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='SapiensDenseDataset', data_root=data_root + 'test/', tasks=('parts', ),
        data_prefix=dict(mask_path=None), test_mode=True))
test_dataloader = val_dataloader

val_evaluator = dict(type='SapiensPartsMetric')
test_evaluator = val_evaluator
