"""Transforms of images with body parts, depth and normals that keep what the labels mean."""
from .background import SapiensRandomBackground
from .geometry import SapiensCropPerson, SapiensRandomWarp, SapiensResize
from .loading import SapiensLoadImage, SapiensLoadLabels
from .normalize_depth import SapiensNormalizeDepth
from .packing import SapiensPackDense
from .photometric import SapiensPhotometricDistortion

__all__ = [
    'SapiensCropPerson', 'SapiensLoadImage', 'SapiensLoadLabels', 'SapiensNormalizeDepth', 'SapiensPackDense',
    'SapiensPhotometricDistortion', 'SapiensRandomBackground', 'SapiensRandomWarp', 'SapiensResize'
]
