# Folders of your own renders: train/ and test/, each with images/, masks/ and depths/. Set the environment variable,
# or change this line.
_base_ = './dense_loaders.py'

data_root = '{{$RENDER_PEOPLE_ROOT:data/render_people}}/'

folders = dict(type='SapiensDenseDataset', tasks=('depth', ))
train_dataloader = dict(dataset=dict(**folders, data_root=data_root + 'train/'))
val_dataloader = dict(dataset=dict(**folders, data_root=data_root + 'test/', test_mode=True))
test_dataloader = val_dataloader

val_evaluator = dict(type='SapiensDepthMetric', alignment='scale-shift', per='image')
test_evaluator = val_evaluator
