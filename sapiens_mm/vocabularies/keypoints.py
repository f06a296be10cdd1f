"""Keypoint sets by name or size, and conversions between them."""
from functools import cache
from typing import Any

from .coco import COCO_NAMES, COMMON_114, WHOLEBODY_NAMES, WHOLEBODY_PARTS
from .goliath import GOLIATH_PARTS, METAINFO_308

__all__ = [
    'HALPE_26', 'KEYPOINT_NAMES', 'OPENPOSE_18', 'OPENPOSE_25', 'TARGETS', 'convert_keypoints', 'get_parts',
    'get_vocabulary'
]

_ARMS = 'right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist'
_LEGS = 'right_hip right_knee right_ankle left_hip left_knee left_ankle'
_HEAD = 'right_eye left_eye right_ear left_ear'
_FEET = 'left_big_toe left_small_toe left_heel right_big_toe right_small_toe right_heel'
#: Names of OpenPose's COCO and BODY_25 outputs, in order.
OPENPOSE_18 = tuple(f'nose neck {_ARMS} {_LEGS} {_HEAD}'.split())
OPENPOSE_25 = tuple(f'nose neck {_ARMS} mid_hip {_LEGS} {_HEAD} {_FEET}'.split())
#: Names of Halpe's 26 body keypoints, in order; `head` is the top of the head.
HALPE_26 = (*COCO_NAMES, 'head', 'neck', 'hip', *(
    f'{side}_{tip}' for tip in ('big_toe', 'small_toe', 'heel') for side in ('left', 'right')))
#: Keypoint names, in order, by keypoint set.
KEYPOINT_NAMES = {
    'coco': COCO_NAMES, 'coco_wholebody': WHOLEBODY_NAMES,
    'goliath': tuple(keypoint['name'] for keypoint in METAINFO_308['keypoint_info'].values()),
    'halpe26': HALPE_26, 'openpose18': OPENPOSE_18, 'openpose25': OPENPOSE_25,
}

# OpenPose defines its neck and mid hip as midpoints of COCO's shoulders and hips, and programs that read its keypoints
# rely on that. Goliath's neck is another point.
_MIDPOINTS = {'neck': ('left_shoulder', 'right_shoulder'), 'mid_hip': ('left_hip', 'right_hip'),
              'hip': ('left_hip', 'right_hip')}
# Goliath has no hand roots, and of the jaw line only the lowest point.
_GOLIATH_NAMES = {
    **{name: goliath for goliath, name in COMMON_114}, 'left_hand_root': 'left_wrist', 'right_hand_root': 'right_wrist',
    'face-8': 'tip_of_chin'
}
#: Keypoint set -> those to which :func:`convert_keypoints` converts it.
TARGETS = {
    'coco': ('halpe26', 'openpose18', 'openpose25'),
    'coco_wholebody': ('coco', 'halpe26', 'openpose18', 'openpose25'),
    'goliath': ('coco', 'coco_wholebody', 'halpe26', 'openpose18', 'openpose25'),
}


def get_vocabulary(name: str | int) -> str:
    """Returns the name of a keypoint set from its name or size; a ValueError if it is unknown."""
    sizes = {len(KEYPOINT_NAMES[vocabulary]): vocabulary for vocabulary in TARGETS}
    vocabulary = sizes.get(name, name)
    if vocabulary not in TARGETS:
        known = ', '.join(f"'{vocabulary}' ({size})" for size, vocabulary in sizes.items())
        raise ValueError(f'keypoint set: got {name!r}, expected one of {known}')
    return vocabulary


def get_parts(name: str | int) -> dict[str, list[str]]:
    """Returns the keypoint names of each part of the body, ``{part: [name, ...]}``; empty for the 17 of COCO."""
    parts = {'goliath': GOLIATH_PARTS, 'coco_wholebody': WHOLEBODY_PARTS}.get(get_vocabulary(name), {})
    return {part: list(names) for part, names in parts.items()}


@cache
def _sources(src: str, dst: str) -> tuple[list, list, list]:
    """Indices of the two source keypoints whose midpoint each target keypoint is, and of the targets without source."""
    index = {name: position for position, name in enumerate(KEYPOINT_NAMES[src])}
    first, second, missing = [], [], []
    for target, name in enumerate(KEYPOINT_NAMES[dst]):
        pair = _MIDPOINTS.get(name) or (_GOLIATH_NAMES.get(name, name) if src == 'goliath' else name, ) * 2
        if not all(source in index for source in pair):
            missing.append(target)
            pair = ('nose', 'nose')
        first.append(index[pair[0]])
        second.append(index[pair[1]])
    return first, second, missing


def convert_keypoints(keypoints: Any, scores: Any, src: str | int, dst: str | int) -> tuple[Any, Any]:
    """Converts keypoints, numpy arrays or torch tensors, to another keypoint set.

    Goliath converts to COCO-WholeBody, and both to COCO; all three to Halpe and OpenPose. The neck and (mid) hip of
    Halpe and OpenPose are the midpoints of shoulders and hips, with the lower of both scores.

    Args:
        keypoints: Coordinates in any unit, (..., K, 2) or (..., K, 3).
        scores: (..., K).
        src: Keypoint set of ``keypoints``: ``'coco'``, ``'coco_wholebody'``, ``'goliath'``, or its size: 17, 133, 308.
        dst: Keypoint set to return: one of these, ``'halpe26'``, ``'openpose18'`` or ``'openpose25'``.

    Returns coordinates (..., K', 2 or 3) and scores (..., K'); a keypoint that the source lacks is NaN with score 0.
    Raises a ValueError if the conversion is not supported, or the shapes do not fit ``src`` or each other.
    """
    src = get_vocabulary(src)
    dst = dst if dst in KEYPOINT_NAMES else get_vocabulary(dst)
    if dst not in TARGETS[src]:
        raise ValueError(f"dst: got '{dst}', but '{src}' keypoints convert to {', '.join(TARGETS[src])}")
    size = len(KEYPOINT_NAMES[src])
    if keypoints.ndim < 2 or keypoints.shape[-2] != size or keypoints.shape[-1] not in (2, 3):
        raise ValueError(f"'{src}' keypoints: got shape {tuple(keypoints.shape)}, expected (..., {size}, 2 or 3)")
    if scores.shape != keypoints.shape[:-1]:
        raise ValueError(f'scores: got shape {tuple(scores.shape)}, expected {tuple(keypoints.shape[:-1])}')

    first, second, missing = _sources(src, dst)
    converted = (keypoints[..., first, :] + keypoints[..., second, :]) / 2
    converted_scores, others = scores[..., first], scores[..., second]
    lower = (others < converted_scores) | (others != others)  # a minimum that arrays and tensors both have
    converted_scores[lower] = others[lower]
    converted[..., missing, :] = float('nan')
    converted_scores[..., missing] = 0
    return converted, converted_scores
