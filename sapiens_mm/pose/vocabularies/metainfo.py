"""The vocabularies by name, parsed for mmpose, and the parts of the body that metrics report."""
import copy
from functools import cache
from pathlib import Path

import mmpose
from mmpose.datasets.datasets.utils import parse_pose_metainfo

from sapiens_mm.vocabularies.goliath import GOLIATH_PARTS, METAINFO_308

__all__ = ['METAINFO_17', 'METAINFO_133', 'get_metainfo', 'get_parts', 'get_vocabulary']


def _mmpose_metainfo(name: str) -> dict:
    """METAINFO that reads a file of mmpose's by its full path.

    The relative path in mmpose's own datasets is tried in the working folder first, where a project's file of the same
    name, such as a dataset config of ours, would be taken for it.
    """
    package = Path(mmpose.__file__).parent
    # Installed wheels carry the configs in .mim, a checkout (pip install -e) has them beside the package.
    root = package / '.mim' if (package / '.mim' / 'configs').is_dir() else package.parent
    return {'from_file': str(root / 'configs' / '_base_' / 'datasets' / name)}


METAINFO_17 = _mmpose_metainfo('coco.py')
METAINFO_133 = _mmpose_metainfo('coco_wholebody.py')

_METAINFO = {'coco': METAINFO_17, 'coco_wholebody': METAINFO_133, 'goliath': METAINFO_308}
_BY_SIZE = {17: 'coco', 133: 'coco_wholebody', 308: 'goliath'}
_WHOLEBODY_PARTS = {
    'body': slice(0, 17),
    'foot': slice(17, 23),
    'face': slice(23, 91),
    'left_hand': slice(91, 112),
    'right_hand': slice(112, 133),
}


def get_vocabulary(name: str | int) -> str:
    """The name of a vocabulary, given its name or its number of keypoints.

    Raises:
        ValueError: If there is no such vocabulary.
    """
    vocabulary = _BY_SIZE.get(name, name)
    if vocabulary not in _METAINFO:
        known = ', '.join(f"'{known}' ({size})" for size, known in _BY_SIZE.items())
        raise ValueError(f'unknown keypoint vocabulary {name!r}: expected one of {known}')
    return vocabulary


@cache
def _parse(vocabulary: str) -> dict:
    return parse_pose_metainfo(copy.deepcopy(_METAINFO[vocabulary]))


def get_metainfo(name: str | int) -> dict:
    """Metainfo of a vocabulary as mmpose's datasets hold it.

    Args:
        name: ``'coco'``, ``'coco_wholebody'``, ``'goliath'``, or the number of its keypoints: 17, 133, 308.

    Returns:
        The fields of mmpose's ``parse_pose_metainfo``: ``num_keypoints``, ``keypoint_id2name``, ``flip_indices``,
        ``sigmas`` and so on. A copy, free to be changed.
    """
    return copy.deepcopy(_parse(get_vocabulary(name)))


def get_parts(name: str | int) -> dict:
    """Keypoint names of each part of the body, ``{part: [name, ...]}``; empty for the 17 COCO keypoints."""
    vocabulary = get_vocabulary(name)
    if vocabulary == 'goliath':
        return copy.deepcopy(GOLIATH_PARTS)
    if vocabulary == 'coco_wholebody':
        names = list(_parse(vocabulary)['keypoint_name2id'])
        return {part: names[indices] for part, indices in _WHOLEBODY_PARTS.items()}
    return {}
