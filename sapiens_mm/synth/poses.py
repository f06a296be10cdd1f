"""Plausible poses within joint limits, from standing to sitting, and the depth to which limbs penetrate the body.

A pose is a rotation vector for each rotated bone, in the axes of the rest pose (see
:meth:`sapiens_mm.synth.body.Body.pose`): +x is the person's left, -y forward, z up.
"""
from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from scipy.spatial import cKDTree

from .body import Body, PosedBody

#: Largest depth in meters by which a hand, arm or leg may sink into the trunk, the head or the other leg: soft parts
#: that touch yield by about this much.
PENETRATION_TOLERANCE = 0.03

#: Ranges of the joints in degrees: anatomical ranges of motion (American Academy of Orthopaedic Surgeons), narrower
#: where linear blend skinning collapses. Flexion and abduction are positive.
JOINT_LIMITS = {
    'shoulder_elevation': (0, 165),  # of the upper arm from hanging down
    'elbow': (5, 140),
    'forearm_twist': (-60, 60),
    'finger': (0, 100),
    'finger_spread': (-8, 8),
    'hip_flexion': (-20, 110),
    'hip_abduction': (-5, 40),
    'hip_rotation': (-25, 35),
    'knee': (0, 130),
    'ankle': (-20, 20),
    'spine': (-20, 45),  # bending forward
    'spine_lean': (-30, 30),
    'spine_turn': (-40, 40),
    'neck': (-40, 40),
}
_SPINE = ('spine05', 'spine04', 'spine03', 'spine02', 'spine01')
_NECK = ('neck01', 'neck02', 'neck03', 'head')
#: Probability of each kind. Poses in which a limb sinks into the body are drawn again, so difficult ones become rarer.
EVERYDAY = dict(standing=0.26, walking=0.16, sitting=0.12, reaching=0.14, crossed_arms=0.08, hands_on_hips=0.08,
                arms_raised=0.08, crouching=0.08)
_FREE_LEG = (-10, 15), (0, 18), (-10, 20), (3, 25)
_FREE_ARM = (15, 130), (-40, 90), (5, 110), (-40, 40)
_HANDS_DOWN = (140, 165), (-10, 60), (5, 25), (-30, 30)
#: Sport, dance and floor work. A kind has its probability; ranges of degrees by which the whole body falls forward and
#: to a random side; and those of the limbs as in :func:`_joints`: the first ones, on a random side, the second or both.
_ATHLETIC = dict(
    running=(0.16, (0, 25), (-8, 12), dict(
        leg1=((35, 85), (-2, 8), (-5, 10), (40, 110)), leg2=((-20, 5), (-2, 8), (-5, 10), (5, 100)),
        arm1=((25, 55), (-90, -60), (60, 115), (-20, 20)), arm2=((25, 60), (60, 90), (60, 115), (-20, 20)))),
    kicking=(0.12, (-30, 10), (-25, 25), dict(
        leg1=((45, 110), (0, 35), (-10, 25), (5, 70)), leg2=((-15, 10), (0, 15), (-5, 20), (5, 35)))),
    lunging=(0.12, (-5, 35), (-15, 15), dict(
        leg1=((50, 100), (0, 25), (-10, 25), (50, 110)), leg2=((-20, 10), (0, 30), (-10, 25), (5, 80)))),
    throwing=(0.12, (-20, 25), (-20, 20), dict(
        arm1=((80, 165), (-40, 70), (10, 120), (-50, 50)), leg1=((-20, 20), (5, 30), (-10, 25), (5, 60)),
        leg2=((0, 60), (5, 30), (-10, 25), (5, 70)), spine=((-20, 25), (-30, 30), (-40, 40)))),
    stooping=(0.1, (30, 65), (-8, 8), dict(  # as golfers, fielders and skaters stand
        legs=((50, 90), (2, 22), (-5, 25), (10, 90)), arms=((25, 95), (40, 90), (5, 70), (-30, 30)),
        neck=((-40, 0), (-12, 12), (-30, 30)))),
    jumping=(0.12, (-25, 35), (-30, 30), dict(
        legs=((-20, 95), (0, 40), (-15, 30), (5, 110)), arms=((50, 165), (-40, 90), (5, 80), (-40, 40)))),
    handstand=(0.06, (150, 210), (-10, 10), dict(
        arms=_HANDS_DOWN, legs=((-20, 70), (0, 40), (-10, 25), (5, 60)), neck=((-40, 0), (-10, 10), (-15, 15)))),
    cartwheel=(0.06, (-10, 10), (60, 180), dict(
        arms=_HANDS_DOWN, legs=((-20, 40), (15, 40), (-10, 25), (5, 40)), neck=((-40, 0), (-10, 10), (-15, 15)))),
    somersault=(0.04, (-180, 180), (-40, 90), dict(legs=((20, 110), (0, 25), (-10, 20), (10, 125)))),
    prone=(0.02, (75, 100), (-20, 20), dict(legs=((-5, 30), (0, 25), (-10, 25), (5, 90)))),
    supine=(0.03, (-100, -75), (-20, 20), dict(legs=((-5, 80), (0, 25), (-10, 25), (5, 110)))),
    push_up=(0.02, (60, 85), (-15, 15), dict(
        arms=((75, 100), (75, 95), (5, 80), (-30, 30)), neck=((-40, 0), (-10, 10), (-20, 20)))),
    floor_sitting=(0.03, (-30, 10), (-8, 8), dict(
        legs=((75, 110), (0, 40), (-10, 30), (5, 110)), arm1=((20, 60), (-70, 0), (5, 50), (-30, 30)))))
ATHLETIC = {kind: values[0] for kind, values in _ATHLETIC.items()}
POSES = dict(everyday=EVERYDAY, athletic=ATHLETIC)

#: Probability of each gesture of a hand, the degrees by which its fingers curl (thumb to little finger), and those by
#: which neighbors spread further.
GESTURES = dict(
    open=(0.24, (4, 3, 3, 3, 3), 3), relaxed=(0.34, (15, 20, 27, 32, 36), -1), curved=(0.12, (40, 50, 52, 54, 56), -2),
    fist=(0.18, (75, 94, 94, 94, 94), -5), pointing=(0.12, (70, 4, 88, 92, 92), -4))


def sample_pose(body: Body, rng: np.random.Generator, kind: str | None = None,
                groups: Sequence[str] = ('everyday', )) -> dict:
    """Samples a pose of a kind, by default any of ``groups`` of :data:`POSES`, which are equally likely.

    Returns ``kind``, ``joints`` (degrees) and ``rotations`` (radians by bone); athletic ones have ``turn`` too, the
    rotation vector of the whole body in radians.
    """
    if kind is None:
        # One group leaves the generator as it is, so that the people of a seed stay as they were.
        chances = POSES[groups[rng.integers(len(groups)) if len(groups) > 1 else 0]]
        kind = str(rng.choice(list(chances), p=np.array(list(chances.values())) / sum(chances.values())))
    if kind not in EVERYDAY and kind not in ATHLETIC:
        raise ValueError(f"kind of pose: got '{kind}', expected one of {', '.join([*EVERYDAY, *ATHLETIC])}")
    joints, turn = (_joints(kind, rng), None) if kind in EVERYDAY else _athletic_joints(kind, rng)
    for side in 'LR':
        _, curls, spread = tuple(GESTURES.values())[rng.choice(len(GESTURES), p=[one[0] for one in GESTURES.values()])]
        joints[f'fingers.{side}'] = [*(curls + rng.normal(0, 4, 5)).tolist(), float(spread)]
    pose = dict(kind=kind, joints=joints, rotations=_rotations(body, joints))
    return pose if turn is None else dict(pose, turn=[round(float(value), 6) for value in np.radians(turn)])


def _joints(kind: str, rng: np.random.Generator) -> dict[str, list[float]]:
    """Samples degrees: arm (elevation from hanging, direction 0 side to 90 front, elbow, twist[, roll]), leg (flexion,
    abduction, rotation, knee), spine and neck (bend forward, lean left, turn left).
    """

    def around(*means, spread=6.):
        return [float(value) for value in rng.normal(means, spread)]

    joints = {f'arm.{side}': around(14, 40, 25, 0, spread=(6, 30, 12, 20)) for side in 'LR'}
    joints.update({f'leg.{side}': around(2, 4, 5, 5, spread=(3, 3, 6, 4)) for side in 'LR'})
    joints['spine'] = around(3, 0, 0, spread=(4, 4, 6))
    joints['neck'] = around(0, 0, 0, spread=(10, 6, 18))
    first, second = ('R', 'L') if rng.random() < 0.5 else ('L', 'R')
    match kind:
        case 'walking':
            step = rng.uniform(12, 30)
            joints[f'leg.{first}'] = around(step, 2, 3, 8, spread=3)
            joints[f'leg.{second}'] = around(-0.5 * step, 2, 3, 0.9 * step, spread=3)
            joints[f'arm.{first}'] = around(18, -80, 20, 0, spread=(5, 6, 6, 8))
            joints[f'arm.{second}'] = around(24, 80, 30, 0, spread=(6, 6, 10, 8))
        case 'sitting':
            lean = rng.uniform(-5, 15)
            for side in 'LR':
                joints[f'leg.{side}'] = around(85, 8, 5, 88, spread=(5, 5, 5, 12))
                joints[f'arm.{side}'] = around(32, 78, 45, 10, spread=(8, 8, 15, 15))
            joints['spine'][0] = lean
        case 'reaching':
            joints[f'arm.{first}'] = around(rng.uniform(60, 150), rng.uniform(20, 90), 20, 0, spread=(5, 5, 12, 20))
            joints['spine'] = around(10, 0, 8 if first == 'R' else -8, spread=6)
        case 'crossed_arms':
            joints[f'arm.{first}'] = around(38, 82, 108, 20, 62, spread=(3, 4, 4, 5, 4))
            joints[f'arm.{second}'] = around(46, 84, 100, 20, 62, spread=(3, 4, 4, 5, 4))
        case 'hands_on_hips':
            for side in 'LR':
                joints[f'arm.{side}'] = around(46, -15, 92, -20, 38, spread=(4, 6, 5, 8, 4))
        case 'arms_raised':
            for side in 'LR':
                joints[f'arm.{side}'] = around(
                    rng.uniform(80, 155), rng.uniform(-10, 60), rng.uniform(10, 90), 0, spread=6)
        case 'crouching':
            bend = rng.uniform(30, 75)
            for side in 'LR':
                joints[f'leg.{side}'] = around(bend, 4, 5, 1.25 * bend, spread=3)
                joints[f'arm.{side}'] = around(45, 75, 40, 0, spread=(10, 10, 15, 15))
            joints['spine'] = around(0.35 * bend, 0, 0, spread=5)
            joints['neck'][0] -= 0.25 * bend
    return joints


def _athletic_joints(kind: str, rng: np.random.Generator) -> tuple[dict[str, list[float]], list[float]]:
    """Samples degrees of an athletic kind as :func:`_joints`, and the rotation vector of the whole body in degrees:
    about +x it falls forward, about +y to its left.
    """

    def between(limits):
        return [float(rng.uniform(*limit)) for limit in limits]

    _, forward, aside, ranges = _ATHLETIC[kind]
    first, second = ('R', 'L') if rng.random() < 0.5 else ('L', 'R')
    joints = {}
    for limb, free in (('arm', _FREE_ARM), ('leg', _FREE_LEG)):
        for side, number in ((first, 1), (second, 2)):
            joints[f'{limb}.{side}'] = between(ranges.get(f'{limb}{number}', ranges.get(f'{limb}s', free)))
    joints['spine'] = between(ranges.get('spine', ((-8, 20), (-15, 15), (-25, 25))))
    joints['neck'] = between(ranges.get('neck', ((-20, 15), (-12, 12), (-30, 30))))
    falls, leans = between((forward, aside))
    return joints, [falls, leans if first == 'L' else -leans, 0.]


def _rotations(body: Body, joints: dict) -> dict[str, list[float]]:
    heads, tails = body.rest.bone_heads, body.rest.bone_tails
    out = {}
    for bones, values, limits in ((_SPINE, joints['spine'], ('spine', 'spine_lean', 'spine_turn')),
                                  (_NECK, joints['neck'], ('neck', ) * 3)):
        bend, lean, turn = (_clip(value, limit) for value, limit in zip(values, limits))
        for bone in bones:
            out[bone] = np.radians([bend, -lean, turn]) / len(bones)
    for side, sign in (('L', 1.), ('R', -1.)):
        out.update(_arm(heads, joints[f'arm.{side}'], side, sign))
        out.update(_leg(heads, joints[f'leg.{side}'], side, sign))
        out.update(_fingers(heads, tails, joints[f'fingers.{side}'], side))
    return {bone: [round(float(value), 6) for value in vector] for bone, vector in out.items()}


def _clip(value: float, limit: str) -> float:
    return float(np.clip(value, *JOINT_LIMITS[limit]))


def _axis_angle(axis: np.ndarray, degrees: float) -> np.ndarray:
    return _unit(axis) * np.radians(degrees)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _compose(*vectors: np.ndarray) -> np.ndarray:
    matrix = np.eye(3)
    for vector in vectors:
        matrix = matrix @ cv2.Rodrigues(np.asarray(vector, np.float64))[0]
    return cv2.Rodrigues(matrix)[0].ravel()


def _turn(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    axis = np.cross(start, end)
    angle = np.degrees(np.arctan2(np.linalg.norm(axis), start @ end))
    return _axis_angle(axis, angle) if np.linalg.norm(axis) > 1e-9 else np.zeros(3)


def _arm(heads: dict, arm: list[float], side: str, sign: float) -> dict[str, np.ndarray]:
    shoulder, elbow, wrist = (heads[f'{bone}.{side}'] for bone in ('upperarm01', 'lowerarm01', 'wrist'))
    upper, fore = elbow - shoulder, wrist - elbow
    upper, fore = upper / np.linalg.norm(upper), fore / np.linalg.norm(fore)
    hinge = np.cross(upper, fore)
    rest_bend = np.degrees(np.arccos(np.clip(upper @ fore, -1, 1)))
    elevation, direction = _clip(arm[0], 'shoulder_elevation'), np.radians(arm[1])
    sine, cosine = np.sin(np.radians(elevation)), np.cos(np.radians(elevation))
    target = np.array([sign * sine * np.cos(direction), -sine * np.sin(direction), -cosine])
    # Crossed arms and arms with hands on the hips also roll inwards.
    roll = arm[4] if len(arm) > 4 else 0.
    raised = max(0., elevation - 60) / 100  # the shoulder blade follows an arm that goes up
    lift = np.array([0., -sign * np.radians(25 * raised), 0.])
    return {
        f'shoulder01.{side}': lift,
        f'upperarm01.{side}': _compose(-lift, _axis_angle(target, sign * roll), _turn(upper, target)),
        f'lowerarm01.{side}': _axis_angle(hinge, _clip(arm[2], 'elbow') - rest_bend),
        f'lowerarm02.{side}': _axis_angle(fore, sign * _clip(arm[3], 'forearm_twist')),
    }


def _leg(heads: dict, leg: list[float], side: str, sign: float) -> dict[str, np.ndarray]:
    hip, knee, ankle = (heads[f'{bone}.{side}'] for bone in ('upperleg01', 'lowerleg01', 'foot'))
    thigh = (knee - hip) / np.linalg.norm(knee - hip)
    flexion, abduction = np.radians(_clip(leg[0], 'hip_flexion')), np.radians(_clip(leg[1], 'hip_abduction'))
    target = np.array([sign * np.sin(abduction), -np.sin(flexion) * np.cos(abduction),
                       -np.cos(flexion) * np.cos(abduction)])
    bend = _clip(leg[3], 'knee')
    # Feet stay level as far as ankles allow.
    tilt = np.clip(np.degrees(flexion) - bend, *JOINT_LIMITS['ankle'])
    return {
        f'upperleg01.{side}': _compose(_axis_angle(target, sign * _clip(leg[2], 'hip_rotation')), _turn(thigh, target)),
        f'lowerleg01.{side}': np.radians([bend, 0, 0]),
        f'foot.{side}': np.radians([tilt, 0, 0]),
    }


def _fingers(heads: dict, tails: dict, fingers: list[float], side: str) -> dict[str, np.ndarray]:
    """Returns the rotations of finger bones: each finger curls by its degrees, and all but the thumb spread."""
    out, spread = {}, _clip(fingers[5], 'finger_spread') if len(fingers) > 5 else 0.
    # Fingers curl further about the axes about which the rest pose curls them a little.
    points = [[heads[f'finger{finger}-{joint}.{side}'] for joint in (1, 2, 3)] + [tails[f'finger{finger}-3.{side}']]
              for finger in range(1, 6)]
    hinges = [np.cross(p[1] - p[0], p[3] - p[1]) for p in points]
    common = sum(hinge / np.linalg.norm(hinge) for hinge in hinges[1:])
    palm = np.cross(common, points[2][3] - points[2][0])
    for finger in range(1, 6):
        curl = _clip(fingers[finger - 1], 'finger')
        if finger == 1:
            # It also swings in front of the palm.
            thumb, across = points[0][3] - points[0][0], points[4][0] - points[1][0]
            swing = _axis_angle(np.cross(thumb, _unit(palm) + _unit(across)), 0.3 * curl)
            hinge, curl = hinges[0], 0.6 * curl
        else:
            swing = _axis_angle(palm, spread * (3 - finger) * (1 if side == 'L' else -1))
            along = _unit(points[finger - 1][1] - points[finger - 1][0])
            hinge = common - common @ along * along
        for joint, share in ((1, 0.7), (2, 1.), (3, 0.6)):
            bend = _axis_angle(hinge, share * curl)
            out[f'finger{finger}-{joint}.{side}'] = _compose(swing, bend) if joint == 1 else bend
    return out


def penetration(body: Body, posed: PosedBody) -> float:
    """Returns the largest depth in meters to which hands, forearms and legs penetrate trunk, head or each other."""
    regions = _regions(body)
    normals = body.skin_normals(posed)
    deepest = 0.
    for moving, fixed in _PAIRS:
        if len(regions[moving]) == 0:
            continue
        points, target = posed.vertices[regions[moving]], regions[fixed]
        distance, nearest = cKDTree(posed.vertices[target]).query(points, distance_upper_bound=0.15)
        close = np.isfinite(distance)
        nearest = target[nearest[close]]
        offset = points[close] - posed.vertices[nearest]
        depth = -(offset * normals[nearest]).sum(axis=1)
        # Points inside lie against the normal, not just beside the nearest vertex.
        inside = depth > 0.5 * distance[close]
        if inside.any():
            deepest = max(deepest, float(depth[inside].max()))
    return deepest


_PAIRS = (('arm.L', 'trunk'), ('arm.R', 'trunk'), ('arm.L', 'head'), ('arm.R', 'head'), ('arm.L', 'arm.R'),
          ('arm.L', 'legs'), ('arm.R', 'legs'), ('leg.L', 'leg.R'), ('knees', 'trunk'))


@cache
def _regions(body: Body) -> dict[str, np.ndarray]:
    def region(*bones):
        return body.skin_vertices[body.bone_weights(*bones)[body.skin_vertices] > 0.8]

    arm = ('lowerarm01', 'lowerarm02', 'wrist', 'metacarpal2', 'metacarpal3', 'finger2-1', 'finger2-2', 'finger2-3',
           'finger3-3', 'finger5-3')
    leg = ('lowerleg01', 'lowerleg02', 'foot', 'upperleg02')
    return {
        'trunk': region('root', 'pelvis', 'spine', 'breast'),
        'head': region('head', 'neck'),
        'legs': region('upperleg', 'lowerleg'),
        'knees': region('lowerleg'),
        **{f'arm.{side}': region(*(f'{bone}.{side}' for bone in arm)) for side in 'LR'},
        **{f'leg.{side}': region(*(f'{bone}.{side}' for bone in leg)) for side in 'LR'},
    }
