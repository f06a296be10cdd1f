# A folder of images; for a list file or WebDataset shards change `source` (docs/pretraining_data.md).
# The data root: set the environment variable, or change this line.
data_root = '{{$PRETRAIN_ROOT:data/humans}}'

train_dataloader = dict(
    batch_size=32,
    num_workers=8,
    sampler=None,  # the dataset shuffles
    collate_fn=dict(type='default_collate'),
    pin_memory=True,
    dataset=dict(type='SapiensImages', source=dict(type='folder', path=data_root), size=(1024, 1024)))
