# Runtime of fine-tuning and pretraining.
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))

vis_backends = [dict(type='LocalVisBackend')]  # dict(type='TensorboardVisBackend') too, where tensorboard is installed
visualizer = dict(vis_backends=vis_backends, name='visualizer')
log_level = 'INFO'
load_from = None
resume = False
