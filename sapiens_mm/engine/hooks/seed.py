"""Seeds that make a resumed run repeat an unbroken one: hook and transform."""
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
    """Seeds Python's, NumPy's and torch's generators with a hash of some integers."""
    seed = zlib.crc32(np.asarray(numbers, dtype=np.int64).tobytes())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@TRANSFORMS.register_module()
class SapiensSeedSample(BaseTransform):
    """Makes the random transforms after it depend on nothing but the run's seed, the epoch and the sample's index.

    Without it the augmentation of a sample depends on the number of workers and on how long they have lived: MMEngine
    seeds a worker when it starts, so a resumed run differs from an unbroken one, and workers that are not persistent
    repeat the same random numbers in every epoch. Where a sample comes several times in an epoch (``RepeatDataset``),
    the worker and how many samples it has made count too, and a resumed run repeats an unbroken one of as many workers.
    :class:`SapiensSeedHook` tells the seed and the epoch; without that hook, and in loops that count iterations instead
    of epochs, nothing is seeded. Put it first in the training pipeline of any host.

    Required key: ``sample_idx`` (every dataset of MMEngine sets it).
    """

    def __init__(self):
        # Seed, epoch and whether samples recur, shared with the workers, which get it when they start. The seed is -1
        # until the hook has spoken.
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
    """Makes a resumed run repeat what an unbroken one does.

    It seeds each iteration of the main process (drop path, for one) by the run's seed, the iteration's number and the
    rank, and gives the run's seed (drawn at its first start, unless the config has one) to the sampler and, in loops
    that count epochs, with the epoch to the data workers' :class:`SapiensSeedSample`.
    """

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        # Each iteration, since making the data iterator draws random numbers too, more or fewer of them.
        _seed_all(runner.seed, runner.iter, get_rank())

    def before_train_epoch(self, runner) -> None:
        # On resuming, the runner takes over the seed of the run before, but its sampler has one from before that.
        sampler = runner.train_dataloader.sampler
        if hasattr(sampler, 'seed'):
            sampler.seed = runner.seed
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            return  # its workers read ahead from before the run began, and never start anew
        for transform, repeated in _seed_transforms(runner.train_dataloader.dataset):
            # Set before the iterator of the epoch is made, so no worker reads ahead of it.
            transform.state.copy_(torch.tensor([runner.seed, runner.epoch, repeated]))
            transform._made = 0  # for workers that start anew, and for none


def _seed_transforms(dataset: object, repeated: bool = False) -> Iterator[tuple[SapiensSeedSample, bool]]:
    """The seeding transforms of a dataset, through wrappers (``dataset``) and unions (``datasets``), and whether a
    wrapper repeats samples."""
    repeated = repeated or isinstance(dataset, (RepeatDataset, ClassBalancedDataset))
    for inner in [getattr(dataset, 'dataset', None), *(getattr(dataset, 'datasets', None) or [])]:
        if inner is not None:
            yield from _seed_transforms(inner, repeated)
    for transform in getattr(getattr(dataset, 'pipeline', None), 'transforms', []):
        if isinstance(transform, SapiensSeedSample):
            yield transform, repeated
