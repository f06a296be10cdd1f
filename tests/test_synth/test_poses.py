"""Poses: limits of the joints, and limbs that do not go through the body."""
import cv2
import numpy as np
import pytest

pytest.importorskip('anny')

from sapiens_mm.synth.people import sample_person  # noqa: E402
from sapiens_mm.synth.poses import JOINT_LIMITS, KINDS, PENETRATION_TOLERANCE, penetration, sample_pose  # noqa: E402

SPINE = ('spine05', 'spine04', 'spine03', 'spine02', 'spine01')


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """Degrees between two directions."""
    return float(np.degrees(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))))


def bend(posed, first: str, second: str, third: str) -> float:
    """Degrees by which a limb bends at the second joint; 0 is straight."""
    a, b, c = (posed.bone_heads[bone] for bone in (first, second, third))
    return angle(b - a, c - b)


def total(rotations: dict, bones: tuple) -> np.ndarray:
    """(3,) degrees of a chain of bones that each turn a share of the same angle."""
    return np.degrees(np.sum([rotations[bone] for bone in bones], axis=0))


@pytest.fixture(scope='module')
def drawn(body) -> list:
    """``(kind, pose, posed)``: 6 draws of each kind."""
    out = []
    for kind in KINDS:
        for seed in range(6):
            pose = sample_pose(body, np.random.default_rng([5, seed]), kind)
            out.append((kind, pose, body.pose(rotations=pose['rotations'])))
    return out


def within(value: float, limit: str, slack: float = 0.5) -> bool:
    low, high = JOINT_LIMITS[limit]
    return low - slack <= value <= high + slack


def test_kinds_are_drawn_by_their_chances(body):
    rng = np.random.default_rng(0)
    kinds = [sample_pose(body, rng)['kind'] for _ in range(300)]
    for kind, chance in KINDS.items():
        assert abs(kinds.count(kind) / 300 - chance) < 4 * np.sqrt(chance * (1 - chance) / 300)


def test_the_same_seed_gives_the_same_pose_and_another_one_not(body):
    first, again, other = (sample_pose(body, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first['rotations'] != other['rotations']


def test_an_unknown_kind_is_refused_by_name(body):
    with pytest.raises(ValueError, match="'flying'.*standing"):
        sample_pose(body, np.random.default_rng(0), 'flying')


def test_elbows_and_knees_stay_within_their_limits(body, drawn):
    for kind, _, posed in drawn:
        for side in 'LR':
            elbow = bend(posed, f'upperarm01.{side}', f'lowerarm01.{side}', f'wrist.{side}')
            assert within(elbow, 'elbow'), (kind, elbow)
            # The knee of the rest pose is not quite straight, and its limit is relative to it.
            rest = bend(body.rest, f'upperleg01.{side}', f'lowerleg01.{side}', f'foot.{side}')
            knee = bend(posed, f'upperleg01.{side}', f'lowerleg01.{side}', f'foot.{side}')
            assert knee <= JOINT_LIMITS['knee'][1] + rest + 0.5, (kind, knee)


def test_knees_bend_backwards(body, drawn):
    for kind, _, posed in drawn:
        for side in 'LR':
            hip, knee, ankle = (posed.bone_heads[f'{bone}.{side}'] for bone in ('upperleg01', 'lowerleg01', 'foot'))
            if bend(posed, f'upperleg01.{side}', f'lowerleg01.{side}', f'foot.{side}') > 20:
                # The knee lies ahead of the line from hip to ankle, as the toes do.
                middle = hip + (ankle - hip) * ((knee - hip) @ (ankle - hip)) / ((ankle - hip) @ (ankle - hip))
                toes = posed.bone_tails[f'toe1-2.{side}'] - ankle
                assert (knee - middle) @ toes > 0, kind


def test_hips_and_shoulders_stay_within_their_limits(drawn):
    for kind, _, posed in drawn:
        for side, sign in (('L', 1), ('R', -1)):
            hip, knee = posed.bone_heads[f'upperleg01.{side}'], posed.bone_heads[f'lowerleg01.{side}']
            thigh = (knee - hip) / np.linalg.norm(knee - hip)  # the pelvis does not turn
            assert within(np.degrees(np.arcsin(sign * thigh[0])), 'hip_abduction'), kind
            assert within(np.degrees(np.arctan2(-thigh[1], -thigh[2])), 'hip_flexion'), kind


def test_rotations_of_spine_neck_feet_and_fingers_stay_within_their_limits(drawn):
    for kind, pose, _ in drawn:
        rotations = pose['rotations']
        forward, left, turn = total(rotations, SPINE)
        assert within(forward, 'spine'), kind
        assert within(left, 'spine_lean'), kind
        assert within(turn, 'spine_turn'), kind
        for value in total(rotations, ('neck01', 'neck02', 'neck03', 'head')):
            assert within(value, 'neck'), kind
        for side in 'LR':
            assert within(np.degrees(rotations[f'foot.{side}'][0]), 'ankle')
            assert within(np.degrees(np.linalg.norm(rotations[f'lowerarm02.{side}'])), 'forearm_twist')
            for finger in range(1, 6):
                for joint in (1, 2, 3):
                    curl = np.degrees(np.linalg.norm(rotations[f'finger{finger}-{joint}.{side}']))
                    assert within(curl, 'finger')


def test_wild_angles_are_brought_within_the_limits(body):
    from sapiens_mm.synth.poses import _rotations
    wild = {'spine': [300, -300, 300], 'neck': [-300, 300, -300]}
    for side in 'LR':
        wild.update({f'arm.{side}': [300, 10, 300, 300], f'leg.{side}': [300, 300, 300, 300],
                     f'fingers.{side}': [300] * 5})
    posed = body.pose(rotations=_rotations(body, wild))
    for side in 'LR':
        elbow = bend(posed, f'upperarm01.{side}', f'lowerarm01.{side}', f'wrist.{side}')
        assert abs(elbow - JOINT_LIMITS['elbow'][1]) < 1
    rotations = _rotations(body, wild)
    assert within(total(rotations, ('neck01', 'neck02', 'neck03', 'head'))[2], 'neck')


@pytest.mark.parametrize(('low', 'high', 'axis'), [([0, -35, 0], [0, 35, 0], 1), ([0, 0, -35], [0, 0, 35], 2)])
def test_the_spine_leans_and_turns_as_far_to_either_side(body, low, high, axis):
    from sapiens_mm.synth.poses import _joints, _rotations
    joints = _joints('standing', np.random.default_rng(0))
    joints.update({f'fingers.{side}': [0.] * 5 for side in 'LR'})
    turned = [total(_rotations(body, dict(joints, spine=spine)), SPINE) for spine in (low, high)]
    assert turned[0][axis] == pytest.approx(-turned[1][axis], abs=1e-3)
    assert abs(turned[0][axis]) > 20


def test_joints_beside_the_trunk_lie_where_the_kind_says(drawn):
    """Each kind looks like its name, by the heights of hands and knees."""
    for kind, _, posed in drawn:
        heads = posed.bone_heads
        hands = np.array([heads[f'wrist.{side}'] for side in 'LR'])
        knees = np.array([heads[f'lowerleg01.{side}'] for side in 'LR'])
        hips = np.array([heads[f'upperleg01.{side}'] for side in 'LR'])
        shoulders = np.array([heads[f'upperarm01.{side}'] for side in 'LR'])
        if kind == 'sitting':
            assert (np.abs(knees[:, 2] - hips[:, 2]) < 0.2).all()
            assert (knees[:, 1] < hips[:, 1] - 0.2).all()
        elif kind in ('standing', 'walking'):
            assert (knees[:, 2] < hips[:, 2] - 0.25).all()
            assert (hands[:, 2] < shoulders[:, 2]).all()
        elif kind == 'arms_raised':
            elbows = np.array([heads[f'lowerarm01.{side}'] for side in 'LR'])
            assert (elbows[:, 2] > shoulders[:, 2] - 0.15).all()
        elif kind == 'crossed_arms':
            # Each hand is on the other side of the body's middle, or nearly, and before the chest.
            assert (hands[:, 1] < shoulders[:, 1] - 0.05).all()
            assert np.ptp(hands[:, 0]) < 0.25
        elif kind == 'hands_on_hips':
            assert (np.abs(hands[:, 2] - hips[:, 2]) < 0.25).all()


def test_the_rest_pose_does_not_touch_itself(body):
    assert penetration(body, body.rest) < PENETRATION_TOLERANCE / 3


@pytest.mark.parametrize('side', ['L', 'R'])
def test_an_arm_put_through_the_trunk_is_found(body, side):
    """The whole arm turns until the hand points from the shoulder to the belly's middle."""
    heads = body.rest.bone_heads
    shoulder, wrist = heads[f'upperarm01.{side}'], heads[f'wrist.{side}']
    target = heads['spine04'] - shoulder
    axis = np.cross(wrist - shoulder, target)
    turn = axis / np.linalg.norm(axis) * np.radians(angle(wrist - shoulder, target))
    posed = body.pose(rotations={f'upperarm01.{side}': turn})
    assert abs(posed.bone_heads[f'wrist.{side}'][0]) < 0.1
    assert penetration(body, posed) > 0.05


def test_legs_that_cross_through_one_another_are_found(body):
    crossed = {f'upperleg01.{side}': cv2.Rodrigues(cv2.Rodrigues(np.array([0, sign * 0.25, 0.]))[0])[0].ravel()
               for side, sign in (('L', 1), ('R', -1))}
    apart = {bone: -turn for bone, turn in crossed.items()}
    depths = [penetration(body, body.pose(rotations=rotations)) for rotations in (crossed, apart)]
    assert max(depths) > 0.05
    assert min(depths) < PENETRATION_TOLERANCE


def test_sampled_people_hardly_sink_into_themselves(body, wardrobe):
    deep = []
    for seed in range(40):
        person = sample_person(body, wardrobe, np.random.default_rng([6, seed]))
        posed = body.pose(person['phenotypes'], person['face'], person['pose']['rotations'])
        depth = penetration(body, posed)
        # Phenotypes are rounded after the check.
        assert person['pose']['penetration'] == pytest.approx(depth, abs=5e-4)
        deep.append(depth)
    assert np.mean(np.array(deep) <= PENETRATION_TOLERANCE) >= 0.9
    assert max(deep) < 0.06


def test_the_legs_of_no_kind_cross_through_one_another(body, drawn):
    """Bones of the lower legs are as thick as an ankle apart."""
    for kind, _, posed in drawn:
        centres = [np.array([posed.bone_heads[f'{bone}.{side}'] for bone in ('lowerleg01', 'lowerleg02', 'foot')])
                   for side in 'LR']
        distance = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=-1).min()
        assert distance > 0.06, kind
