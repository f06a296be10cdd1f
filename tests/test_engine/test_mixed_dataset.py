"""Tests of mixed datasets."""
import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import BaseDataset, DefaultSampler, InfiniteSampler
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, TRANSFORMS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from sapiens_mm.engine import SapiensMixedDataset, SapiensSeedHook


@TRANSFORMS.register_module()
class DrawNoise(BaseTransform):

    def transform(self, results):
        return dict(inputs=torch.tensor([results['value'], np.random.rand(), torch.rand(()).item()]))


@DATASETS.register_module()
class Range(BaseDataset):
    """Values from ``first`` on."""

    def __init__(self, first, number, **kwargs):
        self.values = range(first, first + number)
        super().__init__(pipeline=[dict(type='SapiensSeedSample'), dict(type='DrawNoise')], **kwargs)

    def load_data_list(self):
        return [dict(value=value) for value in self.values]


SIZES = 7, 3, 40
SETS = [dict(type='Range', first=100 * i, number=number) for i, number in enumerate(SIZES)]


def build(weights=(2, 1, 1), datasets=SETS, length=20, **kwargs):
    return SapiensMixedDataset(datasets, weights, length, **kwargs)


def drawn(dataset, epoch=0, seed=3):
    """The values of all indices in an epoch."""
    dataset.seed_sample.state.copy_(torch.tensor([seed, epoch, 0]))
    return [dataset.get_data_info(i)['value'] for i in range(len(dataset))]


@pytest.mark.parametrize('weights', [(1, 1), (1, 1, 1, 1), (1, 1, '1'), (1, 1, None), (1, 1, -1), (0, 0, 0),
                                     (1, 1, float('nan')), (1, 1, float('inf'))])
def test_wrong_weights(weights):
    with pytest.raises(ValueError, match='weights: got'):
        build(weights)


@pytest.mark.parametrize(('length', 'message'), [
    (0, 'length: got 0'), (-5, 'got -5'), (2.5, 'got 2.5'), (2, r'got 2, of which datasets\[2\]')])
def test_wrong_length(length, message):
    with pytest.raises(ValueError, match=message):
        build(length=length)


def test_no_sets_and_empty_sets():
    with pytest.raises(ValueError, match='datasets: got none'):
        build((), [])
    with pytest.raises(ValueError, match=r'got \[7, 3, 40, 0\] samples'):
        build((2, 1, 1, 0), [*SETS, dict(type='Range', first=0, number=0, serialize_data=False)])


@pytest.mark.parametrize('metainfo', [
    dict(classes=('a', 'c'), flip_indices=(0, 1)), dict(classes=('a', 'b', 'c'), flip_indices=(0, 1, 2)),
    dict(classes=('a', 'b'), flip_indices=(1, 0)), dict(flip_indices=(0, 1)), {}])
def test_sets_of_different_vocabularies(metainfo):
    same = dict(SETS[0], metainfo=dict(classes=('a', 'b'), flip_indices=(0, 1), dataset_name='one'))
    other = dict(SETS[1], metainfo=metainfo)
    with pytest.raises(ValueError, match=r'(classes|flip_indices) of datasets\[2\], Range: got'):
        build((1, 1, 1), [same, same, other])
    named = dict(same, metainfo=dict(classes=['a', 'b'], flip_indices=[0, 1], dataset_name='two'))
    assert build((1, 1), [same, named]).metainfo == same['metainfo']


def test_a_loop_that_counts_iterations_must_see_all_samples(tmp_path):
    loop = dict(by_epoch=False, max_iters=2)
    with pytest.raises(ValueError, match='length: got 20 .* at least 160'):
        train(tmp_path / 'short', loop=loop)
    train(tmp_path / 'long', loop=loop, length=160)
    dataset = build(length=160)
    assert len(set(drawn(dataset))) == sum(SIZES)
    # The shares of the length that an error names are rounded down at most.
    sets = [dict(type='Range', first=0, number=3), dict(type='Range', first=100, number=100)]
    with pytest.raises(ValueError, match='at least 150'):
        build((1, 2), sets, length=10).check_one_epoch()
    build((1, 2), sets, length=150).check_one_epoch()


def test_a_mix_in_a_mix_draws_anew_in_each_epoch():
    inner = dict(type='SapiensMixedDataset', datasets=SETS, weights=(1, 1, 1), length=6)
    dataset = build((1, 1), [inner, SETS[0]], length=12)
    runner = SimpleNamespace(seed=3, train_dataloader=SimpleNamespace(sampler=None, dataset=dataset),
                             train_loop=object.__new__(EpochBasedTrainLoop))
    epochs = []
    for runner.epoch in range(9):
        SapiensSeedHook().before_train_epoch(runner)
        epochs.append([dataset.get_data_info(i)['value'] for i in range(len(dataset))])
    assert len(set(map(tuple, epochs))) == 9
    assert len({value for epoch in epochs for value in epoch}) > 20  # one draw of the inner mix has six


@pytest.mark.parametrize(('weights', 'length', 'counts'), [
    ((2, 1, 1), 20, (10, 5, 5)), ((0.5, 0.25, 0.25), 20, (10, 5, 5)), ((1, 0, 3), 20, (5, 0, 15)),
    ((1, 1, 1), 20, (7, 7, 6)), ((98, 1, 1), 1000, (980, 10, 10)), ((0.1, 0.2, 0.7), 10, (1, 2, 7))])
def test_each_epoch_has_exactly_the_shares(weights, length, counts):
    dataset = build(weights, length=length)
    assert len(dataset) == length
    for epoch in range(5):
        drawn_counts = Counter(value // 100 for value in drawn(dataset, epoch))
        assert tuple(drawn_counts[i] for i in range(3)) == counts
    # So does, nearly, any part of an epoch.
    half = Counter(value // 100 for value in drawn(dataset)[:length // 2])
    assert all(abs(half[i] - count / 2) <= 1 for i, count in enumerate(counts))


def test_default_length_is_the_number_of_samples():
    assert len(build(length=None)) == sum(SIZES)


def test_no_sample_is_drawn_again_before_all_were():
    dataset = build((3, 2, 1), length=30)
    walks = [[], [], []]
    for epoch in range(12):
        for value in drawn(dataset, epoch):
            walks[value // 100].append(value % 100)
    for walk, size in zip(walks, SIZES):
        turns = [walk[start:start + size] for start in range(0, len(walk) - size + 1, size)]
        assert len(turns) > 0
        assert all(sorted(turn) == list(range(size)) for turn in turns)
        assert len(turns) < 3 or len(set(map(tuple, turns))) > 2  # in other orders


def test_epochs_and_seeds_differ():
    dataset = build()
    first = drawn(dataset)
    assert drawn(dataset, epoch=1) != first
    assert drawn(dataset, seed=4) != first
    assert drawn(dataset) == first == drawn(build())


def test_behaves_as_a_data_set():
    dataset = build(lazy_init=True)
    assert not dataset._fully_initialized
    assert len(dataset) == 20
    assert dataset.get_data_info(-1) == dataset.get_data_info(19)
    with pytest.raises(IndexError):
        dataset[20]
    with pytest.raises(NotImplementedError):
        dataset.get_subset([0])


def test_workers_follow_the_epoch():
    dataset = build()
    expected = [drawn(dataset, epoch) for epoch in range(2)]
    loader = DataLoader(dataset, 4, num_workers=2, persistent_workers=True, multiprocessing_context='fork',
                        collate_fn=lambda batch: [int(sample['inputs'][0]) for sample in batch])
    for epoch in range(2):
        dataset.seed_sample.state.copy_(torch.tensor([3, epoch, 0]))
        assert sum(loader, []) == expected[epoch]


class Learner(BaseModel):
    """Its weights depend on every sample, the noise that it was given, and their order."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.seen = []

    def forward(self, inputs, mode):
        inputs = torch.stack(inputs)
        self.seen += [tuple(row.tolist()) for row in inputs]
        return dict(loss=((inputs / 100) @ self.weight).square().mean() + torch.rand(()) * self.weight.sum())


def train(folder, num_workers=0, epochs=2, resume=False, seed=5, length=20, loop=None):
    model = Learner()
    Runner(
        model=model,
        work_dir=str(folder),
        train_dataloader=dict(
            batch_size=3, num_workers=num_workers, persistent_workers=num_workers > 0,
            collate_fn=dict(type='pseudo_collate'),
            sampler=dict(type=InfiniteSampler if loop else DefaultSampler, shuffle=True),
            dataset=dict(type='SapiensMixedDataset', datasets=SETS, weights=[2, 1, 1], length=length)),
        train_cfg=loop or dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
        custom_hooks=[dict(type='SapiensSeedHook')],
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=100),
            checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=not loop)),
        default_scope='mmengine',
        randomness=dict(seed=seed),
        resume=resume,
        log_level='ERROR',
        experiment_name=f'mixed_{folder}_{time.time()}').train()
    return model


def test_resumed_run_equals_the_unbroken_one_to_the_bit(tmp_path):
    unbroken = train(tmp_path / 'a', num_workers=2)
    train(tmp_path / 'b', num_workers=1, epochs=1)
    # Like most configs this one has no seed: it is the checkpoint's.
    resumed = train(tmp_path / 'b', num_workers=0, resume=True, seed=None)
    assert resumed.seen == unbroken.seen[-20:]
    assert torch.equal(resumed.weight, unbroken.weight)


def test_noise_differs_each_time_a_sample_is_drawn(tmp_path):
    """Also in an epoch: the second set has 3 samples, of which 5 are drawn."""
    model = train(tmp_path)
    assert len(model.seen) == len({row[1:] for row in model.seen}) == 40
