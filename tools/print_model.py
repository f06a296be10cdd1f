"""Prints parameters, multiply-adds and activation memory of a config's model, without allocating any weights.

    python tools/print_model.py configs/sapiens_pose/coco/sapiens_2b-210e_coco-1024x768.py
"""
import argparse

from mmengine.config import DictAction

import sapiens_mm  # noqa: F401  (registers the backbone)
from sapiens_mm.engine import load_config
from sapiens_mm.engine.profile import profile_model


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config file')
    parser.add_argument('--shape', nargs=2, type=int, metavar=('H', 'W'),
                        help='image size (default: the img_size of the backbone)')
    parser.add_argument('--batch', type=int, default=1, help='batch size')
    parser.add_argument('--amp', action='store_true', help='count activations under bfloat16 autocast')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='override the config')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options)
    print(profile_model(cfg, shape=args.shape, batch=args.batch, amp=args.amp))


if __name__ == '__main__':
    main()
