# Runtime of dense tasks.
_base_ = './default_runtime.py'

custom_imports = dict(imports=['sapiens_mm.dense'], allow_failed_imports=False)
default_scope = 'mmseg'

# Visualizations of the validation, in vis_data/ of the work dir and in TensorBoard if its backend is on.
default_hooks = dict(visualization=dict(type='SegVisualizationHook', draw=True, interval=50))
visualizer = dict(type='SapiensDenseVisualizer')
