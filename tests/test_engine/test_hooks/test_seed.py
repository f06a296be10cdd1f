"""Tests of seeds of resumed runs."""
import time

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import BaseDataset, DefaultSampler, InfiniteSampler
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, TRANSFORMS
from mmengine.runner import Runner

import sapiens_mm  # noqa: F401


@TRANSFORMS.register_module()
class AddNoise(BaseTransform):

    def transform(self, results):
        return dict(inputs=torch.tensor([results['value'], np.random.rand(), torch.rand(()).item()]))


@DATASETS.register_module()
class Numbers(BaseDataset):

    def load_data_list(self):
        return [dict(value=i) for i in range(6)]


class Recorder(BaseModel):
    """Remembers the noise that it was given for each sample in each epoch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.seen, self.drawn = [], []

    def forward(self, inputs, mode):
        self.seen += [tuple(row.tolist()) for row in torch.stack(inputs)]
        self.drawn.append(torch.rand(()).item())
        return dict(loss=self.weight.sum())


def train(tmp_path, num_workers, persistent=False, epochs=3, resume=False, wrap=False, seeded=True, seed=5,
          repeat=None, loop=None):
    dataset = dict(type='Numbers', pipeline=[dict(type='SapiensSeedSample'), dict(type='AddNoise')])
    if not seeded:
        dataset['pipeline'] = dataset['pipeline'][1:]
    if repeat:
        dataset = dict(type='RepeatDataset', times=repeat, dataset=dataset)
    if wrap:
        dataset = dict(type='ConcatDataset', datasets=[dataset])
    model = Recorder()
    Runner(
        model=model,
        work_dir=str(tmp_path),
        train_dataloader=dict(
            batch_size=2,
            num_workers=num_workers,
            persistent_workers=persistent,
            collate_fn=dict(type='pseudo_collate'),
            sampler=dict(type=InfiniteSampler if loop else DefaultSampler, shuffle=True),
            dataset=dataset),
        train_cfg=loop or dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.)),
        custom_hooks=[dict(type='SapiensSeedHook')],
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=100),
            checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=not loop)),
        default_scope='mmengine',
        randomness=dict(seed=seed),
        resume=resume,
        log_level='ERROR',
        experiment_name=f'reproducibility_{tmp_path}_{time.time()}').train()
    return model


@pytest.mark.parametrize('wrap', [False, True])
def test_noise_depends_on_sample_and_epoch_only(tmp_path, wrap):
    unbroken = train(tmp_path / 'a', num_workers=0, wrap=wrap)
    assert len(set(unbroken.seen)) == len({row[1:] for row in unbroken.seen}) == 18
    assert train(tmp_path / 'b', num_workers=2, wrap=wrap).seen == unbroken.seen
    assert train(tmp_path / 'c', num_workers=1, persistent=True, wrap=wrap).seen == unbroken.seen


def test_resumed_run_repeats_the_unbroken_one(tmp_path):
    unbroken = train(tmp_path / 'a', num_workers=1, persistent=True)
    train(tmp_path / 'b', num_workers=1, persistent=True, epochs=2)
    # Like most configs this one has no seed: it is the checkpoint's.
    resumed = train(tmp_path / 'b', num_workers=1, persistent=True, epochs=3, resume=True, seed=None)
    assert resumed.seen == unbroken.seen[-6:]
    assert resumed.drawn == unbroken.drawn[-3:]


def test_recurring_samples_differ(tmp_path):
    model = train(tmp_path, num_workers=2, persistent=True, epochs=2, repeat=3)
    assert len(model.seen) == 36
    assert len(set(model.seen)) == 36


def test_loops_that_count_iterations(tmp_path):
    """The sampler never ends, so a sample comes again in the same epoch: not with the same noise."""
    model = train(tmp_path, num_workers=1, persistent=True, loop=dict(by_epoch=False, max_iters=9))
    assert len(set(model.seen)) == 18


def test_the_test_can_fail(tmp_path):
    """Without the transform the number of workers does change the noise."""
    alone = train(tmp_path / 'a', num_workers=0, seeded=False)
    assert train(tmp_path / 'b', num_workers=2, seeded=False).seen != alone.seen


def test_without_hook_nothing_is_seeded():
    transform = TRANSFORMS.build(dict(type='SapiensSeedSample'))
    np.random.seed(0)
    transform(dict(sample_idx=3))
    assert np.random.rand() == np.random.RandomState(0).rand()
