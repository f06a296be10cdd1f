"""Draws samples of a config's dataset as annotated, each beside the model's input after the pipeline.

    python tools/browse_dataset.py configs/sapiens_pose/coco/sapiens_tiny-210e_coco-256x192.py --number 16
"""
import argparse
import os
import os.path as osp
import sys

import cv2
import numpy as np
from mmengine.config import DictAction

import sapiens_mm  # noqa: F401  (registers the backbone)
from sapiens_mm.apis.dataset_browser import browse
from sapiens_mm.engine import load_config
from sapiens_mm.visualization.sheet import sheet


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config file')
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='train', help='(%(default)s)')
    parser.add_argument('--output-dir', help='folder for the images (default: work_dirs/<config name>/browse)')
    parser.add_argument('--number', type=int, default=16,
                        help='number of samples, spread evenly over the dataset (%(default)s)')
    parser.add_argument('--mode', choices=['both', 'original', 'transformed'], default='both',
                        help='as annotated, after the pipeline, or both side by side (%(default)s)')
    parser.add_argument('--sheet', action='store_true', help='one contact sheet, sheet.jpg, instead of a file each')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='override the config')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    folder = args.output_dir or osp.join('work_dirs', osp.splitext(osp.basename(args.config))[0], 'browse')
    panels = {}
    try:
        cfg = load_config(args.config, args.cfg_options)
        os.makedirs(folder, exist_ok=True)
        for name, panel in browse(cfg, args.split, args.number, args.mode):
            panels[name] = panel if args.sheet else None
            if not args.sheet:
                save(panel, osp.join(folder, f'{name}.jpg'))
        if args.sheet and panels:
            save(sheet(('', panel) for panel in panels.values()), osp.join(folder, 'sheet.jpg'))  # they have titles
    except (OSError, ValueError, ImportError, SyntaxError, KeyError) as error:
        print(f'browse_dataset: {error}', file=sys.stderr)
        return 2
    print(f'{len(panels)} samples drawn in {folder}')
    return 0


def save(image: np.ndarray, path: str) -> None:
    """Writes an image (H, W, 3) RGB; raises OSError where that fails."""
    if not cv2.imwrite(path, image[..., ::-1]):
        raise OSError(f'{path}: the image cannot be written; check the folder')


if __name__ == '__main__':
    sys.exit(main())
