# The folder with annotations/ and images/, in COCO style with 308 keypoints per person (docs/keypoints.md). The data of
# the public models are private: set the environment variable to your own, or change this line.
_base_ = './pose_loaders.py'

data_root = '{{$GOLIATH_ROOT:data/goliath}}/'
dataset_type = 'SapiensCocoStyleDataset'
data_mode = 'topdown'

train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_mode=data_mode,
        ann_file='annotations/train.json',
        data_prefix=dict(img='images/')))
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_mode=data_mode,
        ann_file='annotations/val.json',
        bbox_file=None,
        data_prefix=dict(img='images/'),
        test_mode=True))
test_dataloader = val_dataloader

val_evaluator = dict(type='SapiensKeypointMetric', ann_file=data_root + 'annotations/val.json')
test_evaluator = val_evaluator
