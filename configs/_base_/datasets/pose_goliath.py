# The folder with annotations/ and images/ in COCO style with 308 keypoints a person (docs/keypoints.md). The data of the
# public models are private; set the environment variable to your own, or change this line.
data_root = '{{$GOLIATH_ROOT:data/goliath}}/'
dataset_type = 'SapiensCocoStyleDataset'
data_mode = 'topdown'

train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_mode=data_mode,
        ann_file='annotations/train.json',
        data_prefix=dict(img='images/')))
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
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
