"""Transforms of images with dense labels."""
from .appearance import SapiensPhotometricDistortion, SapiensRandomBackground
from .formatting import SapiensNormalizeDepth, SapiensPackDense
from .geometry import SapiensCropPerson, SapiensRandomWarp, SapiensResize
from .loading import SapiensLoadImage, SapiensLoadLabels

__all__ = [
    'SapiensCropPerson', 'SapiensLoadImage', 'SapiensLoadLabels', 'SapiensNormalizeDepth', 'SapiensPackDense',
    'SapiensPhotometricDistortion', 'SapiensRandomBackground', 'SapiensRandomWarp', 'SapiensResize'
]
