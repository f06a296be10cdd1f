"""AP and AR of keypoints, of the whole body and of its parts."""
from .keypoint_metric import SapiensCommon114Metric, SapiensKeypointMetric

__all__ = ['SapiensCommon114Metric', 'SapiensKeypointMetric']
