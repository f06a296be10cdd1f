"""Top-down pose estimation: Sapiens models, datasets and metrics in mmpose's registries."""
# ruff: noqa: E402
from ..version import require

require('mmpose')

from . import datasets, metainfo, metrics, transforms
from .codec import SapiensUDPHeatmap
from .estimator import SapiensPoseEstimator
from .head import SapiensPoseHead
from .losses import SapiensOHKMMSELoss
from .visualization import SapiensSkeletonImages

__all__ = [
    'SapiensOHKMMSELoss', 'SapiensPoseEstimator', 'SapiensPoseHead', 'SapiensSkeletonImages', 'SapiensUDPHeatmap',
    'datasets', 'metainfo', 'metrics', 'transforms'
]
