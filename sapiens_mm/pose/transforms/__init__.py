from .blur import SapiensRandomBlur
from .coarse_dropout import SapiensCoarseDropout
from .loading import SapiensLoadImage
from .photometric import SapiensPhotometricDistortion

__all__ = ['SapiensCoarseDropout', 'SapiensLoadImage', 'SapiensPhotometricDistortion', 'SapiensRandomBlur']
