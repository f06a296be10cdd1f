"""AP and AR of keypoints, of the whole body and of its parts."""
from .ground_truth import SapiensCheckCocoMetricHook
from .keypoint_metric import SapiensCommon114Metric, SapiensKeypointMetric

__all__ = ['SapiensCheckCocoMetricHook', 'SapiensCommon114Metric', 'SapiensKeypointMetric']
