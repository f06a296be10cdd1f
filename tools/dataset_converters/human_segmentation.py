"""Converts the Human Segmentation Dataset to masks of persons (docs/datasets.md).

    python tools/dataset_converters/human_segmentation.py Human-Segmentation-Dataset data/persons

The same command continues an interrupted run.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from run_arguments import convert_to_parts  # noqa: E402

from sapiens_mm.converters import convert_human_segmentation  # noqa: E402


def main(argv=None) -> int:
    return convert_to_parts(convert_human_segmentation, __file__, __doc__,
                            'folder of Ground_Truth/ and Training_Images/', argv)


if __name__ == '__main__':
    sys.exit(main())
