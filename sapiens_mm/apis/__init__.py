"""What runs models on images of your own; it sits on top of the other rooms and imports a host when it is used."""
from .detector import PersonDetector

__all__ = ['PersonDetector']
