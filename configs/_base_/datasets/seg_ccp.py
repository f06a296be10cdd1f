# The folder that tools/dataset_converters/clothing_co_parsing.py writes: set the environment variable, or change this
# line.
_base_ = ['./dense_loaders.py', '../pipelines/dense_1024x768.py']

data_root = '{{$CCP_ROOT:data/ccp}}/'

folders = dict(type='SapiensDenseDataset', data_root=data_root, tasks=('seg', ))
# Photos of streets, of which pixels without a part are ignored: the pipeline that keeps the background.
train_dataloader = dict(dataset=dict(**folders, ann_file='train.txt', pipeline=_base_.seg_20_pipeline))
val_dataloader = dict(
    dataset=dict(**folders, ann_file='test.txt', test_mode=True, pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
