"""COCO-style keypoint datasets that say what is wrong with their files."""
from .coco_style import (
    SapiensCocoDataset,
    SapiensCocoStyleDataset,
    SapiensCocoWholeBodyDataset,
    SapiensCommon114Dataset,
)

__all__ = ['SapiensCocoDataset', 'SapiensCocoStyleDataset', 'SapiensCocoWholeBodyDataset', 'SapiensCommon114Dataset']
