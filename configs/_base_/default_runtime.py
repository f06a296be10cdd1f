# Runtime of all fine-tuning; pose_runtime.py and dense_runtime.py add imports, scope and visualizer.
_base_ = './runtime.py'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    check_save_best=dict(type='SapiensCheckSaveBestHook'))
custom_hooks = [
    dict(type='SapiensSeedHook'),
    dict(type='SapiensLoggedIterHook'),
    dict(type='SapiensNonFiniteHook', max_consecutive=5),
]

log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True, num_digits=6)
