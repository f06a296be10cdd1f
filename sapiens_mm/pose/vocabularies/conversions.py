"""Keypoints of one vocabulary expressed in another."""
from functools import cache
from typing import TypeVar

import numpy as np
import torch

from .common import COMMON_114
from .metainfo import get_metainfo, get_vocabulary

__all__ = ['OPENPOSE_18', 'OPENPOSE_25', 'convert_keypoints']

Array = TypeVar('Array', np.ndarray, torch.Tensor)

_ARMS = 'right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist'
_LEGS = 'right_hip right_knee right_ankle left_hip left_knee left_ankle'
_HEAD = 'right_eye left_eye right_ear left_ear'
_FEET = 'left_big_toe left_small_toe left_heel right_big_toe right_small_toe right_heel'
#: Names of OpenPose's COCO and BODY_25 outputs, in order.
OPENPOSE_18 = tuple(f'nose neck {_ARMS} {_LEGS} {_HEAD}'.split())
OPENPOSE_25 = tuple(f'nose neck {_ARMS} mid_hip {_LEGS} {_HEAD} {_FEET}'.split())

# OpenPose defines its neck and mid hip as the midpoints of COCO's shoulders and hips, and whoever reads its keypoints
# counts on that. So goliath's own neck, which is another point, isn't used.
_MIDPOINTS = {'neck': ('left_shoulder', 'right_shoulder'), 'mid_hip': ('left_hip', 'right_hip')}
# Goliath has no root of the hand and no jaw line except for its lowest point.
_GOLIATH_NAMES = {
    **{name: goliath for goliath, name in COMMON_114}, 'left_hand_root': 'left_wrist', 'right_hand_root': 'right_wrist',
    'face-8': 'tip_of_chin'
}

_OPENPOSE = {'openpose18': OPENPOSE_18, 'openpose25': OPENPOSE_25}
_TARGETS = {
    'coco': ('openpose18', 'openpose25'),
    'coco_wholebody': ('coco', 'openpose18', 'openpose25'),
    'goliath': ('coco', 'coco_wholebody', 'openpose18', 'openpose25'),
}


@cache
def _sources(src: str, dst: str) -> tuple[list, list, list]:
    """Indices of the two source keypoints whose midpoint each target keypoint is, and of the targets without source."""
    index = get_metainfo(src)['keypoint_name2id']
    names = _OPENPOSE.get(dst) or get_metainfo(dst)['keypoint_name2id']
    first, second, missing = [], [], []
    for target, name in enumerate(names):
        pair = _MIDPOINTS.get(name) or (_GOLIATH_NAMES.get(name, name) if src == 'goliath' else name, ) * 2
        if not all(source in index for source in pair):
            missing.append(target)
            pair = ('nose', 'nose')
        first.append(index[pair[0]])
        second.append(index[pair[1]])
    return first, second, missing


def convert_keypoints(keypoints: Array, scores: Array, src: str | int, dst: str | int) -> tuple[Array, Array]:
    """Express keypoints of one vocabulary in another.

    Goliath converts to COCO, COCO-WholeBody and OpenPose, COCO-WholeBody to COCO and OpenPose, COCO to OpenPose.
    OpenPose's neck and mid hip are the midpoints of shoulders and hips, with the lower of both scores.

    Args:
        keypoints: Coordinates in any unit, shape (..., K, 2) or (..., K, 3).
        scores: Their scores, shape (..., K).
        src: The vocabulary of ``keypoints``: ``'coco'``, ``'coco_wholebody'``, ``'goliath'``, or its size:
            17, 133, 308.
        dst: The vocabulary wanted: one of these, ``'openpose18'`` or ``'openpose25'``.

    Returns:
        Coordinates, shape (..., K', 2 or 3), and scores, shape (..., K'), arrays or tensors as they came in. A
        keypoint that the source doesn't have is at NaN with a score of 0.

    Raises:
        ValueError: If there is no such conversion, or if the shapes don't fit ``src`` or each other.
    """
    src = get_vocabulary(src)
    dst = dst if dst in _OPENPOSE else get_vocabulary(dst)
    if dst not in _TARGETS[src]:
        raise ValueError(f"cannot convert '{src}' keypoints to '{dst}': '{src}' converts to {', '.join(_TARGETS[src])}")
    size = get_metainfo(src)['num_keypoints']
    if keypoints.ndim < 2 or keypoints.shape[-2] != size or keypoints.shape[-1] not in (2, 3):
        raise ValueError(f"'{src}' keypoints have shape (..., {size}, 2 or 3), got {tuple(keypoints.shape)}")
    if scores.shape != keypoints.shape[:-1]:
        raise ValueError(f'scores should have shape {tuple(keypoints.shape[:-1])} to go with keypoints of shape '
                         f'{tuple(keypoints.shape)}, got {tuple(scores.shape)}')

    first, second, missing = _sources(src, dst)
    minimum = torch.minimum if torch.is_tensor(scores) else np.minimum
    converted = (keypoints[..., first, :] + keypoints[..., second, :]) / 2
    converted_scores = minimum(scores[..., first], scores[..., second])
    converted[..., missing, :] = float('nan')
    converted_scores[..., missing] = 0
    return converted, converted_scores
