"""Tests of resumable training on an image stream."""
import collections
import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from mmengine.model import BaseModel
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch.utils.data import DataLoader

import sapiens_mm.pretrain  # noqa: F401  (registers)
from sapiens_mm.engine import load_checkpoint_file
from sapiens_mm.pretrain import SapiensStreamHook
from sapiens_mm.utils.tar_files import SourceError

from .conftest import gray_png, write_tar


class Recorder(BaseModel):
    """Records its training samples; kills its process after ``die_at`` iterations."""

    def __init__(self, file=None, die_at=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.file, self.die_at, self.seen = file, die_at, []

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if len(self.seen) == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        assert inputs.shape[1:] == (3, 8, 8)
        assert inputs.dtype == torch.uint8
        self.seen.append([data_samples['key'], data_samples['position'].tolist(), inputs.sum((1, 2, 3)).tolist()])
        if self.file:
            with open(self.file, 'a') as file:
                file.write(json.dumps(self.seen[-1]) + '\n')
        return dict(loss=self.weight.sum())


def images(folder, **kwargs):
    return dict(type='SapiensImages', source=dict(type='shards', urls=str(folder), buffer=4), size=(8, 8), **kwargs)


def train(work_dir, dataset, num_workers=0, iters=10, model=None, loop='SapiensStreamTrainLoop', hook=True,
          launcher='none', interval=4, resume=False, load_from=None):
    """Trains a recorder and returns it."""
    model = model or Recorder()
    Runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=3,
            num_workers=num_workers,
            sampler=None,
            collate_fn=dict(type='default_collate'),
            dataset=dataset),
        train_cfg=dict(type=loop, max_iters=iters),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.)),
        custom_hooks=[dict(type='SapiensStreamHook')] if hook else [],
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=100),
            checkpoint=dict(type='CheckpointHook', interval=interval, by_epoch=False, save_last=False)),
        log_processor=dict(by_epoch=False),
        default_scope='mmengine',
        randomness=dict(seed=5),
        launcher=launcher,
        resume=resume,
        load_from=load_from,
        cfg=dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None)),  # on the CPU
        experiment_name=f'stream_{work_dir}_{time.time()}').train()
    return model


def write_shards(folder, sizes, bad=()):
    folder.mkdir()
    for shard, size in enumerate(sizes):
        write_tar(folder / f'{shard:05}.tar', {
            f'{i}.png': b'no image' if (shard, i) in bad else gray_png(10 * shard + i, (12, 10)) for i in range(size)})
    return folder


SIZES = (5, 8, 11, 6, 9, 7, 8, 10, 5, 12, 7, 8)  # 96 images, unevenly cut


@pytest.fixture(scope='module')
def shards(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp('stream') / 'shards', SIZES)


def names(sizes=SIZES, bad=()):
    return {f'{shard:05}.tar/{i}.png' for shard, size in enumerate(sizes) for i in range(size)
            if (shard, i) not in bad}


def keys_of(seen, epoch):
    return collections.Counter(key for keys, positions, _ in seen for key, position in zip(keys, positions)
                               if position[0] == epoch)


def log_of(work_dir):
    return ''.join(path.read_text() for path in work_dir.glob('*/*.log'))


def test_refuses_a_loop_without_the_hook(tmp_path, shards):
    with pytest.raises(ValueError, match='SapiensStreamHook'):
        train(tmp_path, images(shards), hook=False)


def test_refuses_the_hook_in_another_loop(tmp_path, shards):
    with pytest.raises(ValueError, match='IterBasedTrainLoop'):
        train(tmp_path, images(shards), loop='IterBasedTrainLoop')


def test_refuses_more_workers_than_shards_before_any_starts(tmp_path, shards, monkeypatch):
    monkeypatch.setattr(DataLoader, '__iter__', None)
    with pytest.raises(SourceError, match='num_workers to .* 12'):
        train(tmp_path, images(shards), num_workers=13)


def test_refuses_to_resume_without_a_position(tmp_path, shards):
    train(tmp_path, images(shards), iters=4)
    checkpoint = torch.load(tmp_path / 'iter_4.pth', weights_only=False)
    del checkpoint['image_stream']
    torch.save(checkpoint, tmp_path / 'iter_4.pth')
    with pytest.raises(ValueError, match='image_stream'):
        train(tmp_path, images(shards), resume=True)
    # Its weights can be loaded, though.
    assert len(train(tmp_path / 'b', images(shards), iters=1, load_from=str(tmp_path / 'iter_4.pth')).seen) == 1


def test_stops_above_the_share_of_bad_images(tmp_path):
    bad = {(shard, i) for shard in range(3) for i in (1, 5)}
    folder = write_shards(tmp_path / 'shards', (8, 8, 8), bad)
    with pytest.raises(SourceError, match=r'0000\d.tar/[15].png.*0.2'):
        train(tmp_path / 'a', images(folder, max_bad_share=.2, min_images=12))
    assert len(train(tmp_path / 'b', images(folder, max_bad_share=.5, min_images=12)).seen) == 10
    # Too few to judge.
    assert len(train(tmp_path / 'c', images(folder, max_bad_share=.2, min_images=100)).seen) == 10
    log = log_of(tmp_path / 'c')
    for shard, i in bad:
        assert f'{shard:05}.tar/{i}.png (cannot identify image file)' in log


def test_a_damaged_shard_stops_the_run(tmp_path):
    folder = write_shards(tmp_path / 'shards', (8, 8))
    path = folder / '00001.tar'
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(SourceError, match='00001.tar'):
        train(tmp_path / 'a', images(folder))


def test_an_unexpected_checkpoint_of_several_ranks_has_no_position(monkeypatch):
    """Rank 0 saves it alone, and a wrong position would repeat images."""
    hook, checkpoint, log = SapiensStreamHook(), {}, []
    monkeypatch.setattr('sapiens_mm.pretrain.stream.get_world_size', lambda: 2)
    hook._state = None
    runner = type('Runner', (), dict(logger=type('Logger', (), dict(warning=log.append))))
    hook.before_save_checkpoint(runner, checkpoint)
    assert checkpoint == {}
    assert log


def test_ranks_gather_positions_before_validation(monkeypatch):
    """The best checkpoint is saved then, by rank 0."""
    gathered = []
    monkeypatch.setattr(SapiensStreamHook, '_gather', lambda self, runner: gathered.append(runner))
    hook = SapiensStreamHook()
    hook.before_val('alone')
    hook._dataset = 'trained on'
    hook.before_val('training')
    assert gathered == ['training']


@pytest.mark.parametrize('num_workers', [0, 1, 3])
def test_resumed_run_repeats_the_unbroken_one(tmp_path, num_workers):
    bad = {(0, 0), (1, 3), (1, 4), (3, 5), (4, 0)}
    folder = write_shards(tmp_path / 'shards', SIZES[:6], bad)
    unbroken = train(tmp_path / 'a', images(folder), num_workers, iters=36)
    cfg = images(folder, max_bad_share=1.)
    train(tmp_path / 'b', cfg, num_workers, iters=4)
    second = train(tmp_path / 'b', cfg, num_workers, iters=8, resume=True)
    third = train(tmp_path / 'b', cfg, num_workers, iters=36, resume=True)
    assert second.seen == unbroken.seen[4:8]
    assert third.seen == unbroken.seen[8:]
    assert keys_of(unbroken.seen, 0) == dict.fromkeys(names(SIZES[:6], bad), 1)
    a, b = (load_checkpoint_file(tmp_path / run / 'iter_36.pth')['image_stream'] for run in 'ab')
    assert a == b
    assert a['images'] == 36 * 3
    assert a['bad'] >= 2 * len(bad)


def test_resumed_run_with_other_workers(tmp_path, shards):
    """Every image of the epoch comes once, after two changes of the number of workers."""
    seen = train(tmp_path, images(shards), 2, iters=8).seen
    seen += train(tmp_path, images(shards), 3, iters=16, resume=True).seen
    seen += train(tmp_path, images(shards), 0, iters=50, resume=True).seen
    assert keys_of(seen, 0) == dict.fromkeys(names(), 1)
    assert max(keys_of(seen, 1).values()) == 1


def test_other_images_start_a_new_epoch(tmp_path, shards):
    train(tmp_path, images(shards), iters=4)
    seen = train(tmp_path, images(shards, seed=1), iters=8, resume=True).seen
    assert {position[0] for _, positions, _ in seen for position in positions} == {1}
    assert 'new epoch' in log_of(tmp_path)


def test_resuming_decodes_no_image_before_the_position(tmp_path, shards, monkeypatch):
    train(tmp_path, images(shards), iters=8)
    batches = []
    step = Recorder.train_step
    monkeypatch.setattr(Recorder, 'train_step', lambda self, data, optim_wrapper: batches.append(
        len(decoded)) or step(self, data, optim_wrapper))
    decoded = []
    decode = sapiens_mm.pretrain.images.decode
    monkeypatch.setattr('sapiens_mm.pretrain.images.decode', lambda data: decoded.append(data) or decode(data))
    train(tmp_path, images(shards), iters=10, resume=True)
    assert batches == [3, 6]


def test_a_resumed_worker_opens_one_old_shard_at_most(tmp_path, shards, monkeypatch):
    """The unfinished one, whose used images are not decoded again."""
    first = train(tmp_path, images(shards), iters=8)
    opened = []
    members = sapiens_mm.pretrain.sources.TarSource._members
    monkeypatch.setattr('sapiens_mm.pretrain.sources.TarSource._members',
                        lambda self, url: opened.append(Path(url).name) or members(self, url))
    second = train(tmp_path, images(shards), iters=20, resume=True)
    old = {key.partition('/')[0] for keys, *_ in first.seen for key in keys}
    assert len(old) >= 3
    assert len(old.intersection(opened)) == 1
    assert not keys_of(first.seen, 0) & keys_of(second.seen, 0)


def train_rank(rank, folder, work_dir, name, num_workers, die_at=None, resume=False):
    """A rank of two, in a process of its own."""
    os.environ['LOCAL_RANK'] = str(rank)
    dist.init_process_group('gloo', init_method=f'file://{work_dir}/store_{name}', rank=rank, world_size=2)
    train(work_dir, images(folder), num_workers, 30, Recorder(f'{work_dir}/{name}_{rank}.json', die_at),
          launcher='pytorch', resume=resume)
    dist.barrier()  # in torch 2.1 a process hangs that leaves after the other
    dist.destroy_process_group()


def train_ranks(folder, work_dir):
    """Kills two ranks in iteration 7, resumes their checkpoint of iteration 4 with the same and with more workers."""
    codes = {}
    for args in (('killed', 2, 7), ('same', 2, None, True), ('other', 3, None, True)):
        if args[0] != 'killed':
            Path(f'{work_dir}/last_checkpoint').write_text(f'{work_dir}/iter_4.pth')
        # Forked, since importing everything takes longest.
        ranks = [multiprocessing.get_context('fork').Process(target=train_rank, args=(rank, folder, work_dir, *args))
                 for rank in range(2)]
        for rank in ranks:
            rank.start()
        for rank in ranks:
            rank.join()
        codes[args[0]] = [rank.exitcode for rank in ranks]
    print(json.dumps(codes))


def unbroken(folder, rank, num_workers, iters):
    data = DATASETS.build(images(folder))
    data.rank, data.num_ranks = rank, 2
    return [[batch['data_samples']['key'], batch['data_samples']['position'].tolist(),
             batch['inputs'].sum((1, 2, 3)).tolist()]
            for batch in itertools.islice(DataLoader(data, batch_size=3, num_workers=num_workers), iters)]


def test_two_ranks_killed_in_mid_epoch(root, tmp_path):
    bad = {(0, 4), (1, 3), (2, 0), (4, 0), (7, 9), (9, 11)}
    shards = write_shards(tmp_path / 'shards', SIZES, bad)
    code = 'import sys; from test_pretrain.test_stream import train_ranks; train_ranks(*sys.argv[1:])'
    run = subprocess.run([sys.executable, '-c', code, shards, tmp_path], capture_output=True, text=True, check=True,
                         cwd=root / 'tests', env={**os.environ, 'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'})
    codes = json.loads(run.stdout.splitlines()[-1])
    assert -signal.SIGKILL in codes['killed'], run.stderr  # the other one may first find its peer gone
    assert codes['same'] == codes['other'] == [0, 0], run.stderr
    killed, same, other = ([[json.loads(line) for line in (tmp_path / f'{name}_{rank}.json').read_text().splitlines()]
                            for rank in range(2)] for name in codes)
    assert [len(rank) for rank in killed] == [7, 7]
    for resumed in (same, other):
        seen = [batch for rank in range(2) for batch in killed[rank][:4] + resumed[rank]]
        assert keys_of(seen, 0) == dict.fromkeys(names(SIZES, bad), 1)
    for shard, i in bad:  # of both ranks
        assert f'{shard:05}.tar/{i}.png (cannot identify' in log_of(tmp_path)
    for rank in range(2):
        assert killed[rank] + same[rank][3:] == killed[rank][:4] + same[rank] == unbroken(shards, rank, 2, 30)
