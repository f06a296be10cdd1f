"""Metainfo of the keypoint sets in mmpose's format."""
import copy
from functools import cache
from pathlib import Path

import mmpose
from mmpose.datasets.datasets.utils import parse_pose_metainfo

from ..vocabularies.goliath import METAINFO_308
from ..vocabularies.keypoints import get_vocabulary

__all__ = ['METAINFO_17', 'METAINFO_133', 'METAINFO_308', 'get_metainfo']


def _mmpose_metainfo(name: str) -> dict:
    # By its full path: mmpose looks in the working directory first, where a config may have the same name.
    package = Path(mmpose.__file__).parent
    # An installed wheel keeps its configs in .mim, an editable install beside the package.
    root = package / '.mim' if (package / '.mim' / 'configs').is_dir() else package.parent
    return {'from_file': str(root / 'configs' / '_base_' / 'datasets' / name)}


METAINFO_17 = _mmpose_metainfo('coco.py')
METAINFO_133 = _mmpose_metainfo('coco_wholebody.py')
_METAINFO = {'coco': METAINFO_17, 'coco_wholebody': METAINFO_133, 'goliath': METAINFO_308}


@cache
def _parse(vocabulary: str) -> dict:
    return parse_pose_metainfo(copy.deepcopy(_METAINFO[vocabulary]))


def get_metainfo(name: str | int) -> dict:
    """Returns a copy of mmpose's metainfo of ``'coco'`` (or 17), ``'coco_wholebody'`` (133), ``'goliath'`` (308)."""
    return copy.deepcopy(_parse(get_vocabulary(name)))
