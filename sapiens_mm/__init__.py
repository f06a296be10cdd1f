"""Sapiens human vision models for MMEngine, mmpose, mmsegmentation and mmdet.

Importing the package registers the backbone, the checkpoint reader and the optimizer constructor in MMEngine's root
registries, for every host. ``sapiens_mm.pose`` adds what mmpose needs.
"""
from .version import __version__, require

require('torch', '2.1', '3.0', '2.12.1')
require('mmengine', '0.9.0', '1.0.0', '0.10.7')
require('mmcv', '2.0.0', '3.0.0', '2.1.0')

from . import backbones, engine  # noqa: E402

__all__ = ['__version__', 'backbones', 'engine']
