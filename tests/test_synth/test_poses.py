"""Poses: limits of the joints, and limbs that do not sink into the body."""
import cv2
import numpy as np
import pytest

pytest.importorskip('anny')

from sapiens_mm.synth.landmarks import LANDMARK_NAMES, place_landmarks  # noqa: E402
from sapiens_mm.synth.people import build_person, sample_person  # noqa: E402
from sapiens_mm.synth.poses import (  # noqa: E402
    ATHLETIC,
    EVERYDAY,
    GESTURES,
    JOINT_LIMITS,
    PENETRATION_TOLERANCE,
    _joints,
    _rotations,
    penetration,
    sample_pose,
)

from .conftest import degrees  # noqa: E402

SPINE = ('spine05', 'spine04', 'spine03', 'spine02', 'spine01')
NECK = ('neck01', 'neck02', 'neck03', 'head')
LEG = ('upperleg01', 'lowerleg01', 'foot')
ARM = ('upperarm01', 'lowerarm01', 'wrist')


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """Degrees between two directions."""
    return float(degrees(a / np.linalg.norm(a), b / np.linalg.norm(b)))


def joints_of(posed, bones: tuple, side: str) -> list:
    return [posed.bone_heads[f'{bone}.{side}'] for bone in bones]


def bend(posed, bones: tuple, side: str) -> float:
    """Degrees by which a limb bends at the second joint; 0 is straight."""
    a, b, c = joints_of(posed, bones, side)
    return angle(b - a, c - b)


def total(rotations: dict, bones: tuple) -> np.ndarray:
    """(3,) degrees of a chain of bones that each turn a share of the same angle."""
    return np.degrees(np.sum([rotations[bone] for bone in bones], axis=0))


def assert_within(value: float, limit: str, kind: str = '', slack: float = 0.5) -> None:
    low, high = JOINT_LIMITS[limit]
    assert low - slack <= value <= high + slack, (kind, limit)


@pytest.fixture(scope='module')
def drawn(body) -> list:
    """``(kind, pose, posed)``: 4 draws of each kind."""
    poses = [sample_pose(body, np.random.default_rng([5, seed]), kind) for kind in (*EVERYDAY, *ATHLETIC)
             for seed in range(4)]
    return [(pose['kind'], pose, body.pose(rotations=pose['rotations'])) for pose in poses]


def test_an_unknown_kind_is_refused_by_name(body):
    with pytest.raises(ValueError, match="'flying'.*standing"):
        sample_pose(body, np.random.default_rng(0), 'flying')


def test_kinds_are_drawn_by_their_probabilities(body):
    rng = np.random.default_rng(0)
    kinds = [sample_pose(body, rng)['kind'] for _ in range(300)]
    for kind, chance in EVERYDAY.items():
        assert abs(kinds.count(kind) / 300 - chance) < 4 * np.sqrt(chance * (1 - chance) / 300)


def test_groups_of_poses_are_equally_likely_and_the_everyday_group_alone_leaves_a_seed_as_it_was(body):
    rng = np.random.default_rng(0)
    kinds = [sample_pose(body, rng, groups=('everyday', 'athletic'))['kind'] for _ in range(200)]
    assert 70 < sum(kind in ATHLETIC for kind in kinds) < 130
    default, everyday, athletic = (sample_pose(body, np.random.default_rng(1), **groups) for groups in (
        {}, dict(groups=('everyday', )), dict(groups=('athletic', ))))
    assert default == everyday
    assert default['kind'] in EVERYDAY
    assert athletic['kind'] in ATHLETIC


def up(turn: list) -> np.ndarray:
    """(3,) direction from feet to head of a straight body that is turned."""
    return cv2.Rodrigues(np.array(turn))[0][:, 2]


def test_the_whole_body_turns_as_the_kind_says(body):
    for seed in range(4):
        turns = {kind: sample_pose(body, np.random.default_rng([7, seed]), kind).get('turn') for kind in
                 (*EVERYDAY, *ATHLETIC)}
        assert all(turns[kind] is None for kind in EVERYDAY)
        assert up(turns['handstand'])[2] < -0.8
        assert abs(up(turns['supine'])[2]) < 0.4
        assert up(turns['push_up'])[1] < -0.8  # face down, head to the front
        assert up(turns['running'])[2] > 0.8


@pytest.mark.parametrize('kind', ['handstand', 'supine'])
def test_a_turned_person_touches_the_ground_and_its_keypoints_turn_along(body, wardrobe, kind):
    drawn = sample_person(body, wardrobe, np.random.default_rng(3))
    drawn.update(outfit={}, pose=sample_pose(body, np.random.default_rng(1), kind))
    person = build_person(body, wardrobe, drawn, np.eye(3), np.zeros(3), 1)
    lowest = min(mesh.vertices[:, 2].min() for mesh in person.meshes)
    assert abs(lowest) < 0.01
    points = dict(zip(LANDMARK_NAMES, person.landmarks))
    spine = points['neck'] - (points['left_hip'] + points['right_hip']) / 2
    assert angle(spine, up(drawn['pose']['turn'])) < 45
    # The eyes' keypoints lie on their meshes.
    eyes = np.concatenate([mesh.vertices for mesh in person.meshes if mesh.name == 'eye'])
    assert np.linalg.norm(eyes - points['l_center_of_pupil'], axis=1).min() < 0.005


def test_the_same_seed_gives_the_same_pose_and_another_one_does_not(body):
    first, again, other = (sample_pose(body, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first['rotations'] != other['rotations']


def test_limbs_stay_within_their_limits(body, drawn):
    for kind, _, posed in drawn:
        for side, sign in (('L', 1), ('R', -1)):
            assert_within(bend(posed, ARM, side), 'elbow', kind)
            # The knee's limit is relative to the rest pose, where it is not quite straight.
            assert bend(posed, LEG, side) <= JOINT_LIMITS['knee'][1] + bend(body.rest, LEG, side) + 0.5, kind
            hip, knee, ankle = joints_of(posed, LEG, side)
            thigh = (knee - hip) / np.linalg.norm(knee - hip)  # the pelvis does not turn
            assert_within(np.degrees(np.arcsin(sign * thigh[0])), 'hip_abduction', kind)
            assert_within(np.degrees(np.arctan2(-thigh[1], -thigh[2])), 'hip_flexion', kind)
            if bend(posed, LEG, side) > 20:
                # A bent knee lies ahead of the line from hip to ankle, as the toes do.
                middle = hip + (ankle - hip) * ((knee - hip) @ (ankle - hip)) / ((ankle - hip) @ (ankle - hip))
                assert (knee - middle) @ (posed.bone_tails[f'toe1-2.{side}'] - ankle) > 0, kind
        # Bones of the lower legs are as far apart as an ankle is thick.
        left, right = (np.array(joints_of(posed, ('lowerleg01', 'lowerleg02', 'foot'), side)) for side in 'LR')
        assert np.linalg.norm(left[:, None] - right, axis=-1).min() > 0.06, kind


def test_rotations_of_spine_neck_feet_and_fingers_stay_within_their_limits(drawn):
    for kind, pose, _ in drawn:
        rotations = pose['rotations']
        for value, limit in zip(total(rotations, SPINE), ('spine', 'spine_lean', 'spine_turn')):
            assert_within(value, limit, kind)
        for value in total(rotations, NECK):
            assert_within(value, 'neck', kind)
        for side in 'LR':
            assert_within(np.degrees(rotations[f'foot.{side}'][0]), 'ankle', kind)
            for bone, limit in ((f'lowerarm02.{side}', 'forearm_twist'), *(
                    (f'finger{finger}-{joint}.{side}', 'finger') for finger in range(1, 6) for joint in (1, 2, 3))):
                assert_within(np.degrees(np.linalg.norm(rotations[bone])), limit, kind)


@pytest.mark.parametrize('side', ['left', 'right'])
def test_keypoints_show_the_gesture_of_a_hand(body, side):
    joints = _joints('standing', np.random.default_rng(0))
    fingers = ('thumb', 'forefinger', 'middle_finger', 'ring_finger', 'pinky_finger')
    reach, tips = {}, {}
    for gesture, (_, curls, spread) in GESTURES.items():
        joints.update({f'fingers.{one}': [*curls, spread] for one in 'LR'})
        posed = body.pose(rotations=_rotations(body, joints))
        points = dict(zip(LANDMARK_NAMES, place_landmarks(posed.vertices, posed.bone_heads, posed.bone_tails)))
        tips[gesture] = np.array([points[f'{side}_{finger}4'] for finger in fingers])
        roots = np.array([points[f'{side}_{finger}_third_joint'] for finger in fingers])
        reach[gesture] = np.linalg.norm(tips[gesture] - roots, axis=1)[1:]
    order = [reach[gesture].mean() for gesture in ('open', 'relaxed', 'curved', 'fist')]
    assert order == sorted(order, reverse=True)
    assert (reach['fist'] < 0.55 * reach['open']).all()
    assert reach['pointing'][0] > 0.95 * reach['open'][0]
    assert (reach['pointing'][1:] < 0.6 * reach['open'][1:]).all()
    between = {gesture: np.linalg.norm(np.diff(tips[gesture][1:], axis=0), axis=1) for gesture in tips}
    assert (between['open'] > 1.3 * between['fist']).all()
    # The thumb of a fist lies before the fingers.
    thumb = {gesture: np.linalg.norm(tips[gesture][0] - tips['fist'][2]) for gesture in ('open', 'fist')}
    assert thumb['fist'] < 0.7 * thumb['open']


def test_angles_out_of_range_are_clipped_to_the_limits(body):
    wild = {'spine': [300, -300, 300], 'neck': [-300, 300, -300]}
    for side in 'LR':
        wild.update({f'arm.{side}': [300, 10, 300, 300], f'leg.{side}': [300] * 4, f'fingers.{side}': [300] * 5})
    rotations = _rotations(body, wild)
    posed = body.pose(rotations=rotations)
    for side in 'LR':
        assert abs(bend(posed, ARM, side) - JOINT_LIMITS['elbow'][1]) < 1
    assert_within(total(rotations, NECK)[2], 'neck')


@pytest.mark.parametrize('axis', [1, 2])
def test_the_spine_leans_and_turns_equally_far_to_either_side(body, axis):
    joints = _joints('standing', np.random.default_rng(0))
    joints.update({f'fingers.{side}': [0.] * 5 for side in 'LR'})
    low, high = (total(_rotations(body, dict(joints, spine=np.eye(3)[axis] * value)), SPINE)[axis]
                 for value in (-35, 35))
    assert low == pytest.approx(-high, abs=1e-3)
    assert abs(low) > 20


def test_kinds_look_like_their_names(drawn):
    for kind, _, posed in drawn:
        hands, elbows, shoulders, knees, hips = (
            np.array([posed.bone_heads[f'{bone}.{side}'] for side in 'LR'])
            for bone in ('wrist', 'lowerarm01', 'upperarm01', 'lowerleg01', 'upperleg01'))
        if kind == 'sitting':
            assert (np.abs(knees[:, 2] - hips[:, 2]) < 0.2).all()
            assert (knees[:, 1] < hips[:, 1] - 0.2).all()
        elif kind in ('standing', 'walking'):
            assert (knees[:, 2] < hips[:, 2] - 0.25).all()
            assert (hands[:, 2] < shoulders[:, 2]).all()
        elif kind == 'arms_raised':
            assert (elbows[:, 2] > shoulders[:, 2] - 0.15).all()
        elif kind == 'crossed_arms':
            # The hands are about in the middle and in front of the chest.
            assert (hands[:, 1] < shoulders[:, 1] - 0.05).all()
            assert np.ptp(hands[:, 0]) < 0.25
        elif kind == 'hands_on_hips':
            assert (np.abs(hands[:, 2] - hips[:, 2]) < 0.25).all()


def test_the_rest_pose_does_not_touch_itself(body):
    assert penetration(body, body.rest) < PENETRATION_TOLERANCE / 3


@pytest.mark.parametrize('side', ['L', 'R'])
def test_an_arm_through_the_trunk_is_detected(body, side):
    """The whole arm turns until the hand points from the shoulder to the belly's middle."""
    heads = body.rest.bone_heads
    shoulder, wrist = heads[f'upperarm01.{side}'], heads[f'wrist.{side}']
    target = heads['spine04'] - shoulder
    axis = np.cross(wrist - shoulder, target)
    turn = axis / np.linalg.norm(axis) * np.radians(angle(wrist - shoulder, target))
    posed = body.pose(rotations={f'upperarm01.{side}': turn})
    assert abs(posed.bone_heads[f'wrist.{side}'][0]) < 0.1
    assert penetration(body, posed) > 0.05


def test_legs_through_one_another_are_detected(body):
    crossed = {'upperleg01.L': np.array([0, 0.25, 0.]), 'upperleg01.R': np.array([0, -0.25, 0.])}
    apart = {bone: -turn for bone, turn in crossed.items()}
    depths = [penetration(body, body.pose(rotations=rotations)) for rotations in (crossed, apart)]
    assert max(depths) > 0.05
    assert min(depths) < PENETRATION_TOLERANCE


def test_sampled_people_hardly_sink_into_themselves(body, wardrobe):
    depths = []
    for seed in range(20):
        person = sample_person(body, wardrobe, np.random.default_rng([6, seed]))
        depths.append(penetration(body, body.pose(person['phenotypes'], person['face'], person['pose']['rotations'])))
        # Phenotypes are rounded after the check.
        assert person['pose']['penetration'] == pytest.approx(depths[-1], abs=5e-4)
    assert np.mean(np.array(depths) <= PENETRATION_TOLERANCE) >= 0.9
    assert max(depths) < 0.06
