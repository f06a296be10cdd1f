"""Draws samples of a config's data set: as annotated, and beside that as the model gets them after the pipeline.

    python tools/browse_dataset.py configs/sapiens_pose/coco/sapiens_tiny-210e_coco-256x192.py --number 16
"""
import argparse
import os
import os.path as osp
import sys

import cv2
from mmengine.config import Config, DictAction

import sapiens_mm  # noqa: F401  (registers the backbone)
from sapiens_mm.apis.dataset_browser import browse
from sapiens_mm.visualization.sheet import sheet


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config file')
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='train', help='(%(default)s)')
    parser.add_argument('--output-dir', help='folder for the images (default: work_dirs/<config name>/browse)')
    parser.add_argument('--number', type=int, default=16, help='samples, spread evenly over the data set (%(default)s)')
    parser.add_argument('--start', type=int, default=0, help='first sample (%(default)s)')
    parser.add_argument('--mode', choices=['both', 'annotated', 'transformed'], default='both',
                        help='as on the disk, after the pipeline, or both side by side (%(default)s)')
    parser.add_argument('--sheet', action='store_true', help='one contact sheet, sheet.jpg, instead of a file each')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='override the config')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    name = osp.splitext(osp.basename(args.config))[0]
    folder = args.output_dir or osp.join('work_dirs', name, 'browse')
    os.makedirs(folder, exist_ok=True)
    panels = {}
    try:
        for name, panel in browse(cfg, args.split, args.number, args.start, args.mode != 'transformed',
                                  args.mode != 'annotated'):
            panels[name] = panel if args.sheet else None
            if not args.sheet:
                cv2.imwrite(osp.join(folder, f'{name}.jpg'), panel[..., ::-1])
    except (OSError, ValueError) as error:
        print(f'browse_dataset: {error}', file=sys.stderr)
        return 2
    if args.sheet and panels:
        untitled = {' ' * i: panel for i, panel in enumerate(panels.values())}  # each has its title already
        cv2.imwrite(osp.join(folder, 'sheet.jpg'), sheet(untitled)[..., ::-1])
    print(f'{len(panels)} samples drawn in {folder}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
