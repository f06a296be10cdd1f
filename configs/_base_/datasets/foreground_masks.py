# Your own images with masks of people: train/ and test/, each with images/ and masks/. Set the environment variable, or
# change this line.
_base_ = ['./dense_loaders.py', '../pipelines/dense_1024x768.py']

data_root = '{{$MASKS_ROOT:data/masks}}/'

folders = dict(type='SapiensDenseDataset', tasks=('foreground', ))
train_dataloader = dict(dataset=dict(**folders, data_root=data_root + 'train/', pipeline=_base_.foreground_pipeline))
val_dataloader = dict(
    dataset=dict(**folders, data_root=data_root + 'test/', test_mode=True, pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
