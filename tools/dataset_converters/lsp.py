"""Converts Leeds Sports Pose, its extension LSPET, and PARSE to COCO files of 17 keypoints (docs/datasets.md).

    python tools/dataset_converters/lsp.py LSPET_FOLDER LSP_FOLDER PARSE_FOLDER data/lsp

The same command continues an interrupted run.
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from run_arguments import run_conversion  # noqa: E402

from sapiens_mm.converters import convert_lsp  # noqa: E402


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folders', nargs='+', help='folders of the sets, one to three in any order: each with '
                        'joints.mat and images/ (LSPET, LSP), or with labels.mat and its images (PARSE)')
    parser.add_argument('out', help='folder for images and annotations')
    return parser.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)

    def convert(progress):
        for name, count in convert_lsp(args.folders, args.out, progress).items():
            print(f'{name}: {count} persons')

    return run_conversion(convert)


if __name__ == '__main__':
    sys.exit(main())
