"""Datasets of people with body parts, depth and normals."""
from .folder import SapiensDenseDataset
from .layouts import (
    SapiensCIHPDataset,
    SapiensHi4DDataset,
    SapiensLIPDataset,
    SapiensScanDataset,
    SapiensSyntheticDataset,
    SapiensSynthHumanDataset,
    SapiensTHuman2Dataset,
)

__all__ = [
    'SapiensCIHPDataset', 'SapiensDenseDataset', 'SapiensHi4DDataset', 'SapiensLIPDataset', 'SapiensScanDataset',
    'SapiensSynthHumanDataset', 'SapiensSyntheticDataset', 'SapiensTHuman2Dataset'
]
