"""Dataset that mixes several datasets by weights."""
import math
import zlib
from collections.abc import Sequence
from numbers import Real

import numpy as np
from mmengine.dataset import ConcatDataset, force_full_init
from mmengine.registry import DATASETS

from ..utils.text import some
from .hooks.seed import SapiensSeedSample

#: Metainfo that gives labels their meaning.
_MEANING = ('classes', 'palette', 'flip_indices', 'keypoint_id2name')


@DATASETS.register_module()
class SapiensMixedDataset(ConcatDataset):
    """Samples of several datasets in fixed shares of each epoch.

    In each epoch every dataset contributes ``length * weight / sum(weights)`` samples, rounded, spread evenly over the
    indices. Its samples are drawn in random order without repetition until all were drawn, then in another order; the
    next epoch continues where the last one ended. The sample of an index and the random numbers of its pipeline depend
    only on the run's seed, the epoch and the index, so they are equal for any number of processes and workers, and in
    a resumed run. :class:`SapiensSeedHook` sets seed and epoch; without it all epochs equal the first. The metainfo is
    that of the first dataset.

    Args:
        datasets: Datasets or their configs, each with its pipeline. Their classes or keypoints must agree.
        weights: Relative share of each dataset, at least 0 and not all 0; one with weight 0 is opened, but not used.
        length: Samples per epoch; by default the number of samples in all datasets.
        lazy_init: Whether to open the files of the datasets later, in ``full_init``.
    """

    def __init__(self, datasets: Sequence[dict], weights: Sequence[float], length: int | None = None,
                 lazy_init: bool = False):
        # Not ConcatDataset's constructor, which refuses datasets that differ in any metainfo, such as their names.
        if not datasets:
            raise ValueError('datasets: got none, expected one or more')
        if len(weights) != len(datasets):
            raise ValueError(f'weights: got {len(weights)}, expected {len(datasets)}, one per dataset')
        if not all(isinstance(weight, Real) and 0 <= weight < math.inf for weight in weights) or not any(weights):
            raise ValueError(f'weights: got {list(weights)}, expected finite numbers of at least 0, not all 0')
        if length is not None and (not isinstance(length, int) or length < 1):
            raise ValueError(f'length: got {length!r}, expected a number of samples above 0')
        self.datasets = [DATASETS.build(dataset) if isinstance(dataset, dict) else dataset for dataset in datasets]
        self.weights, self.length = tuple(weights), length
        self._metainfo = self.datasets[0].metainfo
        for number, dataset in enumerate(self.datasets):
            self._check_meaning(f'datasets[{number}], {type(dataset).__name__}', dataset.metainfo)
        self.seed_sample = SapiensSeedSample()
        self._drawn = None  # (seed, epoch), and the dataset and its sample of each index
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    def _check_meaning(self, where: str, metainfo: dict) -> None:
        for key in _MEANING:
            value, expected = (_values(info.get(key)) for info in (metainfo, self._metainfo))
            if not np.array_equal(np.asarray(value, object), np.asarray(expected, object)):
                raise ValueError(
                    f'{key} of {where}: got {len(value)} ({some(value)}), expected {len(expected)} ({some(expected)}), '
                    'as of datasets[0]; mix datasets of one vocabulary, or convert keypoints by a CombinedDataset and '
                    'KeypointConverter of mmpose, with the metainfo of datasets[0]')

    def full_init(self) -> None:
        """Opens the datasets; raises a ValueError if one has no samples, or no share of an epoch."""
        if self._fully_initialized:
            return
        super().full_init()
        sizes = [len(dataset) for dataset in self.datasets]
        if not all(sizes):
            raise ValueError(f'datasets: got {sizes} samples, expected one or more in each')
        length = sum(sizes) if self.length is None else self.length
        self.counts = split(length, self.weights)
        for number, (count, weight) in enumerate(zip(self.counts, self.weights)):
            if weight and not count:
                raise ValueError(f'length: got {length}, of which datasets[{number}] of weight {weight} has no sample, '
                                 'expected more; raise length or the weight')

    def check_one_epoch(self) -> None:
        """Raises a ValueError if an epoch omits samples: loops that count iterations repeat the first epoch."""
        if any(0 < count < len(dataset) for count, dataset in zip(self.counts, self.datasets)):
            length = max(math.ceil(len(dataset) * sum(self.weights) / weight)
                         for weight, dataset in zip(self.weights, self.datasets) if weight)
            raise ValueError(
                f'length: got {len(self)} in a loop that counts iterations, which draws the same samples in every '
                f'epoch, expected at least {length}, which include all; raise length, or use a loop that counts epochs')

    @force_full_init
    def __len__(self) -> int:
        return sum(self.counts)

    def __getitem__(self, idx: int) -> dict:
        self.seed_sample(dict(sample_idx=idx))
        return super().__getitem__(idx)

    @force_full_init
    def _get_ori_dataset_idx(self, idx: int) -> tuple[int, int]:
        epoch = self.seed_sample.state[:2].clamp(min=0).tolist()
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = epoch, *self._draw(*epoch)
        return int(self._drawn[1][idx]), int(self._drawn[2][idx])

    def _draw(self, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        samples = []
        for number, (count, dataset) in enumerate(zip(self.counts, self.datasets)):
            turn, start = divmod(epoch * count, len(dataset))
            turns = range(turn, turn - (-(start + count) // len(dataset)))
            walk = [_shuffled(len(dataset), seed, number, turn) for turn in turns] if count else [np.zeros(0, int)]
            samples.append(np.concatenate(walk)[start:start + count])
        sets = np.repeat(np.arange(len(samples)), self.counts)
        # Evenly spread: sample i of n of a dataset comes at (i + 0.5) / n of the epoch.
        order = np.argsort(np.concatenate([(np.arange(len(walk)) + 0.5) / (len(walk) or 1) for walk in samples]),
                           kind='stable')
        return sets[order], np.concatenate(samples)[order]


def split(length: int, weights: Sequence[float]) -> list[int]:
    """Splits ``length`` into whole numbers, each less than 1 from the exact share of its weight."""
    shares = length * np.asarray(weights, float) / sum(weights)
    counts = np.floor(shares).astype(int)
    counts[np.argsort(counts - shares, kind='stable')[:length - counts.sum()]] += 1
    return counts.tolist()


def _shuffled(size: int, *seeds: int) -> np.ndarray:
    # RandomState: later versions of NumPy may draw other numbers from a Generator.
    return np.random.RandomState(zlib.crc32(np.asarray(seeds, np.int64).tobytes())).permutation(size)


def _values(entry) -> list:
    entry = () if entry is None else entry
    return [entry[key] for key in sorted(entry)] if isinstance(entry, dict) else list(entry)
