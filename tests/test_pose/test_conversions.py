import numpy as np
import pytest
import torch

from sapiens_mm.pose.vocabularies import COMMON_114, OPENPOSE_18, OPENPOSE_25, convert_keypoints, get_metainfo

SIZES = {'coco': 17, 'coco_wholebody': 133, 'goliath': 308}
TARGETS = {**SIZES, 'openpose18': 18, 'openpose25': 25}
PAIRS = [('goliath', 'coco'), ('goliath', 'coco_wholebody'), ('coco_wholebody', 'coco')]
PAIRS += [(src, dst) for src in SIZES for dst in ('openpose18', 'openpose25')]


def numbered(src, dims=2):
    """Keypoints that hold their own index: x = index, y = -index, with descending scores."""
    index = np.arange(SIZES[src], dtype=np.float32)
    return np.stack([index, -index, index][:dims], axis=-1)[None], (1 - index / 1000)[None]


def names(vocabulary):
    return {'openpose18': OPENPOSE_18, 'openpose25': OPENPOSE_25}.get(vocabulary) or \
        tuple(get_metainfo(vocabulary)['keypoint_name2id'])


@pytest.mark.parametrize(('src', 'dst', 'match'), [
    ('coco', 'goliath', "cannot convert 'coco' keypoints to 'goliath': 'coco' converts to openpose18, openpose25"),
    (17, 133, "cannot convert 'coco' keypoints to 'coco_wholebody'"),
    ('openpose18', 'coco', "unknown keypoint vocabulary 'openpose18'"),
    ('coco', 'openpose19', "unknown keypoint vocabulary 'openpose19'"),
])
def test_no_such_conversion(src, dst, match):
    with pytest.raises(ValueError, match=match):
        convert_keypoints(*numbered('coco'), src, dst)


def test_bad_shapes():
    keypoints, scores = numbered('coco_wholebody')
    with pytest.raises(ValueError, match=r"'goliath' keypoints have shape \(..., 308, 2 or 3\), got \(1, 133, 2\)"):
        convert_keypoints(keypoints, scores, 'goliath', 'coco')
    with pytest.raises(ValueError, match=r'scores should have shape \(1, 133\) .* got \(1, 132\)'):
        convert_keypoints(keypoints, scores[:, 1:], 133, 17)


@pytest.mark.parametrize(('src', 'dst'), PAIRS)
@pytest.mark.parametrize('dims', [2, 3])
def test_same_names_keep_their_place(src, dst, dims):
    keypoints, scores = numbered(src, dims)
    converted, converted_scores = convert_keypoints(keypoints, scores, SIZES[src], dst)
    assert converted.shape == (1, TARGETS[dst], dims)
    assert converted_scores.shape == (1, TARGETS[dst])
    for target, name in enumerate(names(dst)):
        if name in names(src) and name != 'neck':
            np.testing.assert_array_equal(converted[0, target], keypoints[0, names(src).index(name)])
            assert converted_scores[0, target] == scores[0, names(src).index(name)]


@pytest.mark.parametrize(('src', 'dst'), PAIRS)
def test_tensors_convert_as_arrays_do(src, dst):
    keypoints, scores = numbered(src)
    arrays = convert_keypoints(keypoints, scores, src, dst)
    tensors = convert_keypoints(torch.from_numpy(keypoints), torch.from_numpy(scores), src, dst)
    for array, tensor in zip(arrays, tensors, strict=True):
        assert tensor.dtype == torch.float32
        np.testing.assert_array_equal(array, tensor.numpy())


def test_input_is_left_alone():
    keypoints, scores = numbered('coco')
    before = keypoints.copy(), scores.copy()
    convert_keypoints(keypoints, scores, 'coco', 'openpose25')
    np.testing.assert_array_equal(keypoints, before[0])
    np.testing.assert_array_equal(scores, before[1])


def test_goliath_to_wholebody():
    keypoints, scores = numbered('goliath')
    converted, converted_scores = convert_keypoints(keypoints, scores, 'goliath', 'coco_wholebody')
    found = {name: int(x) for name, x in zip(names('coco_wholebody'), converted[0, :, 0], strict=True) if x == x}
    expected = {name: names('goliath').index(goliath) for goliath, name in COMMON_114}
    # Beside the common 114: the roots of the hands, which are the wrists, and the lowest point of the jaw.
    expected |= {'left_hand_root': 62, 'right_hand_root': 41, 'face-8': names('goliath').index('tip_of_chin')}
    assert found == expected
    missing = np.isnan(converted[0, :, 0])
    assert missing.sum() == 16
    assert (converted_scores[0][missing] == 0).all()
    assert (converted_scores[0][~missing] > 0).all()


@pytest.mark.parametrize('src', SIZES)
def test_openpose_neck_and_mid_hip_are_midpoints(src):
    keypoints, scores = numbered(src)
    converted, converted_scores = convert_keypoints(keypoints, scores, src, 'openpose25')
    for target, sides in (('neck', ('left_shoulder', 'right_shoulder')), ('mid_hip', ('left_hip', 'right_hip'))):
        pair = [names(src).index(side) for side in sides]
        np.testing.assert_array_equal(converted[0, OPENPOSE_25.index(target)], keypoints[0, pair].mean(0))
        assert converted_scores[0, OPENPOSE_25.index(target)] == scores[0, pair].min()


def test_coco_has_no_feet():
    converted, scores = convert_keypoints(*numbered('coco'), 'coco', 'openpose25')
    feet = [index for index, name in enumerate(OPENPOSE_25) if name.endswith(('toe', 'heel'))]
    assert feet == list(range(19, 25))
    assert np.isnan(converted[0, feet]).all()
    assert (scores[0, feet] == 0).all()
    assert not np.isnan(converted[0, :19]).any()


def test_openpose_order():
    """The order of OpenPose's documentation of its outputs."""
    assert OPENPOSE_18[:5] == ('nose', 'neck', 'right_shoulder', 'right_elbow', 'right_wrist')
    assert OPENPOSE_18[14:] == ('right_eye', 'left_eye', 'right_ear', 'left_ear')
    assert OPENPOSE_25[8] == 'mid_hip'
    assert OPENPOSE_25[19:22] == ('left_big_toe', 'left_small_toe', 'left_heel')
