"""Sapiens human vision models for MMEngine, mmpose, mmsegmentation and mmdet.

Importing the package registers backbones, checkpoint reader, optimizer constructor and hooks in MMEngine's root
registries, for every host. Import ``sapiens_mm.pose`` for mmpose and ``sapiens_mm.dense`` for mmsegmentation.
"""
import signal
import sys

from .version import __version__, require

_at_ctrl_c = None
if sys.orig_argv[1:3] == ['-m', 'sapiens_mm']:  # __main__ runs after this, too late for Ctrl-C
    from sapiens_mm_cli import end_at_ctrl_c
    _at_ctrl_c = end_at_ctrl_c()

for package in ('torch', 'mmengine', 'mmcv'):
    require(package)
del package

from . import backbones, engine  # noqa: E402

if _at_ctrl_c is not None:
    signal.signal(signal.SIGINT, _at_ctrl_c)

__all__ = ['__version__', 'backbones', 'engine']
