# Your own images with 28 classes: train/ and test/, each with images/ and parts/. Set the environment variable, or
# change this line.
_base_ = ['./dense_loaders.py', '../pipelines/dense_1024x768.py']

data_root = '{{$PARTS_ROOT:data/parts}}/'

folders = dict(type='SapiensDenseDataset', tasks=('seg', ), data_prefix=dict(mask_path=None))
train_dataloader = dict(dataset=dict(**folders, data_root=data_root + 'train/', pipeline=_base_.seg_pipeline))
val_dataloader = dict(
    dataset=dict(**folders, data_root=data_root + 'test/', test_mode=True, pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
