"""Tests of the depth metric."""
import math

import numpy as np
import pytest
import torch

from sapiens_mm.dense.metrics import SapiensDepthMetric

SCORES = SapiensDepthMetric.score_names


def sample(true, predicted, mask=None, persons=None, **meta):
    maps = dict(gt_depth_map=true, pred_depth_map=predicted, gt_person_mask=mask, gt_instance_map=persons)
    maps = {key: np.asarray(value)[None] for key, value in maps.items() if value is not None}
    maps = {key: dict(data=torch.as_tensor(value)) for key, value in maps.items()}
    return dict(sample_name='a', **maps, **meta)


def evaluate(samples, **kwargs):
    """The scores without the protocol in front, and what is reported."""
    metric = SapiensDepthMetric(**kwargs)
    metric.process(None, samples)
    scores = metric.evaluate(len(samples))
    start = f"{metric.report['name']}/"
    assert all(name.startswith(start) for name in scores)
    return {name.removeprefix(start): value for name, value in scores.items()}, metric.report


@pytest.mark.parametrize(('kwargs', 'message'), [
    (dict(alignment='affine'), 'affine'),
    (dict(per='pixel'), "per: got 'pixel'"),
    (dict(average='image'), "average: got 'image'"),
    (dict(min_depth=0.), '0.0, 100.0'),
])
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        SapiensDepthMetric(**kwargs)


def test_bad_maps():
    true = np.full((4, 4), 2.0, np.float32)
    with pytest.raises(ValueError, match="'pred_depth_map' of sample 'a': got 4x3 .* 4x4"):
        evaluate([sample(true, true[:, :3])])
    with pytest.raises(ValueError, match="'gt_person_mask' of sample 'a': got 2x4"):
        evaluate([sample(true, true, mask=np.ones((2, 4), np.uint8))])
    with pytest.raises(ValueError, match='got 200 to 200, expected 0.1 to 100.0 meters'):
        evaluate([sample(100 * true, true)])
    with pytest.raises(KeyError, match='gt_instance_map'):
        evaluate([sample(true, true)], per='person')
    with pytest.raises(ValueError, match=r"'pred_depth_map' .*\(2, 4, 4\), expected \(1, "):
        evaluate([{**sample(true, true), 'pred_depth_map': dict(data=torch.zeros(2, 4, 4))}])


def test_unaligned_by_hand():
    # Ratios 1, 1.25 (which is not below 1.25), 2; errors 0, 0.5, 2 m.
    scores, report = evaluate([sample([[1., 2., 2.]], [[1., 2.5, 4.]])], alignment='none', min_pixels=1)
    log = np.log([1, 1.25, 2])
    assert scores == pytest.approx(dict(
        RMSE=math.sqrt((0.25 + 4) / 3), AbsRel=(0.25 + 1) / 3, delta1=1 / 3, delta2=2 / 3, delta3=2 / 3,
        SiLog=log.std(), log10=np.log10([1, 1.25, 2]).mean(), units=1, skipped=0, reversed=0, nonfinite=0))
    assert report['name'] == 'depth/none/per-image'
    assert report['protocol']['alignment'] == 'none'


def test_scale_by_hand():
    # s = (1 * 2 + 2 * 2) / (1 + 4) = 1.2.
    scores, _ = evaluate([sample([[2., 2.]], [[1., 2.]])], alignment='scale', min_pixels=1)
    assert scores['RMSE'] == pytest.approx(math.sqrt((0.8**2 + 0.4**2) / 2))


def test_scale_and_shift_by_hand():
    # The line through (0, 1), (1, 3), (2, 2): slope 1/2, offset 3/2; residuals 0.5, -1, 0.5.
    scores, report = evaluate([sample([[1., 3., 2.]], [[0., 1., 2.]])], min_pixels=1)
    assert scores['RMSE'] == pytest.approx(math.sqrt(1.5 / 3))
    assert scores['AbsRel'] == pytest.approx((0.5 / 1 + 1 / 3 + 0.5 / 2) / 3)
    assert report['name'] == 'depth/scale-shift/per-image'


def test_inverse():
    true = np.linspace(1, 4, 12).reshape(3, 4)
    scores, report = evaluate([sample(true, 1 - 0.3 / true)], alignment='scale-shift-inverse')
    assert scores['RMSE'] < 1e-9
    assert scores['reversed'] == 0
    assert report['name'] == 'depth/scale-shift-inverse/per-image'
    # By hand: 1 / z is 1, 1/2, 1/2, p is 0, 0, 1: s = -1/4, t = 3/4, and depth 4/3, 4/3, 2.
    scores, _ = evaluate([sample([[1., 2., 2.]], [[0., 0., 1.]])], alignment='scale-shift-inverse', min_pixels=1)
    assert scores['RMSE'] == pytest.approx(math.sqrt((1 / 9 + 4 / 9) / 3))


def test_inverse_is_clamped():
    # 1 / z is 1, 0.1, 0.1, 0.1; the line falls below 0 at the last one, where depth becomes max_depth.
    scores, _ = evaluate([sample([[1., 10., 10., 10.]], [[0., 0.5, 1., 2.]])], alignment='scale-shift-inverse',
                          max_depth=20, min_pixels=1)
    p = np.array([0, 0.5, 1, 2])
    line = np.polyval(np.polyfit(p, [1, 0.1, 0.1, 0.1], 1), p)
    assert line[-1] < 0
    depth = np.append(1 / line[:-1].clip(1 / 20), 20)
    assert scores['RMSE'] == pytest.approx(np.sqrt(np.mean((depth - [1, 10, 10, 10])**2)))


@pytest.mark.parametrize('alignment', ['scale-shift', 'scale-shift-inverse'])
def test_constant_predictions_become_the_mean(alignment):
    true = np.linspace(1, 3, 16, dtype=np.float32).reshape(4, 4)
    scores, _ = evaluate([sample(true, np.full((4, 4), 0.7, np.float32))], alignment=alignment)
    mean = true.mean() if alignment == 'scale-shift' else 1 / (1 / true).mean()
    assert scores['RMSE'] == pytest.approx(np.sqrt(np.mean((true - mean)**2)), rel=1e-6)


def test_predictions_that_are_not_finite():
    true = np.linspace(1, 3, 16).reshape(4, 4)
    predicted = true.copy()
    predicted[0, 0], predicted[3, 3], predicted[1, 1] = np.nan, np.inf, -np.inf
    scores, _ = evaluate([sample(true, predicted)], alignment='none')
    bad = ~np.isfinite(predicted)
    error = np.where(bad, np.median(predicted[~bad]) - true, 0)
    assert scores['nonfinite'] == 3
    assert scores['RMSE'] == pytest.approx(np.sqrt(np.mean(error**2)))
    nothing, _ = evaluate([sample(true, np.full((4, 4), np.nan))], alignment='scale')
    assert nothing['nonfinite'] == 16
    assert nothing['AbsRel'] == pytest.approx(np.mean(1 - 0.1 / true))  # at min_depth
    assert math.isfinite(nothing['SiLog'])


def test_reversed_depth_is_counted():
    true = np.linspace(1, 3, 16).reshape(4, 4)
    for alignment in ('scale', 'scale-shift', 'scale-shift-inverse'):
        assert evaluate([sample(true, -true)], alignment=alignment)[0]['reversed'] == 1
        assert evaluate([sample(true, true)], alignment=alignment)[0]['reversed'] == 0


def test_pixels_without_label_or_person_do_not_count():
    true = np.full((4, 4), 2.0)
    true[0], true[1, 0] = 0, np.nan
    mask = np.ones((4, 4), np.uint8)
    mask[3] = 0
    predicted = np.full((4, 4), 2.0)
    predicted[0], predicted[3], predicted[1, 0] = 50, 50, np.nan
    scores, _ = evaluate([sample(true, predicted, mask)], alignment='none', min_pixels=1)
    assert scores['RMSE'] == 0
    assert scores['nonfinite'] == 0


def test_persons_are_aligned_by_themselves():
    true = np.concatenate([np.linspace(1, 2, 16), np.linspace(3, 4, 32), np.full(8, 9), np.full(3, 5)])[None]
    persons = np.repeat(np.uint8([1, 2, 0, 3]), [16, 32, 8, 3])[None]
    predicted = np.where(persons == 1, true, np.where(persons == 2, 5 * true, 0)) + 0.1 * np.cos(np.arange(59))[None]
    scores, report = evaluate([sample(true, predicted, persons=persons)], per='person')
    rmse = []
    for person in (1, 2):
        p, z = predicted[persons == person], true[persons == person]
        rmse.append(np.sqrt(np.mean((np.polyval(np.polyfit(p, z, 1), p) - z)**2)))
    assert scores['RMSE'] == pytest.approx(np.mean(rmse))
    assert (scores['units'], scores['skipped']) == (2, 1)
    assert report['name'] == 'depth/scale-shift/per-person'
    pooled, report = evaluate([sample(true, predicted, persons=persons)], per='person', average='pixel')
    assert pooled['RMSE'] == pytest.approx(math.sqrt((16 * rmse[0]**2 + 32 * rmse[1]**2) / 48))
    assert report['name'] == 'depth/scale-shift/per-person-pooled'


def test_empty_masks_are_skipped_and_counted():
    true = np.full((4, 4), 2.0)
    full, empty = np.ones((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    samples = [sample(true, true + 1, full, region='face'), sample(true, true, empty, region='full_body')]
    scores, _ = evaluate(samples, alignment='none')
    assert (scores['RMSE'], scores['units'], scores['skipped']) == (1, 1, 1)
    assert scores['face/RMSE'] == 1
    assert math.isnan(scores['full_body/RMSE'])
    assert math.isnan(samples[1]['scores']['depth/none/per-image/RMSE'])
    only_empty, _ = evaluate(samples[1:], per='image')
    assert math.isnan(only_empty['RMSE'])
    assert evaluate([sample(true, true, persons=empty)], per='person')[0]['skipped'] == 1


def plain(true, predicted, mask, alignment):
    """Scores of one image, by NumPy's own least squares; None without enough pixels."""
    valid = (mask > 0) & (true > 0)
    if valid.sum() < 10:
        return None
    z, p = true[valid].astype(float), predicted[valid].astype(float)
    p[~np.isfinite(p)] = np.median(p[np.isfinite(p)]) if np.isfinite(p).any() else 0
    target = 1 / z if alignment == 'scale-shift-inverse' else z
    columns = [p] if alignment == 'scale' else [p, np.ones_like(p)]
    if alignment != 'none':
        p = np.stack(columns, 1) @ np.linalg.lstsq(np.stack(columns, 1), target, rcond=None)[0]
    if alignment == 'scale-shift-inverse':
        p = 1 / np.clip(p, 1 / 100, 1 / 0.1)
    p = np.clip(p, 0.1, 100)
    worse = np.maximum(p / z, z / p)
    return [
        np.sqrt(np.mean((p - z)**2)), np.mean(abs(p - z) / z), *(np.mean(worse < 1.25**k) for k in (1, 2, 3)),
        np.std(np.log(p) - np.log(z)), np.mean(abs(np.log10(p) - np.log10(z)))
    ]


@pytest.mark.parametrize('alignment', ['none', 'scale', 'scale-shift', 'scale-shift-inverse'])
def test_against_plain_numpy(alignment):
    rng = np.random.default_rng(1)
    samples, expected, nonfinite = [], [], 0
    for i in range(50):
        shape = rng.integers(2, 100, 2) * 2 + 1
        true = rng.uniform(0.5, 9, shape).astype(np.float32)
        predicted = (0.1 * true - 0.05 + rng.normal(0, 0.1, shape)).astype(np.float32)
        predicted[rng.random(shape) < 0.05] = rng.choice([np.nan, np.inf, -np.inf])
        mask = (rng.random(shape) < 0.7).astype(np.uint8) * (i % 10 != 9)
        true[rng.random(shape) < 0.1] = 0
        nonfinite += np.sum(~np.isfinite(predicted) & (mask > 0) & (true > 0))
        samples.append(sample(true, predicted, mask))
        if (scores := plain(true, predicted, mask, alignment)) is not None:
            expected.append(scores)
    scores, _ = evaluate(samples, alignment=alignment)
    np.testing.assert_allclose([scores[name] for name in SCORES], np.mean(expected, 0), rtol=1e-9)
    assert (scores['units'], scores['skipped']) == (len(expected), 50 - len(expected))
    assert scores['nonfinite'] == nonfinite > 1000
