# Folders of your own renders: train/ and test/, each with images/, masks/ and depths/. Set the environment variable,
# or change this line.
data_root = '{{$RENDER_PEOPLE_ROOT:data/render_people}}/'

train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='SapiensDenseDataset',
        data_root=data_root + 'train/',
        tasks=('depth', )))
val_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='SapiensDenseDataset', data_root=data_root + 'test/', tasks=('depth', ), test_mode=True))
test_dataloader = val_dataloader

val_evaluator = dict(type='SapiensDepthMetric', alignment='scale-shift', per='image')
test_evaluator = val_evaluator
