"""Dense tasks for mmseg: body-part segmentation, depth and surface normals."""
# ruff: noqa: E402
from ..version import require

require('mmseg')

from . import datasets, metrics, transforms
from .estimators import SapiensDepthEstimator, SapiensNormalEstimator, SapiensPartsSegmentor
from .head import SapiensDenseHead
from .losses import SapiensNormalLoss, SapiensSiLogLoss, SapiensWeightedCrossEntropyLoss
from .multitask import SapiensMultiTask
from .preprocessor import SapiensDensePreprocessor
from .visualization import SapiensDenseVisualizer

__all__ = [
    'SapiensDenseHead', 'SapiensDensePreprocessor', 'SapiensDenseVisualizer', 'SapiensDepthEstimator',
    'SapiensMultiTask', 'SapiensNormalEstimator', 'SapiensNormalLoss', 'SapiensPartsSegmentor', 'SapiensSiLogLoss',
    'SapiensWeightedCrossEntropyLoss', 'datasets', 'metrics', 'transforms'
]
