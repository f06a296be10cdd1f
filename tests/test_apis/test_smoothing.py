"""Tests of smoothing over time."""
import numpy as np
import pytest

from sapiens_mm.apis.frames import Source
from sapiens_mm.apis.result import Result
from sapiens_mm.apis.smoothing import OneEuro, butterworth, smooth, steady

BLANK = np.zeros((1, 1, 3), np.uint8)


def results(points, scores=None, ids=None, name='a', times=None, rate=30.):
    """One person of one keypoint in each frame, at places (T, 2)."""
    out = []
    for number, point in enumerate(points):
        out.append(Result(
            Source(name, name, 'video'), BLANK, number, rate, np.array([[0, 0, 9, 9, 1]], np.float32),
            np.array([1 if ids is None else ids[number]]), np.array(point, np.float32).reshape(1, 1, 2),
            np.array([[1. if scores is None else scores[number]]], np.float32),
            time=None if times is None else times[number]))
    return out


def run(*args, one_euro=None, **kwargs):
    return np.array([result.keypoints[0, 0] for result in smooth(results(*args, **kwargs), one_euro or OneEuro())])


def test_noise_of_a_person_at_rest_is_halved():
    noisy = 100 + np.random.default_rng(0).normal(0, 2, (300, 2))
    assert run(noisy)[30:].std() < noisy[30:].std() / 2


def test_fast_motion_lags_less_than_a_frame():
    moving = np.arange(100)[:, None] * [5., 0] + 50
    lag = (moving - run(moving))[50:, 0] / 5
    assert lag.min() > 0
    assert lag.max() < 1


def test_times_of_frames_count():
    step = np.array([[0., 0]] * 3 + [[10., 0]])
    slow, fast = (run(step, times=np.arange(4) / rate, one_euro=OneEuro(beta=0))[-1, 0] for rate in (10, 100))
    assert 0 < fast < slow < 10
    # A low-pass filter of 1 Hz, after 0.1 s.
    assert slow == pytest.approx(10 / (1 + 1 / (2 * np.pi * .1)), abs=1e-4)


def test_nothing_is_smoothed_across_hidden_spans():
    places = np.array([[0., 0], [1, 0], [50, 0], [100, 0], [101, 0]])
    found = run(places, scores=[1, 1, .1, 1, 1])
    np.testing.assert_array_equal(found[2:4], places[2:4])  # hidden: as it is; then anew
    assert 100 < found[4, 0] < 101
    found = run(places, ids=[1, 1, 2, 1, 1])  # person 1 is not in the third frame
    np.testing.assert_array_equal(found[2:4], places[2:4])
    assert run([[0, 0]])[0].tolist() == [0, 0]


def test_videos_and_images_are_apart():
    first, second = results([[0, 0], [9, 9]]), results([[5, 5]], name='b')
    image = Result(Source('c', 'c'), BLANK, boxes=first[0].boxes, keypoints=np.full((1, 1, 2), 7.),
                   keypoint_scores=np.ones((1, 1)))
    places = [result.keypoints[0, 0, 0] for result in smooth([first[0], image, *second], OneEuro())]
    assert places == [0, 7, 5]
    scores = [result.keypoint_scores.copy() for result in results([[0, 0], [9, 9]])]
    for before, after in zip(scores, smooth(first, OneEuro())):
        np.testing.assert_array_equal(before, after.keypoint_scores)


def test_bad_settings():
    for kwargs in (dict(min_cutoff=0), dict(beta=-1), dict(min_cutoff=float('nan')), dict(beta=float('inf'))):
        with pytest.raises(ValueError, match=next(iter(kwargs))):
            OneEuro(**kwargs)


def test_butterworth_keeps_slow_motion_in_time():
    seconds = np.arange(200) / 50
    slow = np.sin(2 * np.pi * seconds)[:, None] * [100, 50]
    noisy = slow + np.random.default_rng(0).normal(0, 5, slow.shape)
    found = butterworth(noisy, 50)
    assert np.abs(found - slow)[20:-20].std() < np.abs(noisy - slow).std() / 1.5
    np.testing.assert_allclose(butterworth(slow, 50)[20:-20], slow[20:-20], atol=.5)
    np.testing.assert_array_equal(butterworth(noisy[:3], 50), noisy[:3])
    for length in range(1, 40):
        assert butterworth(noisy[:length], 50).shape == (length, 2)
    for kwargs in (dict(cutoff=25.), dict(cutoff=0), dict(order=3)):
        with pytest.raises(ValueError, match=next(iter(kwargs))):
            butterworth(noisy, 50, **kwargs)


def depths(scales, shifts, name='a'):
    true = np.linspace(1, 2, 40).reshape(5, 8)
    true[0] = 0  # nobody
    return [Result(Source(name, name, 'video'), BLANK, number,
                   maps=dict(depth=np.where(true > 0, true * scale + shift, 0).astype(np.float32)))
            for number, (scale, shift) in enumerate(zip(scales, shifts))]


def test_depth_keeps_scale_and_shift():
    found = [result.depth for result in steady(depths([1, 1.3, .7, 1.1], [0, .2, .1, .4]))]
    for depth in found[1:]:
        np.testing.assert_allclose(depth, found[0], atol=1e-5)
    np.testing.assert_array_equal(found[1][0], 0)
    apart = [result.depth for result in steady([*depths([1], [0]), *depths([2], [1], 'b')])]
    assert apart[1].max() > 4


def test_depth_of_noisy_frames_does_not_shrink():
    rng = np.random.default_rng(0)
    frames = depths(np.ones(200), np.zeros(200))
    for result in frames:
        result.maps['depth'] = np.where(result.depth > 0, result.depth + rng.normal(0, .02, (5, 8)), 0)
    assert np.ptp([result.depth for result in steady(frames)][-1][1:]) > .8


def test_people_who_are_new_start_anew():
    frames = depths([1, 2], [0, 0])
    frames[1].maps['depth'][:, :] = np.where(frames[1].depth > 0, 0, 3)  # elsewhere in the image
    assert [result.depth.max() for result in steady(frames)] == [2, 3]
