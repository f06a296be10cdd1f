# The folder with annotations/, train2017/ and val2017/: set the environment variable, or change this line.
_base_ = './pose_loaders.py'

data_root = '{{$COCO_ROOT:data/coco}}/'
dataset_type = 'SapiensCocoDataset'
data_mode = 'topdown'

train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_mode=data_mode,
        ann_file='annotations/person_keypoints_train2017.json',
        data_prefix=dict(img='train2017/')))
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_mode=data_mode,
        ann_file='annotations/person_keypoints_val2017.json',
        # Boxes of a person detector; None for the annotated boxes.
        bbox_file=data_root + 'person_detection_results/COCO_val2017_detections_AP_H_70_person.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True))
test_dataloader = val_dataloader

val_evaluator = dict(type='CocoMetric', ann_file=data_root + 'annotations/person_keypoints_val2017.json')
test_evaluator = val_evaluator
