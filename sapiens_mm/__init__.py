"""Sapiens human vision models for MMEngine, mmpose, mmsegmentation and mmdet.

Importing the package registers backbones, checkpoint reader, optimizer constructor and hooks in MMEngine's root
registries, for every host. Import ``sapiens_mm.pose`` for mmpose and ``sapiens_mm.dense`` for mmsegmentation.
"""
import os
import signal
import sys

from .version import __version__, require

_at_ctrl_c = None
# __main__ runs after this, too late for --help and Ctrl-C. Until then Python has '-m' for the module in sys.argv.
if sys.argv[:1] == ['-m'] and sys.orig_argv[-len(sys.argv)] == 'sapiens_mm':
    from sapiens_mm_cli import end_at_ctrl_c, parse_without_torch
    parse_without_torch(sys.argv[1:])
    _at_ctrl_c = end_at_ctrl_c()

# By default torch's idle threads spin for milliseconds after each operation; where more threads run than there are
# cores, they hold up those that work. OpenMP reads this when torch is imported.
if 'OMP_WAIT_POLICY' not in os.environ:
    os.environ.setdefault('GOMP_SPINCOUNT', '1000')

for package in ('torch', 'mmengine', 'mmcv'):
    require(package)
del package

from . import backbones, engine  # noqa: E402
from .utils.host_imports import spare_mmpretrain  # noqa: E402

spare_mmpretrain()

if _at_ctrl_c is not None:
    signal.signal(signal.SIGINT, _at_ctrl_c)

__all__ = ['__version__', 'backbones', 'engine']
