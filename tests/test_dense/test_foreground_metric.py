"""Tests of the metric of the foreground."""
import math

import pytest
import torch

from sapiens_mm.dense.metrics import SapiensForegroundMetric


def sample(true, predicted):
    return {name: dict(data=torch.tensor(values, dtype=torch.uint8)[None])
            for name, values in (('gt_person_mask', true), ('pred_foreground', predicted)) if values is not None}


def test_unknown_averages():
    with pytest.raises(ValueError, match="got 'person'"):
        SapiensForegroundMetric('person')


@pytest.mark.parametrize(('true', 'predicted', 'kind', 'value'), [
    (None, [[1]], KeyError, 'gt_person_mask'), ([[1]], None, KeyError, 'pred_foreground'),
    ([[1, 0]], [[1]], ValueError, '1x1')])
def test_invalid_samples(true, predicted, kind, value):
    with pytest.raises(kind, match=value):
        SapiensForegroundMetric().process(None, [sample(true, predicted)])


def test_no_people():
    metric = SapiensForegroundMetric()
    metric.process(None, [sample([[0, 0]], [[0, 0]])])
    scores = metric.evaluate(1)
    assert math.isnan(scores['foreground/pooled/IoU'])
    assert scores['foreground/pooled/empty'] == 1


@pytest.mark.parametrize(('average', 'expected'), [
    ('pixel', dict(IoU=3 / 7, precision=3 / 4, recall=3 / 6)),
    ('image', dict(IoU=(2 / 4 + 1 / 3) / 2, precision=(2 / 2 + 1 / 2) / 2, recall=(2 / 4 + 1 / 2) / 2))])
def test_scores(average, expected):
    metric = SapiensForegroundMetric(average)
    metric.process(None, [sample([[1, 1, 1, 1]], [[1, 1, 0, 0]]), sample([[1, 1, 0, 0]], [[1, 0, 1, 0]]),
                          sample([[0, 0, 0, 0]], [[0, 0, 0, 0]])])
    scores = metric.evaluate(3)
    prefix = f'foreground/{metric.protocol_name}/'
    assert {name: scores[prefix + name] / 100 for name in expected} == pytest.approx(expected)
    assert (scores[f'{prefix}images'], scores[f'{prefix}empty']) == (2, 1)
