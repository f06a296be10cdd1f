"""Keypoints with visibility, boxes and COCO annotations of the people in a rendered image."""
import numpy as np
from xtcocotools import mask as mask_tools

from ..vocabularies.body_parts import PART_IDS
from ..vocabularies.coco import COCO_NAMES
from ..vocabularies.goliath import METAINFO_308
from .camera import Camera
from .landmarks import DEPTH_TOLERANCE, LANDMARK_NAMES, to_coco17, to_wholebody133
from .mesh import Mesh
from .people import Person
from .render import Buffers

#: Visibility of a keypoint, as in COCO: outside of the image (or undefined), occluded, visible.
ABSENT, OCCLUDED, VISIBLE = 0, 1, 2
# Meters of cloth, shoes or hat under which a keypoint counts as visible, as annotators do for hips under trousers. Not
# for the face, which hair covers, nor for hands, which are bare.
_UNDER_CLOTH = 0.035
#: Smallest share of the image that an annotated person covers.
SMALLEST_PERSON = 0.0005
_ADULT_THIGH = 0.4  # meters
_NUM_GOLIATH = len(METAINFO_308['keypoint_info'])
# The 308's face comes last, then COCO-WholeBody's jaw (17) and the roots of the hands (2).
_IS_FACE = np.repeat([False, True, False], [_NUM_GOLIATH - 238, 238 + 17, 2])
_IS_BARE = _IS_FACE | np.array([any(word in name for word in ('finger', 'thumb', 'wrist', 'hand_root'))
                                for name in LANDMARK_NAMES])


def _of_hand(side: str, *words: str) -> np.ndarray:
    return np.array([name.startswith(f'{side.lower()}_') and any(word in name for word in words)
                     for name in LANDMARK_NAMES])


# Keypoints of each hand, and the parts on which they can be visible.
_HANDS = tuple((_of_hand(side, *words), [PART_IDS[part] for part in (f'{side}_Hand', *others)])
               for side in ('Left', 'Right')
               for words, others in ((('finger', 'thumb'), ()),
                                     (('wrist', 'hand_root'), (f'{side}_Lower_Arm', 'Upper_Clothing'))))
_BARE = ('skin', 'eye', 'upper_teeth', 'lower_teeth', 'tongue')
COCO_PARTS = dict(foot=slice(17, 23), face=slice(23, 91), lefthand=slice(91, 112), righthand=slice(112, 133))


def keypoints(person: Person, instance: int, camera: Camera, buffers: Buffers, meshes: list[Mesh]) -> np.ndarray:
    """Returns a person's landmarks, (N, 3) float64: x, y in pixels (0: center of the first) or 0, and visibility.

    A landmark is visible if the first surface at its pixel or beside it is the person's and at most
    :data:`~sapiens_mm.synth.landmarks.DEPTH_TOLERANCE` in front of it (more under clothes).
    """
    uv, z = camera.project(person.landmarks)
    height, width = buffers.depth.shape
    with np.errstate(invalid='ignore'):
        inside = (z > 0) & (uv > -0.5).all(axis=1) & (uv < [width - 0.5, height - 0.5]).all(axis=1)
    out = np.zeros((len(LANDMARK_NAMES), 3))
    out[inside, :2] = uv[inside]
    out[inside, 2] = OCCLUDED
    # Tolerances are an adult's; children have less flesh around their joints.
    thigh = np.linalg.norm(person.body.bone_heads['upperleg01.L'] - person.body.bone_heads['lowerleg01.L'])
    depth = DEPTH_TOLERANCE * min(1., thigh / _ADULT_THIGH)
    cloth = np.array([mesh.name not in _BARE for mesh in meshes] + [False])
    tolerance = depth[:, None] + np.where(_IS_BARE, 0., _UNDER_CLOTH)[:, None] * [[0, 1]]
    indices = np.flatnonzero(inside)
    columns, rows = np.rint(uv[indices]).astype(int).T
    # A pixel at this depth spans this many meters: on a steep surface, the depth beside it differs.
    pixel = z[indices] / camera.intrinsics[0, 0]
    down, across = np.mgrid[-1:2, -1:2].reshape(2, 9, 1)
    y, x = np.clip(rows + down, 0, height - 1), np.clip(columns + across, 0, width - 1)
    gap = z[indices] - buffers.depth[y, x]
    near = gap <= tolerance[indices, cloth[buffers.mesh[y, x]].astype(int)] + pixel
    visible = ((buffers.instance[y, x] == instance) & near).any(axis=0)
    # The pixel itself must be the person's, so that visible keypoints lie in the person's mask.
    visible &= buffers.instance[rows, columns] == instance
    # An object that a hand touches lies within the tolerance, too.
    for is_hand, parts in _HANDS:
        visible &= ~is_hand[indices] | np.isin(buffers.part[rows, columns], parts)
    out[indices[visible], 2] = VISIBLE
    return out


def annotate(person: Person, instance: int, camera: Camera, buffers: Buffers, meshes: list[Mesh]) -> dict | None:
    """Returns a person's ``instance``, ``bbox`` (x, y, w, h of visible pixels), ``area`` (pixels), ``segmentation``
    (COCO's RLE) and ``landmarks`` (N rows of x, y, visibility); None below :data:`SMALLEST_PERSON`.
    """
    mask = buffers.instance == instance
    area = int(mask.sum())
    if area < max(20, SMALLEST_PERSON * mask.size):
        return None
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = [int(xs[0]), int(ys[0]), int(xs[-1] - xs[0] + 1), int(ys[-1] - ys[0] + 1)]
    points = keypoints(person, instance, camera, buffers, meshes)
    runs = mask_tools.encode(np.asfortranarray(mask, np.uint8))
    segmentation = dict(size=list(mask.shape), counts=runs['counts'].decode())
    return dict(instance=instance, bbox=box, area=area, segmentation=segmentation,
                landmarks=np.round(points, 2).tolist())


def _flat(points: np.ndarray) -> list:
    return [int(value) if i % 3 == 2 else float(value) for i, value in enumerate(points.ravel())]


def coco_annotation(common: dict, vocabulary: str) -> dict:
    """Converts an annotation of :func:`annotate` to ``coco``, ``coco_wholebody`` or ``goliath``, without ids."""
    landmarks = np.array(common['landmarks'])
    out = dict(category_id=1, iscrowd=0, **{name: common[name] for name in (
        'bbox', 'area', 'segmentation', 'instance')})
    points = landmarks[:_NUM_GOLIATH] if vocabulary == 'goliath' else to_coco17(landmarks)
    if vocabulary == 'coco_wholebody':
        whole = to_wholebody133(landmarks)
        for part, rows in COCO_PARTS.items():
            part_points = whole[rows]
            out[f'{part}_kpts'] = _flat(part_points)
            out[f'{part}_valid'] = bool((part_points[:, 2] == VISIBLE).any())
            if part != 'foot':
                labeled = np.maximum(part_points[part_points[:, 2] > 0, :2], 0)  # border pixels reach from -0.5 on
                labeled = labeled if len(labeled) else np.zeros((1, 2))
                low, high = labeled.min(axis=0), labeled.max(axis=0)
                out[f'{part}_box'] = [float(value) for value in np.round([*low, *(high - low)], 2)]
    out['keypoints'] = _flat(points)
    out['num_keypoints'] = int((points[:, 2] > 0).sum())
    return out


def category(vocabulary: str) -> dict:
    """Returns COCO's person category with the keypoint names of a vocabulary; see :func:`coco_annotation`."""
    names = LANDMARK_NAMES[:_NUM_GOLIATH] if vocabulary == 'goliath' else COCO_NAMES
    return dict(id=1, name='person', keypoints=list(names))
