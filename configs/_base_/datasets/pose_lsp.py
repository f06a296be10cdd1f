# The folder that tools/dataset_converters/lsp.py writes: set the environment variable, or change this line.
# Training on LSPET, LSP and PARSE, validation on the held-out tenth of LSPET, test on LSP.
_base_ = './pose_loaders.py'

data_root = '{{$LSP_ROOT:data/lsp}}/'
dataset_type = 'SapiensCocoDataset'
data_mode = 'topdown'

persons = dict(
    type=dataset_type, data_root=data_root, data_mode=data_mode, data_prefix=dict(img='images/'), pipeline=[])
train_dataloader = dict(
    dataset=dict(
        type='CombinedDataset',
        metainfo=dict(from_file='configs/_base_/datasets/coco.py'),
        datasets=[
            dict(**persons, ann_file='annotations/lspet_train.json'),
            dict(**persons, ann_file='annotations/lsp_train.json'),
            dict(**persons, ann_file='annotations/parse_train.json'),
        ]))
val_dataloader = dict(dataset=dict(persons, ann_file='annotations/lspet_val.json', test_mode=True))
test_dataloader = dict(
    **_base_.test_dataloader, dataset=dict(persons, ann_file='annotations/lsp_test.json', test_mode=True))

val_evaluator = [
    dict(type='CocoMetric', ann_file=data_root + 'annotations/lspet_val.json'),
    dict(type='SapiensTorsoPCK'),
]
test_evaluator = [
    dict(type='CocoMetric', ann_file=data_root + 'annotations/lsp_test.json'),
    dict(type='SapiensTorsoPCK'),
]
