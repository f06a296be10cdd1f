# Runtime of pose estimation.
_base_ = './default_runtime.py'

custom_imports = dict(imports=['sapiens_mm.pose'], allow_failed_imports=False)
default_scope = 'mmpose'

default_hooks = dict(
    visualization=dict(type='PoseVisualizationHook', enable=False),
    check_coco_metric=dict(type='SapiensCheckCocoMetricHook'))
visualizer = dict(type='PoseLocalVisualizer')
