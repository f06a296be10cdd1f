"""Sapiens human vision models for MMEngine, mmpose, mmsegmentation and mmdet.

Importing the package registers the backbone, the checkpoint reader and the optimizer constructor in MMEngine's root
registries, for every host. ``sapiens_mm.pose`` adds what mmpose needs.
"""
from .version import __version__, require

for package in ('torch', 'mmengine', 'mmcv'):
    require(package)
del package

from . import backbones, engine  # noqa: E402

__all__ = ['__version__', 'backbones', 'engine']
