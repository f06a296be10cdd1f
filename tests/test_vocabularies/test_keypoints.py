"""Tests of keypoint sets and their conversions."""
import numpy as np
import pytest
import torch

from sapiens_mm.vocabularies.coco import COMMON_114
from sapiens_mm.vocabularies.keypoints import (
    HALPE_26,
    KEYPOINT_NAMES,
    OPENPOSE_18,
    OPENPOSE_25,
    convert_keypoints,
    get_parts,
    get_vocabulary,
)

SIZES = {'coco': 17, 'coco_wholebody': 133, 'goliath': 308}
PAIRS = [('goliath', 'coco'), ('goliath', 'coco_wholebody'), ('coco_wholebody', 'coco')]
PAIRS += [(src, dst) for src in SIZES for dst in ('halpe26', 'openpose18', 'openpose25')]


def numbered(src, dims=2):
    """Keypoints that hold their own index: x = index, y = -index, with descending scores."""
    index = np.arange(SIZES[src], dtype=np.float32)
    return np.stack([index, -index, index][:dims], axis=-1)[None], (1 - index / 1000)[None]


@pytest.mark.parametrize('name', ['halpe', 26, None])
def test_unknown_vocabulary(name):
    with pytest.raises(ValueError, match=str(name)):
        get_vocabulary(name)


@pytest.mark.parametrize(('src', 'dst', 'match'), [
    ('coco', 'goliath', "'goliath'.*openpose18, openpose25"),
    (17, 133, "'coco_wholebody'"),
    ('openpose18', 'coco', "'openpose18'"),
    ('coco', 'openpose19', "'openpose19'"),
])
def test_no_such_conversion(src, dst, match):
    with pytest.raises(ValueError, match=match):
        convert_keypoints(*numbered('coco'), src, dst)


def test_bad_shapes():
    keypoints, scores = numbered('coco_wholebody')
    with pytest.raises(ValueError, match=r'\(1, 133, 2\).*308'):
        convert_keypoints(keypoints, scores, 'goliath', 'coco')
    with pytest.raises(ValueError, match=r'\(1, 132\).*\(1, 133\)'):
        convert_keypoints(keypoints, scores[:, 1:], 133, 17)


@pytest.mark.parametrize(('name', 'sizes'), [
    ('coco', {}),
    ('coco_wholebody', {'body': 17, 'foot': 6, 'face': 68, 'left_hand': 21, 'right_hand': 21}),
    ('goliath', {'body': 17, 'foot': 6, 'left_hand': 20, 'right_hand': 20, 'extra': 7, 'face': 238}),
])
def test_vocabularies_and_their_parts(name, sizes):
    assert get_vocabulary(SIZES[name]) == get_vocabulary(name) == name
    parts = get_parts(name)
    assert {part: len(names) for part, names in parts.items()} == sizes
    if parts:
        assert sorted(sum(parts.values(), [])) == sorted(KEYPOINT_NAMES[name])


@pytest.mark.parametrize(('src', 'dst'), PAIRS)
@pytest.mark.parametrize('dims', [2, 3])
def test_same_names_keep_their_place(src, dst, dims):
    keypoints, scores = numbered(src, dims)
    before = keypoints.copy(), scores.copy()
    converted, converted_scores = convert_keypoints(keypoints, scores, SIZES[src], dst)
    assert converted.shape == (1, len(KEYPOINT_NAMES[dst]), dims)
    assert converted_scores.shape == converted.shape[:2]
    for target, name in enumerate(KEYPOINT_NAMES[dst]):
        if name in KEYPOINT_NAMES[src] and name != 'neck':
            source = KEYPOINT_NAMES[src].index(name)
            np.testing.assert_array_equal(converted[0, target], keypoints[0, source])
            assert converted_scores[0, target] == scores[0, source]
    for array, copied in zip((keypoints, scores), before, strict=True):
        np.testing.assert_array_equal(array, copied)
    tensors = convert_keypoints(torch.from_numpy(keypoints), torch.from_numpy(scores), src, dst)
    for array, tensor in zip((converted, converted_scores), tensors, strict=True):
        assert tensor.dtype == torch.float32
        np.testing.assert_array_equal(array, tensor.numpy())


def test_goliath_to_wholebody():
    goliath_names = KEYPOINT_NAMES['goliath']
    converted, converted_scores = convert_keypoints(*numbered('goliath'), 'goliath', 'coco_wholebody')
    sources = {name: int(x) for name, x in zip(KEYPOINT_NAMES['coco_wholebody'], converted[0, :, 0], strict=True)
               if x == x}
    expected = {name: goliath_names.index(goliath) for goliath, name in COMMON_114}
    # Beside the common 114: the roots of the hands, which are the wrists, and the lowest point of the jaw.
    expected |= {'left_hand_root': 62, 'right_hand_root': 41, 'face-8': goliath_names.index('tip_of_chin')}
    assert sources == expected
    missing = np.isnan(converted[0, :, 0])
    assert missing.sum() == 16
    assert (converted_scores[0][missing] == 0).all()
    assert (converted_scores[0][~missing] > 0).all()


@pytest.mark.parametrize('src', SIZES)
def test_openpose_neck_and_mid_hip_are_midpoints(src):
    keypoints, falling = numbered(src)
    for scores in (falling, falling[:, ::-1]):  # the lower score may be of either side
        converted, converted_scores = convert_keypoints(keypoints, scores, src, 'openpose25')
        for target, sides in (('neck', ('left_shoulder', 'right_shoulder')), ('mid_hip', ('left_hip', 'right_hip'))):
            pair = [KEYPOINT_NAMES[src].index(side) for side in sides]
            np.testing.assert_array_equal(converted[0, OPENPOSE_25.index(target)], keypoints[0, pair].mean(0))
            assert converted_scores[0, OPENPOSE_25.index(target)] == scores[0, pair].min()


def test_a_midpoint_without_a_score_has_none():
    keypoints, scores = numbered('coco')
    for side in (5, 6):
        unknown = scores.copy()
        unknown[0, side] = np.nan
        assert np.isnan(convert_keypoints(keypoints, unknown, 17, 'openpose18')[1][0, 1])


def test_coco_has_no_feet():
    converted, scores = convert_keypoints(*numbered('coco'), 'coco', 'openpose25')
    assert np.isnan(converted[0, 19:]).all()
    assert (scores[0, 19:] == 0).all()
    assert not np.isnan(converted[0, :19]).any()


@pytest.mark.parametrize('src', SIZES)
def test_halpe(src):
    """The numbers are those of Pose2Sim's HALPE_26 and mmpose's halpe26."""
    assert [HALPE_26.index(name) for name in ('head', 'neck', 'hip', 'left_big_toe', 'right_big_toe', 'left_small_toe',
                                              'right_small_toe', 'left_heel', 'right_heel')] == list(range(17, 26))
    keypoints, scores = numbered(src)
    converted, converted_scores = convert_keypoints(keypoints, scores, src, 'halpe26')
    names = KEYPOINT_NAMES[src]
    for target, side in (('neck', 'shoulder'), ('hip', 'hip')):
        middle = (names.index(f'left_{side}') + names.index(f'right_{side}')) / 2
        assert converted[0, HALPE_26.index(target), 0] == middle
    missing = {'head'} if src != 'coco' else set(HALPE_26[17:]) - {'neck', 'hip'}
    assert {name for name, point in zip(HALPE_26, converted[0]) if np.isnan(point).all()} == missing
    assert {name for name, score in zip(HALPE_26, converted_scores[0]) if score == 0} == missing


def test_openpose_order():
    """The order of OpenPose's documentation of its outputs."""
    assert OPENPOSE_18[:5] == ('nose', 'neck', 'right_shoulder', 'right_elbow', 'right_wrist')
    assert OPENPOSE_18[14:] == ('right_eye', 'left_eye', 'right_ear', 'left_ear')
    assert OPENPOSE_25[8] == 'mid_hip'
    assert OPENPOSE_25[19:] == ('left_big_toe', 'left_small_toe', 'left_heel', 'right_big_toe', 'right_small_toe',
                                'right_heel')
