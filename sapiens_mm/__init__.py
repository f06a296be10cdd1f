"""Sapiens human vision models for MMEngine, mmpose, mmsegmentation and mmdet.

Importing the package registers the backbone, the checkpoint reader and the optimizer constructor in MMEngine's root
registries, for every host. ``sapiens_mm.pose`` adds what mmpose needs.
"""
import signal
import sys

from .version import __version__, require

_at_ctrl_c = None
if sys.orig_argv[1:3] == ['-m', 'sapiens_mm']:  # which imports this before its own code can catch anything
    from sapiens_mm_cli import end_at_ctrl_c
    _at_ctrl_c = end_at_ctrl_c()

for package in ('torch', 'mmengine', 'mmcv'):
    require(package)
del package

from . import backbones, engine  # noqa: E402

if _at_ctrl_c is not None:
    signal.signal(signal.SIGINT, _at_ctrl_c)

__all__ = ['__version__', 'backbones', 'engine']
