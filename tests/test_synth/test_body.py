"""Anny's body on the whole base mesh: shapes, poses, parts and mirror symmetry."""
import sys

import numpy as np
import pytest
from scipy.spatial import cKDTree

pytest.importorskip('anny')

from sapiens_mm.synth.body import NUM_VERTICES, Body  # noqa: E402
from sapiens_mm.synth.extra import MissingExtra  # noqa: E402
from sapiens_mm.synth.landmarks import LANDMARK_NAMES, place_landmarks  # noqa: E402
from sapiens_mm.synth.mesh import face_normals, triangles  # noqa: E402
from sapiens_mm.synth.poses import ATHLETIC, EVERYDAY, sample_pose  # noqa: E402
from sapiens_mm.vocabularies.body_parts import FLIPPED_PARTS, PART_IDS  # noqa: E402
from sapiens_mm.vocabularies.goliath import mirror_name  # noqa: E402

REFLECTION = np.array([-1, 1, 1])


def other_side(bone: str) -> str:
    return bone[:-1] + {'L': 'R', 'R': 'L'}[bone[-1]] if bone.endswith(('.L', '.R')) else bone


def mirror_landmark(name: str) -> str:
    return f'face-{16 - int(name[5:])}' if name.startswith('face-') else mirror_name(name)


@pytest.fixture(scope='module')
def centers(body) -> np.ndarray:
    """(F, 3) centers of the skin's quads."""
    return body.rest.vertices[body.skin].mean(axis=1)


@pytest.fixture(scope='module')
def partners(body) -> np.ndarray:
    """(19158,) the vertex at the mirror image of each vertex."""
    distances, indices = cKDTree(body.rest.vertices).query(body.rest.vertices * REFLECTION)
    assert distances[body.skin_vertices].max() < 1e-3
    return indices


def height(body, posed) -> float:
    return float(np.ptp(posed.vertices[body.skin_vertices, 2]))


def test_unknown_bones_are_refused_by_name(body):
    with pytest.raises(ValueError, match="'tail'"):
        body.pose(rotations={'tail': [0, 0, 0]})


def test_without_the_extra_one_line_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'anny', None)
    with pytest.raises(MissingExtra, match='pip install') as caught:
        Body()
    assert '\n' not in str(caught.value)


def test_rest_pose_is_an_upright_person_who_looks_to_minus_y(body):
    rest = body.rest
    assert rest.vertices.shape == (NUM_VERTICES, 3)
    assert np.isfinite(rest.vertices).all()
    assert 1.4 < height(body, rest) < 2.0
    assert rest.bone_heads['head'][2] > rest.bone_heads['spine05'][2] > rest.bone_heads['foot.L'][2]
    for bone in ('eye.L', 'wrist.L', 'foot.L'):
        assert rest.bone_heads[bone][0] > 0 > rest.bone_heads[other_side(bone)][0]
    tip = place_landmarks(rest.vertices, rest.bone_heads, rest.bone_tails)[LANDMARK_NAMES.index('nose')]
    assert tip[1] < rest.bone_heads['head'][1] - 0.05


def test_skin_faces_outwards(body):
    vertices, faces = body.rest.vertices.astype(np.float64), triangles(body.skin)
    # The volume by the divergence theorem is positive, and that of a person.
    volume = (vertices[faces[:, 0]] * face_normals(vertices, faces)).sum() / 6
    assert 0.03 < volume < 0.15


def test_phenotypes_change_the_body(body):
    tall, small = (height(body, body.pose(dict(height=value, age=0.6))) for value in (0.9, 0.1))
    child = height(body, body.pose(dict(age=0.)))
    assert tall > small + 0.1
    assert child < small

    def waist(posed):
        points = posed.vertices[body.skin_vertices]
        level = posed.bone_heads['spine04'][2]
        points = points[(np.abs(points[:, 2] - level) < 0.02) & (np.abs(points[:, 0]) < 0.25)]
        return np.ptp(points[:, 1])

    assert waist(body.pose(dict(weight=1.))) > waist(body.pose(dict(weight=0.))) + 0.02


def test_facial_actions_move_the_face_alone_and_a_blink_its_side(body):
    skin, x = body.skin_vertices, body.rest.vertices[body.skin_vertices, 0]

    def moved(**face):
        return np.linalg.norm(body.pose(face=face).vertices - body.rest.vertices, axis=1)

    head = body.bone_weights('head', 'neck', 'eye')
    both = moved(jawOpen=1., eyeBlinkLeft=1.)
    assert both[head > 0.9].max() > 0.01
    assert both[skin][head[skin] == 0].max() < 1e-5
    blink = moved(eyeBlinkLeft=1.)[skin]
    assert blink[x > 0.025].max() > 0.01
    assert blink[x < -0.025].max() < 0.001


def test_a_bone_rotates_its_children_about_its_head(body):
    angle = 0.7
    posed = body.pose(rotations={'lowerarm01.L': [angle, 0, 0]})
    for bone in ('upperarm01.L', 'lowerarm01.L', 'wrist.R', 'head'):
        np.testing.assert_allclose(posed.bone_heads[bone], body.rest.bone_heads[bone], atol=1e-5)
    elbow = body.rest.bone_heads['lowerarm01.L']
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(posed.bone_heads['wrist.L'],
                               elbow + turn @ (body.rest.bone_heads['wrist.L'] - elbow), atol=1e-4)


def test_bones_end_where_their_children_begin(body):
    posed = body.pose(rotations=sample_pose(body, np.random.default_rng(0))['rotations'])
    for bone, child in (('upperarm01.L', 'upperarm02.L'), ('lowerleg02.R', 'foot.R'), ('neck01', 'neck02')):
        np.testing.assert_array_equal(posed.bone_tails[bone], posed.bone_heads[child])
    # The last bone of a finger ends at its tip: on the skin.
    distance, _ = cKDTree(posed.vertices[body.skin_vertices]).query(posed.bone_tails['finger2-3.L'])
    assert distance < 0.004


def test_moved_turns_and_shifts_vertices_and_bones_alike(body):
    turn, shift = np.array([[0., -1, 0], [1, 0, 0], [0, 0, 1]]), np.array([1., 2, 3])
    moved = body.rest.moved(turn, shift)
    expected = np.stack([-body.rest.vertices[:, 1], body.rest.vertices[:, 0], body.rest.vertices[:, 2]], 1) + shift
    np.testing.assert_allclose(moved.vertices, expected, atol=1e-5)
    head = body.rest.bone_heads['head']
    np.testing.assert_allclose(moved.bone_heads['head'], [1 - head[1], 2 + head[0], 3 + head[2]], atol=1e-5)


@pytest.mark.parametrize('kind', [*EVERYDAY, *ATHLETIC])
def test_a_mirrored_pose_is_the_mirror_image_with_landmarks_exchanged(body, partners, kind):
    rotations = sample_pose(body, np.random.default_rng(2), kind)['rotations']
    posed = body.pose(rotations=rotations)
    mirrored = body.pose(rotations={other_side(bone): [x, -y, -z] for bone, (x, y, z) in rotations.items()})
    skin = body.skin_vertices
    np.testing.assert_allclose((posed.vertices[partners] * REFLECTION)[skin], mirrored.vertices[skin], atol=1e-3)
    a, b = (place_landmarks(p.vertices, p.bone_heads, p.bone_tails) for p in (posed, mirrored))
    exchange = [LANDMARK_NAMES.index(mirror_landmark(name)) for name in LANDMARK_NAMES]
    np.testing.assert_allclose(a[exchange] * REFLECTION, b, atol=1e-3)
    assert np.abs(a * REFLECTION - b).max() > 0.05


def test_parts_exchange_their_sides_in_the_mirror(body, partners):
    index = {tuple(sorted(quad)): i for i, quad in enumerate(body.skin.tolist())}
    image = np.array([index.get(tuple(sorted(partners[quad].tolist())), -1) for quad in body.skin])
    paired = image >= 0
    assert paired.mean() > 0.99
    same = np.array(FLIPPED_PARTS)[body.skin_parts[paired]] == body.skin_parts[image[paired]]
    assert same.mean() > 0.999


def test_weights_of_parts_add_up_and_change_gradually_between_limbs(body):
    weights = body.part_weights[body.skin_vertices]
    assert weights.min() > -1e-5
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-4)
    for one, two in (('Torso', 'Left_Upper_Arm'), ('Left_Upper_Arm', 'Left_Lower_Arm'), ('Face_Neck', 'Torso')):
        both = np.minimum(weights[:, PART_IDS[one]], weights[:, PART_IDS[two]])
        assert ((both > 0.1) & (both < 0.4)).sum() > 10


def test_every_bare_part_has_skin_on_its_side(body, centers):
    for part, number in PART_IDS.items():
        x = centers[body.skin_parts == number, 0]
        if part.startswith(('Left_', 'Right_')) and not part.endswith(('Shoe', 'Sock')):
            assert len(x) > 50
            assert (np.sign(x) == (1 if part.startswith('Left') else -1)).mean() > 0.99
        else:
            assert (len(x) > 10) == (part in ('Torso', 'Face_Neck', 'Upper_Lip', 'Lower_Lip')), part
            assert len(x) == 0 or len(x) > 10


def test_parts_lie_one_above_the_other(body, centers):
    parts = ('Upper_Lip', 'Lower_Lip', 'Torso', 'Left_Upper_Leg', 'Left_Lower_Leg', 'Left_Foot')
    heights = [centers[body.skin_parts == PART_IDS[part], 2].mean() for part in parts]
    assert heights == sorted(heights, reverse=True)


def test_lips_lie_at_the_landmarks_of_the_mouth(body, centers):
    points = place_landmarks(body.rest.vertices, body.rest.bone_heads, body.rest.bone_tails)
    mouth = points[[LANDMARK_NAMES.index(f'{side}_outer_corner_of_mouth') for side in 'lr']].mean(axis=0)
    for part in ('Upper_Lip', 'Lower_Lip'):
        assert np.linalg.norm(centers[body.skin_parts == PART_IDS[part]] - mouth, axis=1).max() < 0.05
