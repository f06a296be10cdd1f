# Runtime of pretraining.
_base_ = './runtime.py'

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

visualizer = dict(type='Visualizer')
log_processor = dict(by_epoch=False, window_size=10, num_digits=4)
