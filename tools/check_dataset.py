"""Checks every file of the datasets of a config, and prints problems and statistics.

    python tools/check_dataset.py configs/sapiens_pose/coco/sapiens_0.3b-210e_coco-1024x768.py --out report.json

Exit code: 0 without errors, 1 with errors that would break or bias training or evaluation, 2 for wrong arguments, 130
after Ctrl-C.
"""
import argparse
import json
import os
import sys
from collections.abc import Callable

from mmengine.config import DictAction
from tqdm import tqdm

import sapiens_mm  # noqa: F401  (registers the backbone)
from sapiens_mm.apis.dataset_scan import Scan, scan_config
from sapiens_mm.engine import load_config
from sapiens_mm.utils.files import replacing


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config file')
    parser.add_argument('--split', nargs='+', choices=['train', 'val', 'test'],
                        help='datasets to check (default: all of the config)')
    parser.add_argument('--out', help='JSON file for the report')
    parser.add_argument('--workers', type=int, default=2, help='processes that open files (%(default)s)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='override the config')
    args = parser.parse_args()
    if args.workers < 0:
        parser.error(f'--workers: got {args.workers}, expected 0 or more')
    if args.out and not os.path.isdir(os.path.dirname(os.path.abspath(args.out))):
        parser.error(f'--out: got {args.out}, expected a file in an existing folder')
    return args


def show_progress(title: str, items: int) -> Callable[[], None]:
    """Starts the progress bar of a dataset and returns the function that advances it."""
    bar, done = tqdm(total=items, desc=title, disable=None), 0

    def advance() -> None:
        nonlocal done
        done += 1
        bar.update()
        if done == items:
            bar.close()

    return advance


def main() -> int:
    args, scan, stopped = parse_args(), Scan(), False
    try:
        cfg = load_config(args.config, args.cfg_options)
        scan_config(cfg, scan, args.split, args.workers, show_progress)
    except KeyboardInterrupt:
        stopped = True
    except (OSError, ValueError, ImportError, SyntaxError, KeyError) as error:
        print(f'check_dataset: {error}', file=sys.stderr)
        return 2
    print(scan.table())
    print(f'\n{"stopped" if stopped else "done"} after {scan.files} files: '
          f'{"errors found" if scan.wrong else "no errors"}')
    if args.out:
        with replacing(args.out) as part, open(part, 'w') as file:
            json.dump(scan.to_json(), file, indent=1)
    return 130 if stopped else int(scan.wrong)


if __name__ == '__main__':
    sys.exit(main())
