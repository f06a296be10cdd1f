"""Tests of resuming from the newest complete checkpoint."""
import logging
import os
import signal
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook

from sapiens_mm.engine import CheckpointError
from sapiens_mm.engine.hooks import SapiensCheckpointHook
from sapiens_mm.engine.last_checkpoint import latest_checkpoint, resume_latest
from sapiens_mm.engine.launch import build_runner
from sapiens_mm.engine.sharded_checkpoint import save_sharded


def write(path, kind='zip', mtime=None):
    tensors, rest = dict(weight=torch.ones(300, 2)), dict(meta=dict(iter=1), optimizer=dict())
    if kind == 'folder':
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'torch.distributed is')
            save_sharded(str(path), dict(state_dict=tensors), rest)
    else:
        torch.save(dict(rest, state_dict=tensors), path, _use_new_zipfile_serialization=kind == 'zip')
    if mtime is not None:
        os.utime(path, (mtime, mtime))


def cut(path, part=.7):
    content = path.read_bytes()
    path.write_bytes(content[:int(len(content) * part)])


@pytest.fixture(params=['zip', 'legacy', 'folder'])
def run(request, tmp_path):
    """Three checkpoints, of which the newest is not the last one by name."""
    if request.param == 'folder':
        request.getfixturevalue('can_shard')
    for number, mtime in ((9, 100), (10, 200), (8, 300)):
        write(tmp_path / f'iter_{number}.pth', request.param, mtime)
    write(tmp_path / 'best_coco_AP_iter_9.pth', mtime=400)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_10.pth'))
    return tmp_path


def name_of(path):
    latest, passed_over = latest_checkpoint(str(path))
    assert '\n' not in passed_over
    return os.path.basename(latest), passed_over


def test_without_a_run(tmp_path):
    assert latest_checkpoint(str(tmp_path)) == latest_checkpoint(str(tmp_path / 'nowhere')) == (None, '')


def test_the_pointer_tells(run):
    assert name_of(run) == ('iter_10.pth', '')


def test_a_copied_folder(run, tmp_path_factory):
    copy = tmp_path_factory.mktemp('copy') / 'run'
    run.rename(copy)
    assert latest_checkpoint(str(copy)) == (str(copy / 'iter_10.pth'), '')


@pytest.mark.parametrize('content', [b'', b' \n', b'\xff\xfe\x00', b'\0' * 40, b'/somewhere/else/iter_11.pth', b'..',
                                     b'/', b'iter_1', b'/gone/best_coco_AP_iter_9.pth.part', b'x' * 5000])
def test_a_pointer_of_no_use(run, content):
    (run / 'last_checkpoint').write_bytes(content)
    name, passed_over = name_of(run)
    assert name == 'iter_8.pth'  # the newest
    assert str(run / 'last_checkpoint') in passed_over or not content.strip(b'./')


def test_a_truncated_newest_one_falls_back_to_the_one_before(run):
    os.utime(run / 'iter_10.pth', (500, 500))
    path = run / 'iter_10.pth'
    if path.is_dir():
        shard = max(path.glob('*.distcp'), key=lambda shard: shard.stat().st_size)
        cut(shard)
        damaged = shard
    else:
        cut(path)
        damaged = path
    name, passed_over = name_of(run)
    assert name == 'iter_8.pth'
    assert str(damaged) in passed_over


@pytest.mark.usefixtures('can_shard')
def test_a_folder_without_its_table_or_rest(tmp_path):
    for number, name in ((1, None), (2, '.metadata'), (3, 'rest.pth')):
        write(tmp_path / f'iter_{number}.pth', 'folder')
        if name:
            (tmp_path / f'iter_{number}.pth' / name).unlink()
        os.utime(tmp_path / f'iter_{number}.pth', (number, number))
    (tmp_path / 'iter_4.pth').mkdir()
    (tmp_path / 'last_checkpoint').write_text('iter_4.pth')
    assert name_of(tmp_path)[0] == 'iter_1.pth'


def test_a_folder_of_another_strategy_is_taken_as_it_is(tmp_path):
    (tmp_path / 'epoch_1.pth').mkdir()
    (tmp_path / 'epoch_1.pth/mp_rank_00_model_states.pt').write_bytes(b'x')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    assert name_of(tmp_path) == ('epoch_1.pth', '')


def test_nothing_whole(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('')
    write(tmp_path / 'best_coco_AP_epoch_3.pth')
    write(tmp_path / 'exported2.pth')
    (tmp_path / 'epoch_1.pth').write_bytes(b'PK')
    with pytest.raises(CheckpointError, match='epoch_1.pth is truncated.*delete.*best_coco_AP_epoch_3.pth') as error:
        latest_checkpoint(str(tmp_path))
    assert '\n' not in str(error.value)
    assert 'exported2' not in str(error.value)


def test_checkpoints_elsewhere_and_of_other_names(tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    (tmp_path / 'run').mkdir()
    write(out / 'my_7_x.pth')
    (tmp_path / 'run/last_checkpoint').write_text(str(out / 'my_7_x.pth'))
    assert latest_checkpoint(str(tmp_path / 'run')) == (str(out / 'my_7_x.pth'), '')
    write(tmp_path / 'run/step7.pth')
    (tmp_path / 'run/last_checkpoint').write_text('/gone/step8.pth')
    assert name_of(tmp_path / 'run')[0] == 'step7.pth'


def test_a_runner_resumes_from_it_or_keeps_its_weights(run, caplog):
    runner = SimpleNamespace(work_dir=str(run), _load_from='weights.pth', _resume=True, logger=logging.getLogger('a'))
    (run / 'last_checkpoint').write_text('')
    resume_latest(runner)
    assert (runner._load_from, runner._resume) == (str(run / 'iter_8.pth'), True)
    assert 'last_checkpoint is empty. Resuming from' in caplog.text
    runner = SimpleNamespace(work_dir=str(run / 'new'), _load_from='weights.pth', _resume=True)
    resume_latest(runner)
    assert (runner._load_from, runner._resume) == ('weights.pth', False)


RUN = """
import sys, os, torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DATASETS
from torch.utils.data import Dataset
import sapiens_mm
from sapiens_mm.engine.launch import build_runner

@MODELS.register_module()
class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
    def forward(self, *points, mode='tensor'):
        return {'loss': self.layer(torch.stack(points)).square().mean()}

@DATASETS.register_module()
class Points(Dataset):
    metainfo = {}
    def __len__(self):
        return 8
    def __getitem__(self, index):
        return torch.full((3, ), float(index))

def config(work_dir, **kwargs):
    return Config(dict(
        model=dict(type='Line'), work_dir=work_dir, default_scope='mmengine', log_level='WARNING',
        train_dataloader=dict(dataset=dict(type='Points'), batch_size=2, num_workers=0,
                              sampler=dict(type='DefaultSampler', shuffle=False)),
        train_cfg=dict(by_epoch=True, max_epochs=3), optim_wrapper=dict(optimizer=dict(type='AdamW', lr=.1)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2)), **kwargs))
"""
exec(RUN)  # noqa: S102  (what the process that is killed runs)


def train(work_dir, **kwargs):
    runner = build_runner(config(str(work_dir), experiment_name=f'{work_dir}{time.time()}', **kwargs))  # noqa: F821
    runner.train()
    return runner


def test_the_pointer_is_renamed_into_place(tmp_path, monkeypatch):
    seen = []
    replace = os.replace

    def renamed(source, target):
        seen.append((Path(target).read_text() if os.path.exists(target) else '', Path(source).read_text()))
        replace(source, target)

    monkeypatch.setattr(os, 'replace', renamed)
    runner = train(tmp_path)
    hook, = (hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
    assert type(hook) is SapiensCheckpointHook
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_3.pth')
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == ['epoch_2.pth', 'epoch_3.pth']
    assert (str(tmp_path / 'epoch_2.pth'), str(tmp_path / 'epoch_3.pth')) in seen  # old and new, each whole
    assert not [path for path in tmp_path.iterdir() if 'last' in path.name and path.name != 'last_checkpoint']


# Ends in the middle of MMEngine's writing: after the file is opened, before anything is in it.
KILLED = RUN + """
import builtins, signal
def opening(path, mode='r', *args, **kwargs):
    file = real(path, mode, *args, **kwargs)
    if str(path).endswith('last_checkpoint') and 'w' in mode and os.path.exists(sys.argv[1] + '/epoch_2.pth'):
        os.kill(os.getpid(), signal.SIGKILL)
    return file
real, builtins.open = open, opening
build_runner(config(sys.argv[1])).train()
"""


def test_a_kill_while_the_pointer_is_written(run_tool, tmp_path):
    (tmp_path / 'killed.py').write_text(KILLED)
    done = run_tool(tmp_path / 'killed.py', tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert (tmp_path / 'epoch_2.pth').exists()
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_1.pth')
    resumed = train(tmp_path, resume=True)
    assert resumed.epoch == 3
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_3.pth')
    np.testing.assert_allclose(resumed.iter, 12)


def test_scaled_learning_rates_count_accumulated_batches(tmp_path):
    rates = {}
    for counts in (1, 2, 4):
        runner = build_runner(config(str(tmp_path / str(counts)), auto_scale_lr=dict(enable=True, base_batch_size=16)))  # noqa: F821
        runner.cfg.optim_wrapper.accumulative_counts = counts
        runner = build_runner(Config(dict(runner.cfg, experiment_name=f'{tmp_path}{counts}')))
        runner.train()
        rates[counts] = runner.optim_wrapper.param_groups[0]['lr']
        assert runner.cfg.auto_scale_lr.base_batch_size == 16
    assert rates == pytest.approx({1: .1 * 2 / 16, 2: .1 * 4 / 16, 4: .1 * 8 / 16})


@pytest.fixture
def zips(tmp_path):
    for number in (4, 5):
        write(tmp_path / f'epoch_{number}.pth', mtime=number)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_6.pth'))
    return tmp_path


@pytest.mark.parametrize('make', [lambda path: path.symlink_to('/nowhere/x.pth'), lambda path: path.symlink_to(path),
                                  os.mkfifo, Path.mkdir], ids=['dangling link', 'looping link', 'fifo', 'empty folder'])
@pytest.mark.parametrize('pointed', [False, True])
def test_what_is_no_file_is_passed_over(zips, make, pointed):
    make(zips / 'epoch_6.pth')
    if not pointed:
        (zips / 'last_checkpoint').write_text('')
    name, passed_over = name_of(zips)
    assert name == 'epoch_5.pth'
    assert passed_over


def test_a_pointer_that_is_cut_off_may_name_a_folder(zips, monkeypatch):
    monkeypatch.chdir(zips.parent)
    (zips / 'other').mkdir()
    (zips / 'other' / 'file.pt').write_bytes(b'x')
    for named in ('/etc', str(zips), str(zips.parent), f'{zips}/', '..', '.', 'other', str(zips / 'other')):
        (zips / 'last_checkpoint').write_text(named)
        assert name_of(zips)[0] == 'epoch_5.pth'


def test_relative_pointers(zips, monkeypatch):
    monkeypatch.chdir(zips.parent)
    for named in ('epoch_4.pth', './epoch_4.pth', f'{zips.name}/epoch_4.pth'):
        (zips / 'last_checkpoint').write_text(named)
        assert name_of(zips) == ('epoch_4.pth', '')


def test_other_endings_are_no_candidates(zips):
    write(zips / 'x2.pth.bak')
    (zips / 'last_checkpoint').write_text(str(zips / 'x1.pth.bak'))
    assert name_of(zips)[0] == 'epoch_5.pth'


@pytest.mark.parametrize('checksums', [True, False])
def test_zeros_in_the_middle(zips, checksums):
    if checksums:
        write(zips / 'epoch_5.pth', mtime=5)
    elif not hasattr(torch.serialization, 'set_crc32_options'):
        pytest.skip('this torch always writes them')
    else:
        torch.serialization.set_crc32_options(False)
        try:
            write(zips / 'epoch_5.pth', mtime=5)
        finally:
            torch.serialization.set_crc32_options(True)
    (zips / 'last_checkpoint').write_text('')
    assert name_of(zips)[0] == 'epoch_5.pth'
    content = (zips / 'epoch_5.pth').read_bytes()
    middle = content.index(bytes(torch.ones(8).numpy()))
    (zips / 'epoch_5.pth').write_bytes(content[:middle] + bytes(1000) + content[middle + 1000:])
    name, passed_over = name_of(zips)
    if checksums:  # without them nothing tells
        assert name == 'epoch_4.pth'
        assert 'epoch_5.pth' in passed_over
