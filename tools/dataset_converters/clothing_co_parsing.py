"""Converts Clothing Co-Parsing (CCP) to indexed images of the 28 body parts (docs/datasets.md).

    python tools/dataset_converters/clothing_co_parsing.py clothing-co-parsing data/ccp

`clothing_co_parsing.csv` has the part of each of its classes; --map takes your own. The same command continues an
interrupted run.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from run_arguments import convert_to_parts  # noqa: E402

from sapiens_mm.converters import convert_ccp  # noqa: E402


def main(argv=None) -> int:
    return convert_to_parts(convert_ccp, __file__, __doc__, 'folder of label_list.mat, annotations/ and photos/', argv)


if __name__ == '__main__':
    sys.exit(main())
