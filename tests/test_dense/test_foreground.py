"""Tests of the task foreground: its metric, and training on masks."""
import math

import cv2
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from sapiens_mm.dense.datasets import SapiensDenseDataset
from sapiens_mm.dense.metrics import SapiensForegroundMetric
from sapiens_mm.dense.visualization import SapiensDenseVisualizer

from .conftest import BACKBONE, HEADS


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


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


def test_masks_are_required(people):
    with pytest.raises(ValueError, match='mask_path'):
        SapiensDenseDataset(data_root=str(people), tasks=('foreground', ), data_prefix=dict(mask_path=None))
    with pytest.raises(ValueError, match='num_classes.*got 6'):
        MODELS.build(dict(HEADS['seg'], task='foreground'))


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


def test_a_training_step_and_a_prediction(people):
    dataset = SapiensDenseDataset(data_root=str(people), tasks=('foreground', ), pipeline=[
        dict(type='SapiensLoadImage'), dict(type='SapiensLoadLabels'),
        dict(type='SapiensRandomWarp', size=(48, 40), flip_prob=1.), dict(type='SapiensPackDense')])
    torch.manual_seed(0)
    net = MODELS.build(dict(
        type='SapiensForegroundSegmentor', backbone=BACKBONE, decode_head=HEADS['normal'],
        test_cfg=dict(mode='whole', flip_test=True),
        data_preprocessor=dict(type='SapiensDensePreprocessor', mean=[120.] * 3, std=[60.] * 3, size=(64, 48))))
    net.init_weights()
    packed = [dataset[i] for i in range(2)]
    data = net.data_preprocessor({name: [sample[name] for sample in packed] for name in packed[0]}, training=True)
    optimizer, losses = torch.optim.SGD(net.parameters(), lr=0.1), []
    for _ in range(3):
        loss, logged = net.parse_losses(net(**data, mode='loss'))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[2] < losses[0] == pytest.approx(math.log(2), abs=.1)
    assert 'decode.acc_seg' in logged
    image = cv2.imread(str(people / 'images/a.png'))
    test = net.eval().data_preprocessor(dict(
        inputs=[torch.from_numpy(image).permute(2, 0, 1)],
        data_samples=[SegDataSample(metainfo=dict(ori_shape=(40, 32)))]))
    with torch.no_grad():
        predicted, = net(**test, mode='predict')
    values = predicted.pred_foreground.data
    assert (values.shape, values.dtype) == ((1, 40, 32), torch.uint8)
    assert values.max() <= 1


@pytest.mark.parametrize('predicts', [True, False])
def test_masks_are_drawn_as_labels_of_the_foreground_alone(people, predicts):
    dataset = SapiensDenseDataset(data_root=str(people), tasks=('foreground', ), pipeline=[
        dict(type='SapiensLoadImage'), dict(type='SapiensLoadLabels'), dict(type='SapiensPackDense')])
    sample = dataset[0]['data_samples']
    if predicts:
        sample.pred_foreground = sample.gt_person_mask.clone()
    visualizer = SapiensDenseVisualizer(name=f'foreground {predicts}')
    visualizer.dataset_meta = dict(classes=('back', ), palette=[[0, 0, 0]])
    image = cv2.imread(str(people / 'images/a.png'))
    assert (visualizer.draw(image, sample).shape == image.shape) != predicts
