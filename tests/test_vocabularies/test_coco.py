"""Tests of COCO and COCO-WholeBody keypoints."""
import json
import math

import numpy as np
import pytest

from sapiens_mm.pose.metainfo import get_metainfo
from sapiens_mm.vocabularies.coco import COMMON_114, COMMON_114_IN_133, COMMON_114_IN_308
from sapiens_mm.vocabularies.keypoints import get_parts

FACE = {int(name[5:]): goliath for goliath, name in COMMON_114 if name.startswith('face-')}
# Where goliath has its midpoints on a line, as fractions of its length: 3 1 4 center 5 2 6 from the viewer's left.
EIGHTHS = {3: 1 / 8, 1: 2 / 8, 4: 3 / 8, 5: 5 / 8, 2: 6 / 8, 6: 7 / 8}
# Lines of the 68-point face from the viewer's left to the right, with a point at each end.
LINES = [[36, 37, 38, 39], [36, 41, 40, 39], [42, 43, 44, 45], [42, 47, 46, 45]]
HALF_LIPS = [[48, 49, 50, 51], [51, 52, 53, 54], [48, 59, 58, 57], [57, 56, 55, 54], [60, 61, 62], [62, 63, 64],
             [60, 67, 66], [66, 65, 64]]


def test_counts():
    assert len(COMMON_114) == len(set(COMMON_114_IN_308)) == len(set(COMMON_114_IN_133)) == 114
    shared = {name for _, name in COMMON_114}
    sizes = {part: len(shared.intersection(names)) for part, names in get_parts('coco_wholebody').items()}
    assert sizes == {'body': 17, 'foot': 6, 'face': 51, 'left_hand': 20, 'right_hand': 20}
    assert sorted(FACE) == list(range(17, 68))


def test_parts_agree():
    parts_133 = {name: part for part, names in get_parts(133).items() for name in names}
    parts_308 = {name: part for part, names in get_parts(308).items() for name in names}
    assert [parts_308[goliath] for goliath, _ in COMMON_114] == [parts_133[name] for _, name in COMMON_114]


def test_indices_known_from_the_release(root):
    path = root.parent / 'shared' / 'facts' / 'keypoints_308.json'
    if not path.exists():
        pytest.skip(f'{path} is not here')
    known = {int(index): goliath for index, goliath in json.loads(path.read_text())['coco_wholebody_to_308'].items()}
    ours = dict(zip(COMMON_114_IN_133, COMMON_114_IN_308, strict=True))
    assert known.items() <= ours.items()


def test_flipping_commutes():
    """Flipping and converting commute."""
    flip_133, flip_308 = get_metainfo(133)['flip_indices'], get_metainfo(308)['flip_indices']
    to_308 = dict(zip(COMMON_114_IN_133, COMMON_114_IN_308, strict=True))
    assert [flip_308[to_308[index]] for index in to_308] == [to_308[flip_133[index]] for index in to_308]


def test_sides_of_the_face():
    """Right of the 68-point face is right in goliath's names, and upper lids and lips are upper ones."""
    right = {*range(17, 22), 31, 32, *range(36, 42), 48, 60}
    left = {*range(22, 27), 34, 35, *range(42, 48), 54, 64}
    for index in right:
        assert FACE[index].startswith('r_') or '_r_' in FACE[index]
    for index in left:
        assert FACE[index].startswith('l_') or '_l_' in FACE[index]
    for index in (37, 38, 43, 44, 49, 50, 52, 53, 61, 62, 63):
        assert '_upper_' in FACE[index]
    for index in (40, 41, 46, 47, 55, 56, 57, 58, 59, 65, 66, 67):
        assert '_lower_' in FACE[index]


def test_midpoints_are_the_nearest_to_the_annotations(coco_real):
    """Each midpoint is the nearest to the fraction of its line in COCO-WholeBody's annotations."""
    annotations = json.loads((coco_real / 'coco_wholebody.json').read_text())['annotations']
    faces = [np.reshape(ann['face_kpts'], (-1, 3))[:, :2] for ann in annotations if ann['face_valid']]
    assert len(faces) >= 4
    for lines, halves in ((LINES, False), (HALF_LIPS, True)):
        for line in lines:
            steps = np.array([[math.dist(face[a], face[b]) for a, b in zip(line, line[1:], strict=False)]
                              for face in faces])
            fractions = (steps.cumsum(1) / steps.sum(1, keepdims=True)).mean(0)[:-1]
            if halves:  # the lower numbered end is the person's right corner or the center
                fractions = fractions / 2 + (0.5 if line[0] in (51, 57, 62, 66) else 0)
            for index, fraction in zip(line[1:-1], fractions, strict=True):
                nearest = min(EIGHTHS, key=lambda number: abs(EIGHTHS[number] - fraction))  # noqa: B023
                assert f'midpoint_{nearest}_' in FACE[index], (index, fraction)
