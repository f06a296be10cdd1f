"""Body parts, depth and surface normals: what mmseg's registries need to train, test and draw Sapiens dense models."""
# ruff: noqa: E402
from ..version import require

require('mmseg')

from . import datasets, metrics, transforms
from .depth import SapiensDepthEstimator
from .head import SapiensDenseHead
from .losses import SapiensNormalLoss, SapiensSiLogLoss, SapiensWeightedCrossEntropyLoss
from .multitask import SapiensMultiTask
from .normal import SapiensNormalEstimator
from .preprocessor import SapiensDensePreprocessor
from .segmentor import SapiensPartsSegmentor
from .visualization import SapiensDenseVisualizer

__all__ = [
    'SapiensDenseHead', 'SapiensDensePreprocessor', 'SapiensDenseVisualizer', 'SapiensDepthEstimator',
    'SapiensMultiTask', 'SapiensNormalEstimator', 'SapiensNormalLoss', 'SapiensPartsSegmentor', 'SapiensSiLogLoss',
    'SapiensWeightedCrossEntropyLoss', 'datasets', 'metrics', 'transforms'
]
