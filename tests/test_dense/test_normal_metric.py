"""Tests of the surface normal metric."""
import math

import numpy as np
import pytest
import torch

from sapiens_mm.dense.metrics import SapiensNormalMetric

SCORES = SapiensNormalMetric.score_names


def sample(true, predicted, mask=None, **meta):
    maps = dict(gt_normal_map=np.moveaxis(true, -1, 0), pred_normal_map=np.moveaxis(predicted, -1, 0))
    if mask is not None:
        maps['gt_person_mask'] = mask[None]
    maps = {key: dict(data=torch.as_tensor(value.copy())) for key, value in maps.items()}
    return dict(sample_name='a', **maps, **meta)


def turned(degrees):
    """Unit vectors that lie so many degrees from z, as one row of an image."""
    degrees = np.radians(np.atleast_2d(degrees))
    return np.stack([np.sin(degrees), np.zeros_like(degrees), np.cos(degrees)], -1)


def evaluate(samples, **kwargs):
    metric = SapiensNormalMetric(**kwargs)
    metric.process(None, samples)
    scores = metric.evaluate(len(samples))
    return {name.removeprefix(f"{metric.report['name']}/"): value for name, value in scores.items()}, metric.report


def test_bad_arguments():
    with pytest.raises(ValueError, match='unit'):
        SapiensNormalMetric(average='unit')


def test_bad_maps():
    true = turned(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="'pred_normal_map' of sample 'a': got 4x2 .* 4x4"):
        evaluate([sample(true, true[:, :2])])
    with pytest.raises(ValueError, match=r"'gt_normal_map' .*\(4, 4, 3\), expected \(3, "):
        evaluate([{**sample(true, true), 'gt_normal_map': dict(data=torch.as_tensor(true))}])
    with pytest.raises(KeyError, match='pred_normal_map'):
        evaluate([{**sample(true, true), 'pred_normal_map': None}])


def test_by_hand():
    angles = [0, 4, 6, 10, 20, 25, 60]
    scores, report = evaluate([sample(turned(np.zeros(7)), turned(angles))])
    assert scores == pytest.approx({
        'mean': np.mean(angles), 'median': scores['median'], 'RMSE': math.sqrt(np.mean(np.square(angles))),
        'within_5': 200 / 7, 'within_7.5': 300 / 7, 'within_11.25': 400 / 7, 'within_22.5': 500 / 7,
        'within_30': 600 / 7, 'images': 1, 'skipped': 0, 'invalid': 0, 'unnormalized': 0
    })
    assert scores['median'] == pytest.approx(10, abs=0.01)
    assert report['name'] == 'normal/pooled'
    assert report['protocol']['average'] == 'pixel'


def test_pooled_and_per_image():
    samples = [sample(turned(np.zeros(3)), turned([8, 8, 8])), sample(turned([0]), turned([40]))]
    pooled, _ = evaluate(samples)
    assert pooled['mean'] == pytest.approx(16)
    assert pooled['median'] == pytest.approx(8, abs=0.01)
    assert pooled['within_30'] == pytest.approx(75)
    per_image, report = evaluate(samples, average='image')
    assert per_image['mean'] == pytest.approx(24)
    assert per_image['median'] == pytest.approx(24, abs=0.01)
    assert per_image['within_30'] == pytest.approx(50)
    assert report['name'] == 'normal/per-image'


def test_predictions_that_are_no_unit_vectors():
    predicted = turned([0, 0, 10, 10, 0])
    predicted[0, 0] = 0
    predicted[0, 1, 1] = np.nan
    predicted[0, 2] *= 7
    predicted[0, 3] *= 0.5
    predicted[0, 4, 0] = np.inf
    scores, _ = evaluate([sample(turned(np.zeros(5)), predicted)])
    assert scores['mean'] == pytest.approx((3 * 90 + 2 * 10) / 5)
    assert scores['invalid'] == pytest.approx(60)
    assert scores['unnormalized'] == pytest.approx(40)


def test_float32_has_no_floor_under_small_angles():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(50, 50, 3))
    true = (true / np.linalg.norm(true, axis=-1, keepdims=True)).astype(np.float32)
    assert evaluate([sample(true, true)])[0]['mean'] < 1e-5
    assert evaluate([sample(true, -true)])[0]['median'] == pytest.approx(180, abs=0.01)


def test_empty_masks_are_skipped_and_pixels_without_normal_do_not_count():
    true, predicted = turned([0, 0, 0, 0]), turned([10, 90, 90, 90])
    true[0, 1] = 0
    true[0, 2] = np.nan
    mask = np.uint8([[1, 1, 1, 0]])
    scores, _ = evaluate([sample(true, predicted, mask, region='face'), sample(true, predicted, 0 * mask)])
    assert scores['mean'] == scores['face/mean'] == pytest.approx(10)
    assert (scores['images'], scores['skipped'], scores['face/skipped']) == (1, 1, 0)
    nothing, _ = evaluate([sample(true, predicted, 0 * mask)])
    assert math.isnan(nothing['median'])


def plain(true, predicted, mask):
    """The angles of the counted pixels, by the arc tangent."""
    valid = (mask > 0) & np.isfinite(true).all(-1) & (np.abs(true).sum(-1) > 0)
    a, b = true[valid].astype(float), predicted[valid].astype(float)
    angle = np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1)))
    bad = ~np.isfinite(b).all(-1) | (np.abs(b).sum(-1) == 0)
    return np.where(bad, 90, angle), bad


@pytest.mark.parametrize('average', ['pixel', 'image'])
def test_against_plain_numpy(average):
    rng = np.random.default_rng(2)
    samples, angles, bad = [], [], 0
    for i in range(50):
        shape = (*(rng.integers(1, 100, 2) * 2 + 1), 3)
        true = rng.normal(size=shape)
        true /= np.linalg.norm(true, axis=-1, keepdims=True)
        predicted = (true + rng.normal(0, rng.uniform(0.05, 0.6), shape)).astype(np.float32)
        predicted[rng.random(shape[:2]) < 0.03] = 0
        predicted[rng.random(shape) < 0.01] = np.nan
        mask = (rng.random(shape[:2]) < 0.7).astype(np.uint8) * (i % 10 != 9)
        true[rng.random(shape[:2]) < 0.1] = 0
        samples.append(sample(true.astype(np.float32), predicted, mask))
        angle, wrong = plain(true, predicted, mask)
        bad += wrong.sum()
        if angle.size:
            angles.append(angle)
    scores, _ = evaluate(samples, average=average)
    sets = [np.concatenate(angles)] if average == 'pixel' else angles
    expected = np.mean([[
        a.mean(), np.median(a), np.sqrt(np.mean(a**2)), *(100 * np.mean(a < t) for t in (5, 7.5, 11.25, 22.5, 30))
    ] for a in sets if a.size], 0)
    values = np.array([scores[name] for name in SCORES])
    np.testing.assert_allclose(values[1], expected[1], atol=0.01)
    np.testing.assert_allclose(np.delete(values, 1), np.delete(expected, 1), rtol=1e-5)
    assert scores['invalid'] == pytest.approx(100 * bad / sum(a.size for a in angles))
    assert (scores['images'], scores['skipped']) == (len(angles), 50 - len(angles))
