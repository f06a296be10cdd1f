# Your own renders: train/ and test/, each with images/, masks/ and normals/. Set the environment variable, or change
# this line.
_base_ = ['./dense_loaders.py', '../pipelines/dense_1024x768.py']

data_root = '{{$RENDER_PEOPLE_ROOT:data/render_people}}/'

folders = dict(type='SapiensDenseDataset', tasks=('normal', ))
train_dataloader = dict(dataset=dict(**folders, data_root=data_root + 'train/', pipeline=_base_.normal_pipeline))
val_dataloader = dict(
    dataset=dict(**folders, data_root=data_root + 'test/', test_mode=True, pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
