"""Metrics of body parts, depth, normals and foreground, and evaluators that write files for each sample."""
from .depth import SapiensDepthMetric
from .foreground import SapiensForegroundMetric
from .normal import SapiensNormalMetric
from .parts import SapiensPartsMetric
from .per_sample import SapiensDumpPredictions, SapiensSampleScores, SapiensWorstSamples

__all__ = [
    'SapiensDepthMetric', 'SapiensDumpPredictions', 'SapiensForegroundMetric', 'SapiensNormalMetric',
    'SapiensPartsMetric', 'SapiensSampleScores', 'SapiensWorstSamples'
]
