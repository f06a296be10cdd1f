"""Measuring body parts, depth and normals, and what is written of each sample on the way."""
from .depth import SapiensDepthMetric
from .normal import SapiensNormalMetric
from .parts import SapiensPartsMetric
from .per_sample import SapiensDumpPredictions, SapiensSampleScores, SapiensWorstPictures

__all__ = [
    'SapiensDepthMetric', 'SapiensDumpPredictions', 'SapiensNormalMetric', 'SapiensPartsMetric', 'SapiensSampleScores',
    'SapiensWorstPictures'
]
