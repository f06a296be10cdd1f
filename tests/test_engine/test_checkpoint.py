"""Tests of checkpoint loading from files, folders and the web."""
import os
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn as nn
from mmengine.config import ConfigDict
from mmengine.hooks import EMAHook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint
from mmengine.utils import digit_version
from safetensors.torch import save_file
from torch.utils.data import Dataset

from sapiens_mm.engine.checkpoint import CheckpointError, load_checkpoint_file


def test_missing_file(tmp_path):
    for path in (str(tmp_path / 'none.pth'), 'none.pth'):
        with pytest.raises(FileNotFoundError, match='none.pth') as error:
            load_checkpoint_file(path)
        assert str(tmp_path) in str(error.value) or os.getcwd() in str(error.value)


def test_folder(tmp_path):
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        load_checkpoint_file(str(tmp_path))


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_loader_of_mmengine(tmp_path, suffix, monkeypatch):
    source, target = nn.Linear(3, 3), nn.Linear(3, 3)
    path = tmp_path / f'weights{suffix}'
    (save_file if suffix == '.safetensors' else torch.save)(source.state_dict(), path)
    monkeypatch.setenv('HOME', str(tmp_path))
    load_checkpoint(target, f'~/weights{suffix}', map_location='cpu', strict=True)
    assert torch.equal(source.weight, target.weight)
    assert load_checkpoint_file(path, 'meta')['weight'].is_meta


def test_bare_backbone_is_saved_as_it_was(tmp_path):
    content = OrderedDict({'pos_embed': torch.zeros(1), 'patch_embed.projection.weight': torch.zeros(1)})
    torch.save(content, tmp_path / 'bare.pth')
    torch.save(load_checkpoint_file(tmp_path / 'bare.pth'), tmp_path / 'again.pth')
    assert load_checkpoint_file(tmp_path / 'again.pth').keys() == content.keys()


class Points(Dataset):
    metainfo = {
        'sigmas': np.array([.1, .2], dtype=np.float32), 'flip_pairs': [(0, 1)], 'classes': {'person'},
        'extra': ConfigDict(names=['a', 'b']), 'count': np.int64(2)
    }

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.full((3, ), float(index))


class Line(BaseModel):

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, *points, mode='tensor'):
        return {'loss': self.layer(torch.stack(points)).square().mean()}


def run(work_dir, resume_from=None):
    torch.manual_seed(0)
    runner = Runner(
        Line(), str(work_dir), train_dataloader={'dataset': Points(), 'batch_size': 2, 'num_workers': 0,
                                                 'sampler': {'type': 'DefaultSampler', 'shuffle': False}},
        train_cfg={'by_epoch': True, 'max_epochs': 3},
        optim_wrapper={'optimizer': {'type': 'AdamW', 'lr': .1}},
        param_scheduler=[{'type': 'LinearLR', 'start_factor': .1, 'by_epoch': False, 'end': 4},
                         {'type': 'CosineAnnealingLR', 'T_max': 8, 'by_epoch': False}],
        default_hooks={'checkpoint': {'type': 'CheckpointHook', 'interval': 1}, 'logger': {'type': 'LoggerHook'}},
        custom_hooks=[{'type': 'EMAHook'}], load_from=resume_from, resume=resume_from is not None,
        randomness={'seed': 1}, log_level='ERROR', experiment_name=str(work_dir))
    runner.train()
    return runner


def test_runner_resumes(tmp_path):
    unbroken = run(tmp_path / 'unbroken')
    resumed = run(tmp_path / 'resumed', str(tmp_path / 'unbroken' / 'epoch_2.pth'))
    assert resumed.iter == unbroken.iter == 12
    assert torch.equal(resumed.model.layer.weight, unbroken.model.layer.weight)
    losses = [runner.message_hub.get_scalar('train/loss') for runner in (resumed, unbroken)]
    np.testing.assert_array_equal(losses[0].data[0], losses[1].data[0])
    assert len(losses[0].data[0]) == 12
    assert losses[0].mean(5) == losses[1].mean(5)
    meta = load_checkpoint_file(tmp_path / 'resumed' / 'epoch_3.pth')['meta']['dataset_meta']
    assert meta['classes'] == {'person'}
    assert type(meta['extra']) is ConfigDict


# Loads a checkpoint as a host does that imports us; argv: the file, and what is done before.
HOST = """
import sys, torch
from mmengine.runner.checkpoint import CheckpointLoader
import sapiens_mm
exec(sys.argv[2])
try:
    content = CheckpointLoader.load_checkpoint(sys.argv[1], map_location='cpu', logger='silent')
except Exception as error:
    sys.exit(type(error).__name__)
print(type(content).__name__, *(content if sys.argv[3:] else ()))
"""
TRUSTS = dict(TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD='1')


class Runs:
    """What an attacker puts into a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path, )


@pytest.fixture
def host(run_tool, tmp_path_factory):
    """Runs `HOST`: the last line of what it says."""

    def host(path, before='', names=False, **env) -> str:
        script = tmp_path_factory.mktemp('host') / 'host.py'
        script.write_text(HOST)
        done = run_tool(script, path, before, *['names'] * names, **env)
        return done.stdout.strip() or done.stderr.strip().splitlines()[-1]

    return host


@pytest.fixture(scope='module')
def foreign(tmp_path_factory):
    path = tmp_path_factory.mktemp('foreign')
    torch.save({'meta': Runs(path / 'ran'), 'state_dict': {}}, path / 'evil.pth')
    torch.jit.script(nn.Linear(2, 2)).save(str(path / 'script.pth'))
    torch.save([torch.zeros(2)], path / 'list.pth')
    return path


#: Whether torch.load refuses to run code by default.
SAFE = digit_version(torch.__version__) >= digit_version('2.6')


class TestHosts:

    @pytest.mark.skipif(not SAFE, reason='torch 2.6 was the first to be')
    def test_safe_by_default(self, host, foreign):
        assert host(foreign / 'evil.pth') == 'UnpicklingError'  # torch's own, as without us
        assert not (foreign / 'ran').exists()

    def test_a_tool_of_ours_runs_nothing_even_where_the_environment_allows_it(self, host, foreign):
        before = ('from sapiens_mm.engine.launch import build_runner; from mmengine.config import Config\n'
                  'from mmengine.registry import RUNNERS\n'
                  'RUNNERS.register_module(name="None_", module=type("N", (), dict(from_cfg=lambda cfg: None)))\n'
                  'build_runner(Config(dict(runner_type="None_")))')
        assert 'UnsafeCheckpointError' in host(foreign / 'evil.pth', before, **TRUSTS)
        assert not (foreign / 'ran').exists()

    def test_the_backbones_own_weights_run_nothing(self, host, foreign):
        before = ('from sapiens_mm.backbones.checkpoint import load_pretrained_backbone\n'
                  'load_pretrained_backbone(torch.nn.Linear(1, 1), sys.argv[1])')
        assert 'UnsafeCheckpointError' in host(foreign / 'evil.pth', before, **TRUSTS)
        assert not (foreign / 'ran').exists()

    def test_what_the_host_could_load_still_loads(self, host, foreign, tmp_path):
        torch.save({'meta': Runs(tmp_path / 'ran')}, tmp_path / 'own.pth')
        assert host(tmp_path / 'own.pth', **TRUSTS) == 'dict'
        assert (tmp_path / 'ran').exists()  # as without us
        assert host(foreign / 'script.pth', **TRUSTS) == 'dict'  # the weights alone, which are read without running it
        assert host(foreign / 'list.pth') == 'list'

    @pytest.mark.skipif(not SAFE, reason='before torch 2.6 there was nothing to allow')
    def test_what_the_host_allows_loads(self, host, tmp_path):
        torch.save({'a': nn.Linear(1, 1)}, tmp_path / 'model.pth')
        assert host(tmp_path / 'model.pth') == 'UnpicklingError'
        allow = 'torch.serialization.add_safe_globals([torch.nn.Linear, set])'
        assert host(tmp_path / 'model.pth', allow) == 'dict'

    def test_a_loader_that_the_host_registered_is_asked(self, host, tmp_path):
        code = ('CheckpointLoader.register_scheme("", lambda filename, map_location: {"host": 1}, force=True)\n'
                'import importlib, sapiens_mm.engine.checkpoint as c; importlib.reload(c)')
        assert host(tmp_path / 'nowhere.pth', code) == 'dict'
        assert 'FileNotFoundError' in host(tmp_path / 'nowhere.pth')

    @pytest.mark.parametrize(('make', 'kind'), [
        (lambda path: torch.save(OrderedDict(model={'a': torch.ones(2)}, epoch=3), path), 'OrderedDict model epoch'),
        (lambda path: path.write_bytes(b'<html>'), 'UnpicklingError'),
        (lambda path: path.write_bytes(b''), 'EOFError'),
        (lambda path: path.mkdir(), 'FileNotFoundError'),
        (lambda path: path.parent.joinpath('x').touch(), 'FileNotFoundError'),
        (lambda path: torch.save({'meta': Runs(path)}, path), 'UnpicklingError' if SAFE else 'FileExistsError'),
    ])
    def test_a_hosts_own_files_are_what_they_were(self, host, tmp_path, make, kind):
        make(tmp_path / 'own.pth')
        assert host(tmp_path / 'own.pth', names=True) == kind

    def test_what_we_add_stays(self, host, tmp_path):
        bare = {'pos_embed': torch.zeros(1), 'patch_embed.projection.weight': torch.zeros(1)}
        torch.save({'model': bare}, tmp_path / 'model.pth')
        assert host(tmp_path / 'model.pth', names=True) == 'dict model state_dict'
        torch.save({'state_dict': {}, 'message_hub': HistoryBuffer([1.], [1])}, tmp_path / 'run.pth')
        assert host(tmp_path / 'run.pth', names=True) == 'dict state_dict message_hub'
        save_file(bare, tmp_path / 'bare.safetensors')
        assert host(tmp_path / 'bare.safetensors', names=True) == 'dict state_dict'

    def test_bare_weights_suit_mmengines_hooks_and_any_module(self, tmp_path):
        bare = {'pos_embed': torch.zeros(1), 'patch_embed.projection.weight': torch.zeros(1)}
        save_file(bare, tmp_path / 'bare.safetensors')
        checkpoint = CheckpointLoader.load_checkpoint(str(tmp_path / 'bare.safetensors'))
        assert type(checkpoint['state_dict']) is OrderedDict
        assert checkpoint['state_dict']._metadata.get('neck.any')['bare_backbone'].keys() == bare.keys()
        hook = EMAHook()
        hook.ema_model = SimpleNamespace(module=nn.Linear(1, 1))
        hook.after_load_checkpoint(SimpleNamespace(_resume=False), checkpoint)
