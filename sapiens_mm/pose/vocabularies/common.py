"""The 114 keypoints that goliath and COCO-WholeBody share: 17 body, 6 foot, 40 hand and 51 face keypoints.

They are what the Sapiens paper measures its 308-keypoint models on (Humans-5K). Body, feet and hands correspond by
name. The paper doesn't list its 51 face keypoints; docs/keypoints.md explains this choice.
"""
import re

import numpy as np

from sapiens_mm.vocabularies.goliath import METAINFO_308, mirror_name

from .metainfo import get_metainfo

__all__ = ['COMMON_114', 'COMMON_114_IN_133', 'COMMON_114_IN_308']

# Names by index in the 68-point face, midline and right half. It has fewer points on a line than goliath and has them
# elsewhere: at the fractions of a line's length given below, measured on COCO-WholeBody's annotations. The nearest of
# goliath's midpoints, which divide a line into eighths, is taken.
_FACE_MIDLINE = {
    # Root to tip of the nose: at 0, 1/3, 2/3, 1. If the bridge ends at 0.85, midpoints 2, 1, 3 are at 0.21, 0.43, 0.64.
    27: 'center_of_nose_root',
    28: 'midpoint_1_of_nose_bridge',
    29: 'midpoint_3_of_nose_bridge',
    30: 'tip_of_nose',
    33: 'bottom_center_of_nose',
    51: 'center_of_cupid_bow',
    57: 'center_of_lower_outer_lip',
    62: 'center_of_upper_inner_lip',
    66: 'center_of_lower_inner_lip',
}
_FACE_RIGHT = {
    17: 'end_of_r_eyebrow',
    18: 'upper_midpoint_2_of_r_eyebrow',
    19: 'upper_midpoint_1_of_r_eyebrow',
    20: 'upper_midpoint_3_of_r_eyebrow',
    21: 'upper_startpoint_of_r_eyebrow',
    31: 'r_outer_corner_of_nose',
    32: 'inner_corner_of_r_nostril',
    # Lids: at 1/3 and 2/3; midpoints 4 and 5 are at 3/8 and 5/8.
    36: 'r_outer_end_of_upper_lash_line',
    37: 'r_midpoint_4_of_upper_lash_line',
    38: 'r_midpoint_5_of_upper_lash_line',
    39: 'r_inner_end_of_upper_lash_line',
    40: 'r_midpoint_5_of_lower_lash_line',
    41: 'r_midpoint_4_of_lower_lash_line',
    # Half a lip, corner to centre: at 0.42 and 0.83 (upper outer), 1/3 and 2/3 (lower outer), 1/2 (inner); midpoints
    # 3, 1 and 4 are at 1/4, 1/2 and 3/4.
    48: 'r_outer_corner_of_mouth',
    49: 'midpoint_1_of_upper_outer_lip',
    50: 'midpoint_4_of_upper_outer_lip',
    58: 'midpoint_4_of_lower_outer_lip',
    59: 'midpoint_3_of_lower_outer_lip',
    60: 'r_inner_corner_of_mouth',
    61: 'midpoint_1_of_upper_inner_lip',
    67: 'midpoint_1_of_lower_inner_lip',
}
_METAINFO_133 = get_metainfo('coco_wholebody')
_INDEX_133 = _METAINFO_133['keypoint_name2id']
_INDEX_308 = {keypoint['name']: index for index, keypoint in METAINFO_308['keypoint_info'].items()}


def _goliath_names() -> dict:
    """Goliath name of each COCO-WholeBody keypoint that has one: the jaw and the roots of the hands have none."""
    # The knuckles, thumb1, forefinger1 and so on, are goliath's third joints.
    names = {name: re.sub('(?<=thumb|inger)1$', '_third_joint', name) for name in _INDEX_133}
    for index, name in (_FACE_MIDLINE | _FACE_RIGHT).items():
        names[f'face-{index}'] = name
        mirrored = _METAINFO_133['flip_indices'][_INDEX_133[f'face-{index}']]
        names[_METAINFO_133['keypoint_id2name'][mirrored]] = mirror_name(name)
    return {name: goliath for name, goliath in names.items() if goliath in _INDEX_308}


#: ``(goliath name, COCO-WholeBody name)`` of the shared keypoints, in the order of COCO-WholeBody.
COMMON_114 = tuple((goliath, name) for name, goliath in _goliath_names().items())
#: Their indices in either vocabulary.
COMMON_114_IN_308 = np.array([_INDEX_308[name] for name, _ in COMMON_114])
COMMON_114_IN_133 = np.array([_INDEX_133[name] for _, name in COMMON_114])
