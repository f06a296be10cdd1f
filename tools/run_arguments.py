"""Command-line arguments and config reading of several tools."""
import argparse
import functools
import os
import os.path as osp
import sys
from collections.abc import Callable

from mmengine.config import Config, DictAction
from tqdm import tqdm

from sapiens_mm.engine import load_config
from sapiens_mm.utils.shards import parse_shard
from sapiens_mm.utils.text import some


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of every tool that starts a run."""
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints (default: work_dirs/<config name>)')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='override the config: key=value or nested.key=[a,b]')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by the launcher')


def add_shard_argument(parser: argparse.ArgumentParser, what: str) -> None:
    """Adds ``--shard I/N``, parsed to a tuple ``(I, N)``, by default ``(0, 1)``; ``what`` is its help."""
    parser.add_argument('--shard', type=_shard, default=(0, 1), metavar='I/N', help=what)


def _shard(text: str) -> tuple[int, int]:
    try:
        return parse_shard(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def read_config(args: argparse.Namespace) -> Config:
    """Returns the config given by the arguments of :func:`add_run_arguments`, with their changes."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    # Some configs depend on it, and only torchrun sets it.
    os.environ.setdefault('WORLD_SIZE', os.environ.get('SLURM_NTASKS', '1') if args.launcher == 'slurm' else '1')
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    name = osp.splitext(osp.basename(args.config))[0]
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or osp.join('work_dirs', name)
    return cfg


def run_conversion(convert: Callable) -> int:
    """Calls a converter with a progress bar, prints an error in one line, and returns the exit code."""
    try:
        convert(functools.partial(tqdm, disable=None))
    except (ImportError, OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted: finished files are kept, the same command continues', file=sys.stderr)
        return 130
    return 0


def convert_to_parts(convert: Callable, script: str, documentation: str, source: str, argv=None) -> int:
    """Runs a converter of ``sapiens_mm.converters.parts``, whose table, if any, is beside its ``script``."""
    parser = argparse.ArgumentParser(description=documentation.splitlines()[0])
    parser.add_argument('source', help=source)
    parser.add_argument('out', help='folder for images, masks, parts if labeled, and lists')
    table = osp.splitext(script)[0] + '.csv'
    if osp.exists(table):
        parser.add_argument('--map', default=table, metavar='CSV',
                            help='table of a part, or "ignored", for each class (default: %(default)s)')
    args = parser.parse_args(argv)

    def run(progress):
        tables = [args.map] if 'map' in args else []
        counts, empty = convert(args.source, args.out, *tables, progress)
        print(', '.join(f'{name}.txt: {count} samples' for name, count in counts.items()))
        if empty:
            print(f'left out, as no pixel is a person: {some(empty)}')

    return run_conversion(run)
