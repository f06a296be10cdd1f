"""A new dense task, alpha mattes of one channel from 0 to 1, by one entry in the table, a loss, a metric, a drawing."""
import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import sapiens_mm.dense  # noqa: F401
from sapiens_mm.dense.datasets import SapiensDenseDataset
from sapiens_mm.dense.metrics import SapiensWorstSamples
from sapiens_mm.dense.metrics.streaming import ScoringMetric, get_map
from sapiens_mm.dense.metrics.table import paper_table
from sapiens_mm.dense.visualization import SapiensDenseVisualizer
from sapiens_mm.tasks import TASKS, Label, Task
from sapiens_mm.utils.alignment import dot
from sapiens_mm.visualization.maps import DRAWINGS

from .conftest import BACKBONE, HEADS

NO_LABEL = 9


class MatteLoss(torch.nn.Module):
    loss_name = 'loss_matte'

    def forward(self, pred, target):
        valid = target <= 1
        return torch.where(valid, (pred - target).abs(), 0).sum() / valid.sum().clamp(min=1)


class MatteMetric(ScoringMetric):
    default_prefix = task = 'matte'
    score_names = ('RMSE', )
    columns = (('RMSE', 'RMSE', 3), )
    worst_by = ('RMSE', False)
    protocol = {}

    def units(self, sample):
        error = get_map(sample, 'pred_matte') - get_map(sample, 'gt_matte')
        return [dict(pixels=error.size, squared=dot(error, error))], {}

    def scores(self, sums):
        return dict(RMSE=(sums['squared'] / sums['pixels'])**0.5)


@pytest.fixture
def matte(monkeypatch):
    monkeypatch.setitem(TASKS, 'matte', Task(
        'matte', 'values', 'matte', 'matte', 'matte', 'matte', channels=1, loss='mmseg.MatteLoss',
        pred_field='pred_matte', label=Label('matte_path', 'gt_matte_map', 'gt_matte', 'mattes', NO_LABEL, 'matte')))
    monkeypatch.setitem(DRAWINGS, 'matte', lambda matte, image, *_: (matte[..., None] * image).astype(np.uint8))
    monkeypatch.setitem(MODELS.module_dict, 'MatteLoss', MatteLoss)
    init_default_scope('mmseg')


@pytest.fixture
def dataset(matte, people):
    """Three people with mattes; two pipelines, of training and of testing."""
    (people / 'mattes').mkdir()
    for path in people.glob('masks/*.png'):
        cv2.imwrite(str(people / 'mattes' / path.name), cv2.GaussianBlur(cv2.imread(str(path), 0), (5, 5), 0))

    def build(*steps):
        return SapiensDenseDataset(data_root=str(people), tasks=('matte', ), pipeline=[
            dict(type='SapiensLoadLabels', mask=False), *steps, dict(type='SapiensPackDense')])
    return build


def model(kind, size=(64, 48)):
    heads = dict(heads=dict(matte=HEADS['normal'], seg=HEADS['seg']))
    if kind == 'SapiensDenseEstimator':
        heads = dict(decode_head=dict(HEADS['normal'], task='matte'))
    return MODELS.build(dict(
        type=kind, backbone=BACKBONE, test_cfg=dict(mode='whole', flip_test=True, flip_indices=list(range(6))),
        data_preprocessor=dict(type='SapiensDensePreprocessor', mean=[120.] * 3, std=[60.] * 3, size=size), **heads))


def test_loading_warping_and_packing(dataset, people):
    whole = dataset(dict(type='SapiensLoadImage'))[0]['data_samples'].gt_matte.data
    np.testing.assert_allclose(whole[0], cv2.imread(str(people / 'mattes/a.png'), 0) / 255, atol=1e-6)
    warped = dataset(dict(type='SapiensRandomWarp', size=(64, 48), scale_range=(0.3, 0.3)))[0]['data_samples']
    values = warped.gt_matte.data
    assert values.shape == (1, 64, 48)
    assert (values == NO_LABEL).any()
    assert ((values == NO_LABEL) | (values <= 1)).all()
    np.save(people / 'mattes/a.npy', np.full((40, 32), np.nan, np.float32))
    (people / 'mattes/a.png').unlink()
    with pytest.raises(ValueError, match='mattes/a.npy'):
        dataset(dict(type='SapiensLoadImage'))[0]


@pytest.mark.parametrize('kind', ['SapiensDenseEstimator', 'SapiensMultiTask'])
def test_a_training_step_and_a_prediction(dataset, kind):
    torch.manual_seed(0)
    net = model(kind)
    net.init_weights()
    packed = [dataset(dict(type='SapiensRandomWarp', size=(48, 40)))[i] for i in range(2)]
    batch = {name: [sample[name] for sample in packed] for name in packed[0]}
    data = net.data_preprocessor(batch, training=True)
    padding = data['data_samples'][0].gt_matte.data[:, 48:]
    assert padding.numel()
    assert (padding == NO_LABEL).all()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    losses = []
    for _ in range(2):
        terms = net(**data, mode='loss')
        loss, _ = net.parse_losses(terms)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[1] < losses[0]
    assert any(name.endswith('loss_matte') for name in terms)
    data = net.eval().data_preprocessor(dict(inputs=batch['inputs'], data_samples=[
        SegDataSample(metainfo=dict(ori_shape=(40, 32))) for _ in packed]))
    with torch.no_grad():
        predicted = net(**data, mode='predict')
    assert [tuple(sample.pred_matte.data.shape) for sample in predicted] == [(1, 40, 32)] * 2


def test_metric_and_drawings(matte, tmp_path):
    true = np.linspace(0, 1, 128 * 100, dtype=np.float32).reshape(1, 128, 100)
    sample = dict(sample_name='a', gt_matte=dict(data=torch.from_numpy(true)),
                  pred_matte=dict(data=torch.from_numpy(true + 0.5)))
    metric, worst = MatteMetric('pixel'), SapiensWorstSamples(str(tmp_path))
    for evaluator in (metric, worst):
        evaluator.process(None, [sample])
    assert metric.evaluate(1)['matte/RMSE'] == pytest.approx(0.5)
    assert '0.500' in paper_table([metric.report])
    worst.evaluate(1)
    assert len(list(tmp_path.glob('matte/01_0.5_a.jpg'))) == 1
    packed = SegDataSample()
    packed.set_data(dict(pred_matte=PixelData(data=torch.from_numpy(true))))
    visualizer = SapiensDenseVisualizer(name='matte')
    visualizer.dataset_meta = dict(classes=('back', ), palette=[[0, 0, 0]])
    sheet = visualizer.draw(np.full((128, 100, 3), 200, np.uint8), packed)
    assert sheet.shape[1] > 200
