"""The same on two processes as on one: scores to the last bit, and files."""
import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.evaluator import Evaluator
from torch.utils.data import DataLoader

from sapiens_mm.dense.metrics import (
    SapiensDepthMetric,
    SapiensDumpPredictions,
    SapiensNormalMetric,
    SapiensPartsMetric,
    SapiensSampleScores,
    SapiensWorstSamples,
)
from sapiens_mm.dense.metrics.streaming import StreamingMetric

SIZE = 7  # of which two processes see eight
EPOCHS = 2


class Samples:
    """Random truths and predictions, the fourth without a person."""

    def __len__(self):
        return SIZE

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        shape = tuple(rng.integers(80, 120, 2) * 2 + 1)  # so many pixels that BLAS would use threads
        mask = (rng.random((1, *shape)) < 0.5) & (index != 3)
        true = rng.uniform(1, 5, (1, *shape)).astype(np.float32)
        maps = dict(
            gt_sem_seg=rng.integers(0, 28, (1, *shape)).astype(np.uint8),
            pred_sem_seg=rng.integers(0, 28, (1, *shape)).astype(np.uint8),
            gt_depth_map=true,
            pred_depth_map=true + rng.normal(0, 0.1 + 0.1 * index, (1, *shape)).astype(np.float32),
            gt_normal_map=rng.normal(size=(3, *shape)).astype(np.float32),
            pred_normal_map=rng.normal(size=(3, *shape)).astype(np.float32),
            gt_person_mask=mask.astype(np.uint8),
            gt_instance_map=(mask * rng.integers(0, 3, shape)).astype(np.uint8))
        maps = {key: dict(data=torch.from_numpy(value)) for key, value in maps.items()}
        # Images of one name in several folders.
        return dict(maps, sample_name='image', img_path=f'{index}/image.png', region=('face', 'body')[index % 2])


def evaluate(folder, batch_size):
    metrics = [
        SapiensPartsMetric(),
        SapiensDepthMetric(),
        SapiensDepthMetric(alignment='scale-shift-inverse', per='person', average='pixel'),
        SapiensNormalMetric(),
        SapiensNormalMetric(average='image'),
        SapiensSampleScores(f'{folder}/scores.json'),
        SapiensSampleScores(f'{folder}/scores.csv'),
        SapiensWorstSamples(f'{folder}/worst', count=3, height=48),
        SapiensDumpPredictions(f'{folder}/npz'),
        SapiensDumpPredictions(f'{folder}/png16', 'png16'),
    ]
    evaluator = Evaluator(metrics)
    evaluator.dataset_meta = dict(classes=[str(i) for i in range(28)], palette=[[i, 2 * i, 3 * i] for i in range(28)])
    samples = Samples()
    for _ in range(EPOCHS):  # a second evaluation must not know of the first
        for batch in DataLoader(samples, batch_size, sampler=DefaultSampler(samples, shuffle=False),
                                collate_fn=lambda batch: batch):
            evaluator.process(batch, pseudo_collate([batch]))
        scores = evaluator.evaluate(SIZE)
    reports = [metric.report for metric in metrics if hasattr(metric, 'report')]
    return {name: float(value).hex() for name, value in scores.items()}, reports


def run_rank(rank, world, folder, batch_size):
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=world)
    Path(f'{folder}/results_{rank}.json').write_text(json.dumps(evaluate(folder, batch_size)))
    dist.barrier()  # in torch 2.1 a process hangs that leaves after the other
    dist.destroy_process_group()


def run_ranks(folder, world):
    # Forked, since importing everything takes longest.
    context = multiprocessing.get_context('fork')
    ranks = [context.Process(target=run_rank, args=(rank, int(world), folder, 2)) for rank in range(int(world))]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    sys.exit(max(abs(rank.exitcode) for rank in ranks))


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob('*') if path.is_file() and path.name[:7] not in ('results', 'store')}


@pytest.fixture(scope='module')
def single(tmp_path_factory):
    folder = tmp_path_factory.mktemp('single')
    return evaluate(folder, 3), files_of(folder)


@pytest.mark.parametrize('world', [2, 3])
def test_processes_agree_to_the_last_bit(single, tmp_path, world):
    code = 'import runpy, sys; runpy.run_path(sys.argv[1])["run_ranks"](*sys.argv[2:])'
    run = subprocess.run([sys.executable, '-c', code, __file__, tmp_path, str(world)], capture_output=True, text=True,
                         env={**os.environ, 'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'})
    assert run.returncode == 0, run.stderr
    (scores, reports), files = single
    assert len(scores) > 60
    assert float.fromhex(scores['depth/scale-shift/per-image/units']) == SIZE - 1
    for rank in range(world):
        rank_scores, rank_reports = json.loads((tmp_path / f'results_{rank}.json').read_text())
        assert rank_scores == scores
        assert json.dumps(rank_reports) == json.dumps(reports)
    rank_files = files_of(tmp_path)
    assert rank_files.keys() == files.keys()
    assert [name for name in files if rank_files[name] != files[name]] == []


def test_files(single):
    _, files = single
    rows = json.loads(files['scores.json'])
    assert [row['index'] for row in rows] == list(range(SIZE))
    assert [row['img_path'] for row in rows] == [f'{i}/image.png' for i in range(SIZE)]
    assert rows[3]['depth/scale-shift/per-image/RMSE'] is None
    lines = files['scores.csv'].decode().splitlines()
    assert len(lines) == 1 + SIZE
    assert lines[0].startswith('index,sample_name,img_path,region,parts/mIoU')
    rmse = sorted((row['depth/scale-shift/per-image/RMSE'] or 0 for row in rows), reverse=True)
    miou = sorted(row['parts/mIoU'] for row in rows)
    for task, scores in dict(depth=rmse, parts=miou).items():
        assert sorted(name for name in files if name.startswith(f'worst/{task}')) == [
            f'worst/{task}/{place:02d}_{score:.4g}_image.jpg' for place, score in enumerate(scores[:3], 1)]
    assert sorted(name for name in files if name.startswith('npz')) == [
        f'npz/{i:06d}_image.npz' for i in range(SIZE)]
    assert len([name for name in files if name.startswith('png16')]) == 4 * SIZE


class Count(StreamingMetric):
    default_prefix = 'count'

    def measure(self, sample, index):
        return index

    def summarize(self, states):
        return dict(seen=len(states[0]))


@pytest.mark.parametrize('size', [2, 4])
def test_lost_and_repeated_samples_are_noticed(size):
    metric = Count()
    metric.process(None, [{}] * 3)
    with pytest.raises(ValueError, match=f'got 3 samples in process 0 of 1, expected {size} '):
        metric.evaluate(size)
    metric.process(None, [{}] * 3)
    assert metric.evaluate(3) == {'count/seen': 3}


def test_empty_data_set():
    with pytest.raises(ValueError, match='SapiensDepthMetric: got no predictions'):
        SapiensDepthMetric().evaluate(0)


@pytest.mark.parametrize('make', [
    SapiensPartsMetric, SapiensDepthMetric, SapiensNormalMetric,
    lambda: SapiensDepthMetric(alignment='scale-shift-inverse', per='person', average='pixel'),
    lambda: SapiensNormalMetric(average='image')])
def test_rows_give_the_same_digits_in_any_order_and_split(make):
    metric, samples, rng = make(), Samples(), np.random.default_rng(0)
    metric.dataset_meta = dict(classes=[str(i) for i in range(28)])
    records = [metric.measure(samples[i % SIZE], i) for i in range(3 * SIZE)]
    results = set()
    for parts in (1, 1, 2, 2, 3, 3):
        states = []
        for share in np.array_split(rng.permutation(len(records)), parts):
            metric.state = metric.start()
            for i in share:
                metric.absorb(records[i])
            states.append(metric.state)
        results.add(tuple((name, float(value).hex()) for name, value in metric.summarize(states).items()))
    assert len(results) == 1
