"""Keypoints of COCO (17) and COCO-WholeBody (133), and the 114 of them that the 308-keypoint set shares.

The Sapiens paper evaluates its 308-keypoint models on these 114 (Humans-5K): 17 body, 6 foot, 40 hand and 51 face
keypoints. It does not list its 51 face keypoints; docs/keypoints.md explains the choice made here.
"""
import re

import numpy as np

from .goliath import METAINFO_308, mirror_name

__all__ = ['COCO_NAMES', 'COMMON_114', 'COMMON_114_IN_133', 'COMMON_114_IN_308', 'WHOLEBODY_NAMES', 'WHOLEBODY_PARTS']

_PAIRS = [f'{side}_{joint}' for joint in ['eye', 'ear', 'shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle']
          for side in ('left', 'right')]
COCO_NAMES = ('nose', *_PAIRS)
#: Keypoint names of each part of the body, in order.
WHOLEBODY_PARTS = {
    'body': COCO_NAMES,
    'foot': tuple(f'{side}_{tip}' for side in ('left', 'right') for tip in ('big_toe', 'small_toe', 'heel')),
    'face': tuple(f'face-{index}' for index in range(68)),
    **{f'{side}_hand': (f'{side}_hand_root', *(
        f'{side}_{finger}{joint}' for finger in ('thumb', 'forefinger', 'middle_finger', 'ring_finger', 'pinky_finger')
        for joint in range(1, 5))) for side in ('left', 'right')},
}
WHOLEBODY_NAMES = tuple(name for names in WHOLEBODY_PARTS.values() for name in names)


def _inner_face() -> list[str]:
    """Names in the 308-keypoint set of face keypoints 17 to 67.

    Each line of the 68-point face has fewer points than in the 308: the nearest midpoints (eighths of a line) to the
    fractions of its length below, which were measured on COCO-WholeBody's annotations.
    """

    def mirrored(names):  # the other half of a line across the face, from the middle on
        return [mirror_name(name) for name in reversed(names)]

    brow = [f'{point}_of_r_eyebrow'
            for point in ('end', 'upper_midpoint_2', 'upper_midpoint_1', 'upper_midpoint_3', 'upper_startpoint')]
    # At 0, 1/3, 2/3, 1. If the bridge ends at 0.85, its midpoints 2, 1, 3 are at 0.21, 0.43, 0.64.
    bridge = ['center_of_nose_root', 'midpoint_1_of_nose_bridge', 'midpoint_3_of_nose_bridge', 'tip_of_nose']
    nose = ['r_outer_corner_of_nose', 'inner_corner_of_r_nostril']
    # Lids: at 1/3 and 2/3; midpoints 4 and 5 are at 3/8 and 5/8.
    upper_lid = [f'r_{point}_of_upper_lash_line' for point in ('outer_end', 'midpoint_4', 'midpoint_5', 'inner_end')]
    lower_lid = ['r_midpoint_5_of_lower_lash_line', 'r_midpoint_4_of_lower_lash_line']
    # Half a lip, corner to center: at 0.42 and 0.83 (upper outer), 1/3 and 2/3 (lower outer), 1/2 (inner); midpoints
    # 3, 1 and 4 are at 1/4, 1/2 and 3/4.
    upper = ['r_outer_corner_of_mouth', 'midpoint_1_of_upper_outer_lip', 'midpoint_4_of_upper_outer_lip']
    lower = ['midpoint_4_of_lower_outer_lip', 'midpoint_3_of_lower_outer_lip']
    inner = ['r_inner_corner_of_mouth', 'midpoint_1_of_upper_inner_lip']
    lower_inner = ['midpoint_1_of_lower_inner_lip']
    return [*brow, *mirrored(brow), *bridge, *nose, 'bottom_center_of_nose', *mirrored(nose),
            *upper_lid, *lower_lid, *mirrored(upper_lid), *mirrored(lower_lid),
            *upper, 'center_of_cupid_bow', *mirrored(upper), *mirrored(lower), 'center_of_lower_outer_lip', *lower,
            *inner, 'center_of_upper_inner_lip', *mirrored(inner),
            *mirrored(lower_inner), 'center_of_lower_inner_lip', *lower_inner]


def _common() -> list[tuple[str, str]]:
    known = {keypoint['name'] for keypoint in METAINFO_308['keypoint_info'].values()}
    # A first joint of a finger (thumb1, forefinger1, ...) is a third joint of the 308.
    names = {name: re.sub('(?<=thumb|inger)1$', '_third_joint', name) for name in WHOLEBODY_NAMES}
    names |= {f'face-{index}': name for index, name in enumerate(_inner_face(), 17)}
    return [(goliath, name) for name, goliath in names.items() if goliath in known]


#: ``(goliath name, COCO-WholeBody name)`` of the shared keypoints, in the order of COCO-WholeBody.
COMMON_114 = tuple(_common())
_INDEX_308 = {keypoint['name']: index for index, keypoint in METAINFO_308['keypoint_info'].items()}
#: Their indices in either keypoint set.
COMMON_114_IN_308 = np.array([_INDEX_308[name] for name, _ in COMMON_114])
COMMON_114_IN_133 = np.array([WHOLEBODY_NAMES.index(name) for _, name in COMMON_114])
