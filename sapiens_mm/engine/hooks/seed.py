"""Seeds with which a resumed run equals an uninterrupted one: hook and transform."""
import random
import zlib
from collections.abc import Iterator

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import ClassBalancedDataset, RepeatDataset
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, TRANSFORMS
from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data import get_worker_info


def _seed_all(*numbers: int) -> None:
    seed = zlib.crc32(np.asarray(numbers, dtype=np.int64).tobytes())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@TRANSFORMS.register_module()
class SapiensSeedSample(BaseTransform):
    """Makes the random transforms after it depend only on the run's seed, the epoch and the sample's index.

    MMEngine seeds workers when they start. Augmentation then depends on the number of workers and on how long they
    have run, a resumed run differs, and workers that are not persistent repeat their random numbers in every epoch. If
    a sample recurs in an epoch (``RepeatDataset``), the seed also includes the worker and its number of samples, so a
    resumed run needs the same number of workers.

    Put it first in the training pipeline of any host, with :class:`SapiensSeedHook`, which sets seed and epoch. Without
    the hook, and in loops that count iterations, nothing is seeded. Required key: ``sample_idx``.
    """

    def __init__(self):
        # Seed (-1 until the hook sets it), epoch and whether samples recur, in memory shared with the workers.
        self.state = torch.full((3, ), -1, dtype=torch.int64).share_memory_()
        self._made = 0

    def transform(self, results: dict) -> dict:
        seed, epoch, recurring = self.state.tolist()
        if seed < 0:
            return results
        key = [seed, epoch, results['sample_idx']]
        if recurring:
            worker = get_worker_info()
            key += [worker.id if worker else 0, self._made]
            self._made += 1
        _seed_all(*key)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


@HOOKS.register_module()
class SapiensSeedHook(Hook):
    """Makes a resumed run equal to an uninterrupted one.

    Seeds each iteration (for drop path, for example) from the run's seed, the iteration and the rank. Sets the
    sampler's seed and, in loops that count epochs, seed and epoch of :class:`SapiensSeedSample` and
    ``SapiensMixedDataset`` in the data workers.
    """

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        # In each iteration, since making the data iterator draws a varying number of random numbers too.
        _seed_all(runner.seed, runner.iter, get_rank())

    def before_train_epoch(self, runner) -> None:
        # A resumed runner takes over the checkpoint's seed, but its sampler was built with another one.
        sampler = runner.train_dataloader.sampler
        if hasattr(sampler, 'seed'):
            sampler.seed = runner.seed
        dataset = runner.train_dataloader.dataset
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            if hasattr(dataset, 'check_one_epoch'):
                dataset.check_one_epoch()
            return  # its workers start once and read ahead
        for transform, repeated in _seed_transforms(dataset):
            # The iterator of the epoch is made later, so no worker reads ahead of this.
            transform.state.copy_(torch.tensor([runner.seed, runner.epoch, repeated]))
            transform._made = 0


def _seed_transforms(dataset: object, repeated: bool = False,
                     only_mixed: bool = False) -> Iterator[tuple[SapiensSeedSample, bool]]:
    repeated = repeated or isinstance(dataset, (RepeatDataset, ClassBalancedDataset))
    mixed = hasattr(dataset, 'seed_sample')  # seeds the pipelines of its datasets, which may draw a sample repeatedly
    if mixed:
        yield dataset.seed_sample, repeated
    for inner in [getattr(dataset, 'dataset', None), *(getattr(dataset, 'datasets', None) or [])]:
        if inner is not None:
            # Of the datasets in a mix only mixes need the epoch, to draw from it.
            yield from _seed_transforms(inner, repeated, only_mixed or mixed)
    for transform in getattr(getattr(dataset, 'pipeline', None), 'transforms', []):
        if isinstance(transform, SapiensSeedSample) and not only_mixed:
            yield transform, repeated
