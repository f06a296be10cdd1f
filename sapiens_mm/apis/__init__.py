"""High-level interfaces: inference, export, the command line and the web app. Hosts are imported when used."""
from .detector import PersonDetector
from .inferencer import SapiensInferencer
from .result import Result
from .writer import ResultWriter

__all__ = ['PersonDetector', 'Result', 'ResultWriter', 'SapiensInferencer']
