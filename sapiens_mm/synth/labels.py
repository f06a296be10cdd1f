"""Labels of the people in a rendered image: keypoints with visibility, boxes, and the annotations of COCO's formats."""
import numpy as np
from xtcocotools import mask as mask_tools

from sapiens_mm.vocabularies.body_parts import PART_IDS
from sapiens_mm.vocabularies.goliath import METAINFO_308

from .camera import Camera
from .landmarks import DEPTH_TOLERANCE, LANDMARK_NAMES, WHOLEBODY_SOURCES, to_coco17, to_wholebody133
from .mesh import Mesh
from .people import Person
from .render import Buffers

#: Visibility of a keypoint, as in COCO: outside of the image (or undefined), occluded, visible.
ABSENT, OCCLUDED, VISIBLE = 0, 1, 2
# Cloth, shoes and hats lie on the body: what is this far (metres) under them counts as seen, as annotators do for hips
# under trousers and toes in shoes. It does not hold for the face, which hair covers, nor for hands, which are bare.
_UNDER_CLOTH = 0.035
#: Persons with fewer visible pixels than this share of the image are not annotated.
SMALLEST_PERSON = 0.0005
_ADULT_THIGH = 0.4  # metres
_NUM_GOLIATH = len(METAINFO_308['keypoint_info'])
# The 308's face comes last, then COCO-WholeBody's jaw (17) and the roots of the hands (2).
_IS_FACE = np.repeat([False, True, False], [_NUM_GOLIATH - 238, 238 + 17, 2])
_IS_BARE = _IS_FACE | np.array([any(word in name for word in ('finger', 'thumb', 'wrist', 'hand_root'))
                                for name in LANDMARK_NAMES])
# Names of each hand's points, and what they are seen on.
_HANDS = tuple(
    (np.array([name.startswith(f'{side.lower()}_') and any(word in name for word in words) for name in LANDMARK_NAMES]),
     [PART_IDS[part] for part in (f'{side}_Hand', *others)])
    for side in ('Left', 'Right') for words, others in ((('finger', 'thumb'), ()), (
        ('wrist', 'hand_root'), (f'{side}_Lower_Arm', 'Upper_Clothing'))))
_BARE = ('skin', 'eye', 'upper_teeth', 'lower_teeth', 'tongue')
COCO_PARTS = dict(body=slice(0, 17), foot=slice(17, 23), face=slice(23, 91), lefthand=slice(91, 112),
                  righthand=slice(112, 133))


def keypoints(person: Person, instance: int, camera: Camera, buffers: Buffers, meshes: list[Mesh]) -> np.ndarray:
    """Pixels and visibility of a person's landmarks.

    A landmark is visible if the first surface that its ray meets, or one beside it, is the person's own and lies at
    most :data:`~sapiens_mm.synth.landmarks.DEPTH_TOLERANCE` in front of it (more under clothes).

    Returns:
        (N, 3) float64: x, y in pixels (0 is the centre of the first one) and 0, 1 or 2; x and y are 0 where it is 0.
    """
    uv, z = camera.project(person.landmarks)
    height, width = buffers.depth.shape
    with np.errstate(invalid='ignore'):
        inside = (z > 0) & (uv > -0.5).all(axis=1) & (uv < [width - 0.5, height - 0.5]).all(axis=1)
    out = np.zeros((len(LANDMARK_NAMES), 3))
    out[inside, :2] = uv[inside]
    out[inside, 2] = OCCLUDED
    # Tolerances are an adult's; a child's flesh is thinner.
    thigh = np.linalg.norm(person.body.bone_heads['upperleg01.L'] - person.body.bone_heads['lowerleg01.L'])
    depth = DEPTH_TOLERANCE * min(1., thigh / _ADULT_THIGH)
    cloth = np.array([mesh.name not in _BARE for mesh in meshes] + [False])
    tolerance = depth[:, None] + np.where(_IS_BARE, 0., _UNDER_CLOTH)[:, None] * [[0, 1]]
    indices = np.flatnonzero(inside)
    columns, rows = np.rint(uv[indices]).astype(int).T
    seen = np.zeros(len(indices), bool)
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            y, x = np.clip(rows + down, 0, height - 1), np.clip(columns + across, 0, width - 1)
            own = buffers.instance[y, x] == instance
            covered = cloth[buffers.mesh[y, x]].astype(int)
            gap = z[indices] - buffers.depth[y, x]
            # A pixel at this depth spans this many metres: where the surface is steep, the depth beside it differs.
            pixel = z[indices] / camera.intrinsics[0, 0]
            seen |= own & (gap <= tolerance[indices, covered] + pixel)
    # The pixel itself must be the person's, so that what is called visible lies in the person's mask.
    seen &= buffers.instance[rows, columns] == instance
    # A hand that touches something lies within the tolerance of that, too.
    for names, parts in _HANDS:
        seen &= ~names[indices] | np.isin(buffers.part[rows, columns], parts)
    out[indices[seen], 2] = VISIBLE
    return out


def annotate(person: Person, instance: int, camera: Camera, buffers: Buffers, meshes: list[Mesh]) -> dict | None:
    """What a person's annotations have in common: box and area of the visible pixels, and all landmarks.

    Returns:
        ``instance``, ``bbox`` (x, y, w, h in pixels), ``area`` (pixels), ``segmentation`` (the mask as COCO's
        compressed run lengths), ``landmarks`` (N rows of x, y, visibility), or None for a person of whom too little is
        seen.
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
    """COCO-style annotation, without ids.

    Args:
        common: From :func:`annotate`.
        vocabulary: ``coco`` (17 keypoints), ``coco_wholebody`` (133 in COCO-WholeBody's fields), ``goliath`` (308).
    """
    landmarks = np.array(common['landmarks'])
    shared = {name: common[name] for name in ('bbox', 'area', 'segmentation', 'instance')}
    out = dict(category_id=1, iscrowd=0, **shared)
    if vocabulary == 'goliath':
        points = landmarks[:_NUM_GOLIATH]
    elif vocabulary == 'coco':
        points = to_coco17(landmarks)
    else:
        whole = to_wholebody133(landmarks)
        points = whole[COCO_PARTS['body']]
        for part in ('foot', 'face', 'lefthand', 'righthand'):
            own = whole[COCO_PARTS[part]]
            out[f'{part}_kpts'] = _flat(own)
            there = np.maximum(own[own[:, 2] > 0, :2], 0)  # pixels at the border reach from -0.5 on
            out[f'{part}_valid'] = bool((own[:, 2] == VISIBLE).any())
            if part != 'foot':
                low, high = (there.min(axis=0), there.max(axis=0)) if len(there) else (np.zeros(2), np.zeros(2))
                out[f'{part}_box'] = [float(value) for value in np.round([*low, *(high - low)], 2)]
    out['keypoints'] = _flat(points)
    out['num_keypoints'] = int((points[:, 2] > 0).sum())
    return out


def category(vocabulary: str) -> dict:
    """COCO's category of persons with the names of the keypoints."""
    names = dict(goliath=LANDMARK_NAMES[:_NUM_GOLIATH], coco=list(WHOLEBODY_SOURCES)[:17],
                 coco_wholebody=list(WHOLEBODY_SOURCES)[:17])[vocabulary]
    return dict(id=1, name='person', keypoints=list(names))
