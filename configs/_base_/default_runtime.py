# Runtime of all fine-tuning; pose_runtime.py and dense_runtime.py add imports, scope and visualizer.
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

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))

vis_backends = [dict(type='LocalVisBackend')]  # dict(type='TensorboardVisBackend') too, where tensorboard is installed
visualizer = dict(vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True, num_digits=6)
log_level = 'INFO'
load_from = None
resume = False
