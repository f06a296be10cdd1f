"""Metrics of body parts, depth and normals, and evaluators that write files for each sample."""
from .depth import SapiensDepthMetric
from .normal import SapiensNormalMetric
from .parts import SapiensPartsMetric
from .per_sample import SapiensDumpPredictions, SapiensSampleScores, SapiensWorstSamples

__all__ = [
    'SapiensDepthMetric', 'SapiensDumpPredictions', 'SapiensNormalMetric', 'SapiensPartsMetric', 'SapiensSampleScores',
    'SapiensWorstSamples'
]
