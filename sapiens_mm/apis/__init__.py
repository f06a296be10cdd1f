"""What runs models on images of your own; it sits on top of the other rooms and imports a host when it is used."""
from .detector import PersonDetector
from .inferencer import SapiensInferencer
from .result import Result

__all__ = ['PersonDetector', 'Result', 'SapiensInferencer']
