"""Tests of the body part metric."""
import math

import numpy as np
import pytest
import torch

from sapiens_mm.dense.metrics import SapiensPartsMetric
from sapiens_mm.vocabularies.body_parts import PART_NAMES
from sapiens_mm.vocabularies.lip import LIP_NAMES


def sample(labels, predicted, **meta):
    labels, predicted = (torch.as_tensor(np.asarray(array))[None] for array in (labels, predicted))
    return dict(gt_sem_seg=dict(data=labels), pred_sem_seg=dict(data=predicted), sample_name='a', **meta)


def metric(count=3, **kwargs):
    out = SapiensPartsMetric(**kwargs)
    out.dataset_meta = dict(classes=[f'class{i}' for i in range(count)])
    return out


def evaluate(samples, count=3, **kwargs):
    evaluator = metric(count, **kwargs)
    evaluator.process(None, samples)
    return evaluator.evaluate(len(samples)), evaluator.report


@pytest.mark.parametrize(('labels', 'predicted', 'message'), [
    ([[0, 3]], [[0, 0]], "label of sample 'a': got 1 pixels of class 3, expected 0 to 2 or 255"),
    ([[0, 1]], [[0, 7]], 'prediction .* 1 pixels of class 7, expected 0 to 2;'),
    ([[0, 1]], [[0, 255]], 'prediction .* class 255'),
    ([[0, 300]], [[0, 0]], 'got 0 to 300'),
    ([[0, -1]], [[0, 0]], 'got -1 to 0'),
    ([[0, 1]], [[0., 0.5]], 'float64'),
    ([[0, 1]], [[0], [1]], "'pred_sem_seg' of sample 'a': got 2x1 .* expected 1x2"),
])
def test_bad_maps(labels, predicted, message):
    with pytest.raises(ValueError, match=message):
        metric().process(None, [sample(labels, predicted)])


def test_bad_arguments():
    with pytest.raises(ValueError, match='20to28'):
        SapiensPartsMetric(mapping='20to28')
    with pytest.raises(ValueError, match='got 3, expected 28 or 20'):
        metric(mapping='28to20')
    with pytest.raises(ValueError, match='dataset_meta: got None'):
        SapiensPartsMetric().process(None, [sample([[0]], [[0]])])
    with pytest.raises(KeyError, match="'pred_sem_seg' of sample 'a': got None"):
        metric().process(None, [{**sample([[0]], [[0]]), 'pred_sem_seg': None}])
    with pytest.raises(ValueError, match=r"\(1, 2\), expected \(1, "):
        metric().process(None, [{**sample([[0]], [[0]]), 'gt_sem_seg': dict(data=torch.zeros(1, 2))}])


def test_by_hand():
    # Class 0: 2 right of 3 labeled, one more predicted: IoU 2/4. Class 1: 1 of 2, IoU 1/2. Class 2: only predicted.
    scores, report = evaluate([sample([[0, 0, 0], [1, 1, 255]], [[0, 0, 2], [1, 0, 1]])])
    assert scores == pytest.approx({
        'parts/mIoU': 100 * (2 / 4 + 1 / 2 + 0) / 3,
        'parts/mIoU_present': 100 * (2 / 4 + 1 / 2) / 2,
        'parts/mAcc': 100 * (2 / 3 + 1 / 2) / 2,
        'parts/aAcc': 100 * 3 / 5,
        'parts/images': 1,
        'parts/skipped': 0,
    })
    assert report['classes']['class1'] == dict(IoU=50.0, Acc=50.0, pixels=2, counted=True)
    assert report['classes']['class2'] == dict(IoU=0.0, Acc=None, pixels=0, counted=True)
    assert report['protocol']['classes'] == 3


def test_groups_and_images_without_labels():
    scores, report = evaluate([
        sample([[0, 1]], [[0, 1]], region='face'),
        sample([[0, 1]], [[1, 0]], region='full_body'),
        sample([[255, 255]], [[0, 0]], region='upper_body'),
    ])
    assert scores['parts/face/mIoU'] == 100
    assert scores['parts/full_body/mIoU'] == 0
    assert math.isnan(scores['parts/upper_body/mIoU'])
    assert scores['parts/upper_body/skipped'] == scores['parts/skipped'] == 1
    assert scores['parts/images'] == 2
    assert scores['parts/aAcc'] == 50
    assert list(report['metrics']) == ['face', 'full_body', 'upper_body', 'all']


def test_scores_of_each_image():
    samples = [sample([[0, 1]], [[0, 1]]), sample([[0, 1]], [[1, 1]])]
    metric().process(None, samples)
    assert samples[0]['scores']['parts/mIoU'] == 100
    assert samples[1]['scores'] == {'parts/mIoU': 25, 'parts/mIoU_present': 25, 'parts/mAcc': 50, 'parts/aAcc': 50}


def ids(names, *chosen):
    return [[255 if name is None else names.index(name) for name in chosen]]


def test_mapping():
    parts28 = ids(PART_NAMES, 'Left_Hand', 'Upper_Lip', 'Upper_Clothing', 'Torso', 'Apparel', 'Right_Sock')
    lip20 = ids(LIP_NAMES, 'Left-arm', 'Face', 'Coat', None, 'Hat', 'Socks')
    arms = ids(LIP_NAMES, 'Right-arm', 'Face', 'UpperClothes', 'Face', 'Face', 'Socks')
    # A model of 28 on labels of 20; a coat is upper clothes, a hat has no counterpart.
    scores, report = evaluate([sample(lip20, parts28)], 20, mapping='28to20')
    assert scores['parts/28to20/mIoU'] == scores['parts/28to20/aAcc'] == 100
    assert report['classes']['Left-arm'] == dict(IoU=100.0, Acc=100.0, pixels=1, counted=True)
    assert report['classes']['Hat'] == dict(IoU=None, Acc=None, pixels=0, counted=False)
    assert report['protocol'] == dict(
        mapping='28to20', classes=20, label_classes=20, prediction_classes=28, average='pixel')
    # A model of 20 on labels of 28, of which four have a counterpart; the wrong arm.
    scores, _ = evaluate([sample(parts28, arms)], 28, mapping='28to20', map_pred=False)
    assert scores['parts/28to20/aAcc'] == 75
    assert scores['parts/28to20/mIoU'] == pytest.approx(60)
    # A model of 28 on labels of 28, and one of 20 on labels of 20.
    assert evaluate([sample(parts28, parts28)], 28, mapping='28to20')[0]['parts/28to20/mIoU'] == 100
    assert evaluate([sample(lip20, arms)], 20, mapping='28to20', map_pred=False)[0]['parts/28to20/aAcc'] == 75
    # A prediction without a counterpart is an error.
    scores, _ = evaluate([sample(ids(LIP_NAMES, 'Hair', 'Hair'), ids(PART_NAMES, 'Hair', 'Apparel'))], 20,
                          mapping='28to20')
    assert scores['parts/28to20/mIoU'] == 50
    # CIHP has the torso.
    scores, _ = evaluate([sample(parts28, parts28)], 28, mapping='28to20-cihp')
    assert scores['parts/28to20-cihp/mIoU'] == 100
    with pytest.raises(ValueError, match='2 pixels of class 25, expected 0 to 19'):
        evaluate([sample([[0, 0]], [[25, 25]])], 20, mapping='28to20', map_pred=False)


def plain(pairs, count):
    """The scores, pixel sets by pixel sets."""
    labels = np.concatenate([a[a != 255].ravel() for a, _ in pairs])
    predicted = np.concatenate([b[a != 255].ravel() for a, b in pairs])
    ious, present, recalls = [], [], []
    for k in range(count):
        both = np.sum((labels == k) & (predicted == k))
        either = np.sum((labels == k) | (predicted == k))
        if either:
            ious.append(both / either)
        if np.sum(labels == k):
            present.append(both / either)
            recalls.append(both / np.sum(labels == k))
    return 100 * np.array([np.mean(ious), np.mean(present), np.mean(recalls), np.mean(labels == predicted)])


@pytest.mark.parametrize('dtype', [torch.uint8, torch.long])
def test_against_plain_numpy(dtype):
    rng = np.random.default_rng(0)
    pairs = []
    for i in range(50):
        shape = rng.integers(1, 400, 2) * 2 + 1
        labels = rng.integers(0, 26, shape).astype(np.uint8)
        predicted = np.where(rng.random(shape) < 0.6, labels, rng.integers(0, 27, shape)).astype(np.uint8)
        labels[rng.random(shape) < 0.1] = 255
        if i % 10 == 9:
            labels[:] = 255
        pairs.append((labels, predicted))
    samples = [sample(torch.as_tensor(a).to(dtype), b) for a, b in pairs]
    scores, _ = evaluate(samples, 28)
    np.testing.assert_allclose([scores[f'parts/{name}'] for name in SapiensPartsMetric.score_names], plain(pairs, 28),
                               rtol=1e-12)
    assert scores['parts/skipped'] == 5
