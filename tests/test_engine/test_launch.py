import pytest
import torch
from mmengine.config import Config

from sapiens_mm.engine import launch


def test_slurm_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    with pytest.raises(RuntimeError, match="launcher is 'slurm', but this machine has no GPU"):
        launch.build_runner(Config(dict(launcher='slurm')))


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(launch, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '4')
    with pytest.raises(RuntimeError, match='4 processes are started here, but there are only 2 GPUs'):
        launch.build_runner(Config(dict(launcher='pytorch')))
