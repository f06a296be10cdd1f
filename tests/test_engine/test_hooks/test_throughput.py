"""Tests of the throughput hook."""
import json
import time

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import HOOKS, MODELS
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

import sapiens_mm.pretrain  # noqa: F401  (registers)
from sapiens_mm.engine.hooks.throughput import peak_tflops
from sapiens_mm.engine.profile import profile_model

MODEL = dict(
    type='SapiensMAE',
    backbone=dict(type='SapiensViT', img_size=(64, 48), with_cp=True,
                  arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)),
    neck=dict(embed_dims=16, num_layers=1, num_heads=2))


class Images(Dataset):

    def __len__(self):
        return 10

    def __getitem__(self, i):
        return dict(inputs=torch.randn(3, 64, 48), data_samples=dict(key=str(i)))


@MODELS.register_module()
class Plain(BaseModel):
    """Not of ours: no backbone, no grid."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, inputs, data_samples, mode):
        return dict(loss=inputs.mean() * self.weight.sum())


def train(tmp_path, model, **kwargs):
    Runner(
        model=model,
        cfg=dict(model=model),
        work_dir=str(tmp_path),
        train_dataloader=DataLoader(Images(), batch_size=4),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.)),
        custom_hooks=[dict(type='SapiensThroughputHook', **kwargs)],
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        log_processor=dict(window_size=2, custom_cfg=[dict(data_src='time', method_name='mean', window_size=2)]),
        default_scope='mmengine',
        log_level='ERROR',
        experiment_name=f'throughput_{tmp_path}_{time.time()}').train()
    log, = tmp_path.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_refuses_a_peak_that_is_not_positive():
    with pytest.raises(ValueError, match='got 0'):
        HOOKS.build(dict(type='SapiensThroughputHook', peak_tflops=0))


def test_values_of_the_log(tmp_path):
    records = train(tmp_path, MODEL, peak_tflops=0.01)
    cost = profile_model(Config(dict(model=MODEL)))
    flops = 6 * (sum(cost.macs.values()) + sum(cost.attention_macs.values()))
    for record, images in zip(records, (4, 4, 3)):  # the mean of two batches, the last of 2 images
        rate = images / record['time']
        assert record['images_per_s'] == pytest.approx(rate)
        assert record['tokens_per_s'] == pytest.approx(12 * rate)
        assert record['mfu'] == pytest.approx(rate * flops / 1e10)


@pytest.mark.skipif(torch.cuda.is_available(), reason='the peak of a GPU may be known')
def test_no_utilization_of_an_unknown_peak(tmp_path):
    assert 'mfu' not in train(tmp_path, MODEL)[-1]


def test_models_of_others(tmp_path):
    record = train(tmp_path, dict(type='Plain'))[-1]
    assert record['images_per_s'] > 0
    assert 'tokens_per_s' not in record


@pytest.mark.parametrize(('name', 'peak'), [
    ('NVIDIA A100-SXM4-80GB', 312.), ('NVIDIA A100 80GB PCIe', 312.), ('NVIDIA H100 80GB HBM3', 989.5),
    ('NVIDIA H100 PCIe', 756.5), ('NVIDIA H100 NVL', 835.5), ('NVIDIA H200', 989.5), ('NVIDIA A10', 125.),
    ('NVIDIA A10G', None), ('NVIDIA L40S', 362.), ('NVIDIA L4', 121.), ('NVIDIA GeForce RTX 4090', 165.2),
    ('NVIDIA GeForce RTX 4090 Laptop GPU', None), ('NVIDIA GeForce RTX 4090 D', None), ('Tesla V100-SXM2-32GB', 125.),
    ('NVIDIA GeForce GTX 1080', None)])
def test_peaks(name, peak):
    assert peak_tflops(name) == peak
