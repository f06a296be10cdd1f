"""Checks every file of the data sets of a config, and prints what would make a training or a metric wrong.

    python tools/check_dataset.py configs/sapiens_pose/coco/sapiens_0.3b-210e_coco-1024x768.py --out report.json

Exit code: 0 if training on the data is right, 1 if it would be wrong, 2 for wrong arguments, 130 after Ctrl-C.
"""
import argparse
import json
import os
import sys

from mmengine.config import Config, DictAction
from tqdm import tqdm

import sapiens_mm  # noqa: F401  (registers the backbone)
from sapiens_mm.apis.dataset_scan import Scan, scan_config
from sapiens_mm.utils.files import replacing


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config file')
    parser.add_argument('--split', nargs='+', choices=['train', 'val', 'test'],
                        help='data sets to check (default: all of the config)')
    parser.add_argument('--out', help='JSON file for the report')
    parser.add_argument('--workers', type=int, default=2, help='processes that open files (%(default)s)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='override the config')
    args = parser.parse_args()
    if args.workers < 0:
        parser.error(f'--workers: got {args.workers}, expected 0 or more')
    if args.out and not os.path.isdir(os.path.dirname(os.path.abspath(args.out))):
        parser.error(f'--out: got {args.out}, expected a file in a folder that exists')
    return args


def main() -> int:
    args = parse_args()
    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    bar, scan, stopped = None, Scan(), False

    def progress(title: str | None, number: int) -> None:
        nonlocal bar
        if title is None:
            bar.update(number)
        else:
            bar = tqdm(total=number, desc=title, disable=None)

    try:
        for scan in scan_config(cfg, args.split, args.workers, progress):  # noqa: B007  (the last one is printed)
            pass
    except KeyboardInterrupt:
        stopped = True
    except ValueError as error:
        print(f'check_dataset: {error}', file=sys.stderr)
        return 2
    finally:
        if bar is not None:
            bar.close()
    print(scan.table())
    print(f'\n{"stopped" if stopped else "done"} after {scan.files} files: '
          f'{"training on this data would be wrong" if scan.wrong else "nothing makes a training wrong"}')
    if args.out:
        with replacing(args.out) as part, open(part, 'w') as file:
            json.dump(scan.to_json(), file, indent=1)
    return 130 if stopped else int(scan.wrong)


if __name__ == '__main__':
    sys.exit(main())
