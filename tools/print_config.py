"""Prints a config with its bases and options resolved.

    python tools/print_config.py configs/sapiens_pose/coco/sapiens_1b-210e_coco-1024x768.py
"""
import argparse

from mmengine.config import DictAction

from sapiens_mm.engine import load_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='override the config: key=value or nested.key=[a,b]')
    args = parser.parse_args()
    print(load_config(args.config, args.cfg_options).pretty_text)


if __name__ == '__main__':
    main()
