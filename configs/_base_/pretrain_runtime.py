# Runtime of pretraining.
custom_imports = dict(imports=['sapiens_mm.pretrain'], allow_failed_imports=False)
default_scope = 'mmengine'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=10),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=500, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'))
custom_hooks = [
    dict(type='SapiensSeedHook'),
    dict(type='SapiensStreamHook'),
    dict(type='SapiensNonFiniteHook', max_consecutive=5),
    dict(type='SapiensThroughputHook'),
    dict(type='SapiensReconstructionHook', interval=500),
]

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))

vis_backends = [dict(type='LocalVisBackend')]  # dict(type='TensorboardVisBackend') too, where tensorboard is installed
visualizer = dict(type='Visualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(by_epoch=False, window_size=10, num_digits=4)
log_level = 'INFO'
load_from = None
resume = False
