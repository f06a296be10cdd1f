"""Keypoints of people in images."""
import numpy as np
import pytest

from sapiens_mm.pose.metainfo import get_metainfo
from sapiens_mm.visualization.skeleton import draw_skeleton

SIZES = (17, 133, 308)


def person(number, center=(150, 150), size=200, seed=0):
    """Keypoints (1, K, 2) anywhere in a square of a size, and scores (1, K) of 1."""
    points = np.random.default_rng(seed).uniform(-size / 2, size / 2, (1, number, 2)) + center
    return points, np.ones((1, number))


def changed(drawing, image):
    return (drawing != image).any(axis=-1)


@pytest.mark.parametrize('number', SIZES)
def test_nobody_or_nothing_certain_leaves_the_image(number):
    image, metainfo = np.full((300, 300, 3), 90, np.uint8), get_metainfo(number)
    points, scores = person(number)
    nobody = draw_skeleton(image, np.zeros((0, number, 2)), np.zeros((0, number)), metainfo)
    for drawing in (nobody, draw_skeleton(image, points, scores * 0.2, metainfo),
                    draw_skeleton(image, points * np.nan, scores, metainfo),
                    draw_skeleton(image, points + 1e12, scores, metainfo),
                    draw_skeleton(image, points, scores, metainfo, threshold=1.1)):
        np.testing.assert_array_equal(drawing, image)
        assert drawing is not image


@pytest.mark.parametrize('number', SIZES)
def test_points_without_a_place_do_not_disturb_the_others(number):
    image, metainfo = np.full((300, 300, 3), 90, np.uint8), get_metainfo(number)
    points, scores = person(number)
    expected = draw_skeleton(image, points, np.where(np.arange(number) % 2, scores, 0), metainfo)
    points[:, ::2] = np.nan
    np.testing.assert_array_equal(draw_skeleton(image, points, scores, metainfo), expected)
    assert changed(expected, image).any()
    assert (image == 90).all()


def test_a_limb_leaves_the_image_at_its_border():
    image, points, scores = np.zeros((100, 100, 3), np.uint8), np.zeros((1, 17, 2)), np.zeros((1, 17))
    points[0, [5, 7]], scores[0, [5, 7]] = [(50, 50), (130, 50)], 1  # left shoulder, left elbow
    lit = changed(draw_skeleton(image, points, scores, get_metainfo(17)), image)
    assert lit[50, 50:].all()
    assert not lit[:40].any()


@pytest.mark.parametrize('number', SIZES)
def test_left_is_orange_right_blue_and_between_them_white(number):
    metainfo = get_metainfo(number)
    index = {name: i for i, name in metainfo['keypoint_id2name'].items()}
    points, scores = np.zeros((1, number, 2)), np.zeros((1, number))
    places = dict(left_shoulder=(80, 20), left_hip=(80, 80), right_shoulder=(20, 20), right_hip=(20, 80))
    for name, place in places.items():
        points[0, index[name]], scores[0, index[name]] = place, 1
    drawing = draw_skeleton(np.zeros((100, 100, 3), np.uint8), points, scores, metainfo).astype(int)
    red, _, blue = drawing[50, 80]
    assert red > 200 > 100 > blue
    red, _, blue = drawing[50, 20]
    assert blue > 200 > 100 > red
    assert drawing[20, 50].min() > 200


def test_fingers_of_a_hand_have_hues_of_their_own_beside_those_of_the_other():
    metainfo = get_metainfo(133)
    colors = {}
    for i, name in metainfo['keypoint_id2name'].items():
        if name.endswith('4') and not name.startswith('face'):
            points, scores = np.full((1, 133, 2), 20.), np.eye(133)[None, i]
            colors[name] = draw_skeleton(np.zeros((40, 40, 3), np.uint8), points, scores, metainfo)[20, 20].astype(int)
    assert len(colors) == len({tuple(color) for color in colors.values()}) == 10
    assert all((color[0] > color[2]) == name.startswith('left') for name, color in colors.items())


@pytest.mark.parametrize('number', SIZES)
def test_strokes_grow_with_the_person(number):
    points, scores = person(number)
    metainfo = get_metainfo(number)
    share = []
    for scale in (1, 8):
        image = np.zeros((300 * scale, 300 * scale, 3), np.uint8)
        share.append(changed(draw_skeleton(image, points * scale, scores, metainfo), image).mean())
    assert share[1] < share[0] < 4 * share[1]  # nothing is thinner than a pixel


def test_a_small_person_in_a_large_image_is_no_blob():
    points, scores = np.zeros((1, 17, 2)), np.zeros((1, 17))
    points[0, [11, 12, 15, 16]] = np.array([(0, 0), (14, 0), (0, 90), (14, 90)]) + 1000  # hips and ankles
    points[0, [13, 14]] = np.array([(0, 45), (14, 45)]) + 1000
    scores[0, 11:17] = 1
    drawing = draw_skeleton(np.zeros((2160, 3840, 3), np.uint8), points, scores, get_metainfo(17))
    assert not drawing[1020:1030, 1006:1009].any()  # between the thighs


def test_limbs_are_thicker_than_fingers():
    metainfo = get_metainfo(308)
    index = {name: i for i, name in metainfo['keypoint_id2name'].items()}
    points, scores = np.zeros((1, 308, 2)), np.zeros((1, 308))
    for name, place in dict(left_hip=(100, 100), left_knee=(900, 100), left_thumb4=(100, 800),
                            left_thumb3=(900, 800)).items():
        points[0, index[name]], scores[0, index[name]] = place, 1
    lit = draw_skeleton(np.zeros((1000, 1000, 3), np.uint8), points, scores, metainfo)[:, 500].any(axis=-1)
    assert lit[:500].sum() > 2 * lit[500:].sum() > 0


def test_boxes_and_track_ids():
    image, metainfo = np.zeros((300, 300, 3), np.uint8), get_metainfo(17)
    points, scores = person(17, size=50)
    boxes = np.array([[50, 60, 250, 240, 0.9]])
    boxed = draw_skeleton(image, points, scores * 0, metainfo, boxes=boxes)
    assert changed(boxed, image)[60, 50:250].all()
    assert not changed(boxed, image)[65:235, 55:245].any()
    ids = [draw_skeleton(image, points, scores * 0, metainfo, boxes=boxes, track_ids=[i]) for i in (3, 4)]
    assert changed(ids[0], image)[40:58, 50:80].any()
    assert (ids[0][60, 100] != ids[1][60, 100]).any()
    assert changed(draw_skeleton(image, points, scores, metainfo, track_ids=[7]),
                   draw_skeleton(image, points, scores, metainfo)).any()
    np.testing.assert_array_equal(draw_skeleton(image, points, scores * 0, metainfo, track_ids=[7]), image)


def test_occluded_keypoints_are_hollow():
    points, scores, metainfo = np.full((1, 17, 2), 50.), np.eye(17)[None, 5], get_metainfo(17)
    image, boxes = np.zeros((1000, 1000, 3), np.uint8), np.array([[0, 0, 1000, 1000]])
    seen = draw_skeleton(image, points, scores, metainfo, boxes=boxes)
    hidden = draw_skeleton(image, points, scores, metainfo, boxes=boxes, occluded=np.ones((1, 17), bool))
    assert seen[50, 50].max() > 200 > 50 > hidden[50, 50].max()
    assert hidden[40:60, 40:60].max() > 200


def test_a_vocabulary_without_links_is_drawn_as_joints():
    metainfo = dict(keypoint_id2name={0: 'head', 1: 'left_hand'}, skeleton_links=[])
    image = np.zeros((100, 100, 3), np.uint8)
    lit = changed(draw_skeleton(image, np.array([[[20., 20], [80, 80]]]), np.ones((1, 2)), metainfo), image)
    assert lit[20, 20]
    assert lit[80, 80]
    assert not lit[45:55, 45:55].any()
