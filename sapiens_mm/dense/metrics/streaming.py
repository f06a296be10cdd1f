"""What the evaluators of dense predictions share: every sample once, in constant memory, the same on any processes."""
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

# Every finite double is a multiple of 2 ** -1074, so sums of doubles are exact in integers and their order is free.
_UNIT = 1074


def exact(value: float) -> int:
    """A finite float as an integer multiple of 2 ** -1074: a sum of such integers is exact, in whatever order."""
    numerator, denominator = float(value).as_integer_ratio()
    return numerator << (_UNIT + 1 - denominator.bit_length())


def ratio(total: int, count: int) -> float:
    """``total / count`` for a sum of :func:`exact` numbers, correctly rounded; NaN where nothing was counted."""
    return total / (int(count) << _UNIT) if count else math.nan


def dot(a: np.ndarray, b: np.ndarray) -> float:
    """The sum of products of two arrays, added by NumPy: BLAS (``a @ b``) adds in the order that its threads give."""
    return float((a * b).sum())


def add_tally(total: dict, more: dict) -> None:
    """Adds the integers, or integer arrays, of one dict to those of another, in place."""
    for name, value in more.items():
        total[name] = total[name] + value if name in total else value


def get_map(sample: dict, key: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """A map of a sample as an array on the host, without the leading axis where that is 1.

    Args:
        sample: What :class:`mmengine.evaluator.Evaluator` hands to a metric.
        key: For example ``pred_depth_map``.
        shape: The (H, W) that it must have, that of the ground truth.

    Returns:
        (H, W), or (3, H, W) for normals.

    Raises:
        KeyError: If the sample has no such map.
        ValueError: If it has another size.
    """
    if sample.get(key) is None:
        where = 'test pipeline loads and packs it' if key.startswith('gt') else 'model predicts it'
        raise KeyError(f"sample '{name_of(sample)}' has no '{key}': see that the {where}")
    data = sample[key]['data'] if isinstance(sample[key], dict) else sample[key].data
    channels = 3 if key.endswith('normal_map') else 1
    if data.ndim != 3 or data.shape[0] != channels:
        raise ValueError(f"'{key}' of sample '{name_of(sample)}' has shape {tuple(data.shape)}, expected "
                         f'({channels}, height, width)')
    if isinstance(data, torch.Tensor):
        data = data.detach()
        data = (data.float() if data.dtype in (torch.bfloat16, torch.float16) else data).cpu().numpy()
    if shape is not None and data.shape[-2:] != shape:
        raise ValueError(f"'{key}' of sample '{name_of(sample)}' is {data.shape[-2]}x{data.shape[-1]} (height x width),"
                         f' but its ground truth {shape[0]}x{shape[1]}. Predictions are to be resized to ori_shape, '
                         'and labels loaded after the resize of the image, so that they keep the original size')
    return data[0] if channels == 1 else data


def name_of(sample: dict) -> str:
    """What to call a sample in messages and files."""
    return str(sample.get('sample_name') or sample.get('img_path') or '?')


class StreamingMetric(BaseMetric):
    """Takes each sample of the data set once, keeps a small state, and merges the states of all processes.

    MMEngine's samplers give every process as many samples as the others, by repeating some: the last of a process may
    be a repeated one. So the last record is held back until :meth:`evaluate` knows the size of the data set. MMEngine's
    own way, a list of all records, sorted and cut, would keep records of as many samples as there are.

    A subclass has :meth:`measure`, :meth:`absorb`, :meth:`start` and :meth:`summarise`.
    """

    def __init__(self, prefix: str | None = None) -> None:
        super().__init__(prefix=prefix)
        self._restart()

    def start(self) -> Any:
        """An empty state, which can be pickled."""
        raise NotImplementedError

    def measure(self, sample: dict, index: int) -> Any:
        """The record of a sample; ``index`` is its place in the data set, when that is not shuffled."""
        raise NotImplementedError

    def absorb(self, record: Any) -> None:
        """Adds a record to ``self.state``."""
        raise NotImplementedError

    def summarise(self, states: list) -> dict[str, float]:
        """The figures, without prefix, from the states of all processes; called in each of them."""
        raise NotImplementedError

    def discard(self, record: Any) -> None:
        """Undoes what :meth:`measure` did outside of the state for a repeated sample."""

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Measures a batch."""
        rank, world = get_dist_info()
        for sample in data_samples:
            record = self.measure(sample, self._seen * world + rank)
            if self._seen:
                self.absorb(self._held)
            self._held = record
            self._seen += 1

    def compute_metrics(self, results: list) -> dict[str, float]:
        """See :meth:`summarise`."""
        return self.summarise(results)

    def evaluate(self, size: int) -> dict[str, float]:
        """Figures over the whole data set.

        Args:
            size: Samples in the data set.

        Raises:
            ValueError: If not every sample was seen exactly once, but for those that the sampler repeated.
        """
        rank, world = get_dist_info()
        own = len(range(rank, size, world))
        if self._seen == own + 1 and world > 1:
            self.discard(self._held)
        elif self._seen:
            self.absorb(self._held)
        gathered = all_gather_object((self._seen, self.state))
        self._restart()
        for other, (seen, _) in enumerate(gathered):
            own = len(range(other, size, world))
            if seen != own and not (world > 1 and seen == own + 1):
                raise ValueError(f'{type(self).__name__} saw {seen} samples in process {other} of {world}, but of the '
                                 f'{size} in the data set {own} were for it. Test with drop_last=False and '
                                 "sampler=dict(type='DefaultSampler', shuffle=False)")
        figures = self.compute_metrics([state for _, state in gathered])
        return {f'{self.prefix}/{name}' if self.prefix else name: value for name, value in figures.items()}

    def _restart(self) -> None:
        self.state = self.start()
        self._held = None
        self._seen = 0


class ScoringMetric(StreamingMetric):
    """Sums of all pixels, or of the figures of all images, for the whole set and for each group of samples.

    It leaves the figures of a sample in ``sample['scores']``, for the evaluators that come after it in the config.
    After :meth:`evaluate`, ``report`` has the protocol and all figures, in plain Python types.

    Samples whose metainfo has a ``region`` are measured by region too: those are the groups.

    A subclass has ``task``, ``figure_names``, ``protocol``, ``protocol_name``, :meth:`units` and :meth:`figures`.

    Args:
        average: ``'pixel'``: over all pixels of the set. ``'image'`` or another unit: first over the pixels of each
            unit, then over the units.
        prefix: See :class:`mmengine.evaluator.BaseMetric`.
    """

    task: str
    figure_names: tuple[str, ...]
    protocol: dict
    #: Stands between the prefix and the name of a figure.
    protocol_name = ''

    def __init__(self, average: str, prefix: str | None = None) -> None:
        self.average = average
        self.report: dict | None = None
        super().__init__(prefix)

    @property
    def metric_names(self) -> list[str]:
        """The names of the metrics over the whole set."""
        return [self._full_name(name) for name in self.figure_names]

    def units(self, sample: dict) -> tuple[list[dict], dict]:
        """A tally for each unit (image or person) of the sample that can be measured, and counts beside them."""
        raise NotImplementedError

    def figures(self, tally: dict) -> dict[str, float]:
        """The figures over the pixels of a tally."""
        raise NotImplementedError

    def start(self) -> dict:
        return {}

    def measure(self, sample: dict, index: int) -> tuple[str | None, dict]:
        units, tally = self.units(sample)
        tally = {'units': len(units), **tally}
        for unit in units:
            if self.average == 'pixel':
                add_tally(tally, unit)
            else:
                add_tally(tally, {name: exact(value) for name, value in self.figures(unit).items()})
        scores = sample.setdefault('scores', {})
        scores.update({self._full_name(name): value for name, value in self._averaged(tally).items()})
        return sample.get('region'), tally

    def absorb(self, record: tuple[str | None, dict]) -> None:
        group, tally = record
        add_tally(self.state.setdefault(group, {}), tally)

    def summarise(self, states: list[dict]) -> dict[str, float]:
        groups = {}
        for state in states:
            for group, tally in state.items():
                add_tally(groups.setdefault(group, {}), tally)
        whole = {}
        for tally in groups.values():
            add_tally(whole, tally)
        if not whole:
            raise ValueError(f'{type(self).__name__} got no predictions: the data set is empty')
        if not whole['units']:
            MMLogger.get_current_instance().warning(
                f'{type(self).__name__}: no sample has enough labelled pixels, so there is nothing to measure')
        figures = {str(group): self._with_counts(groups[group]) for group in sorted(groups.keys() - {None}, key=str)}
        figures['all'] = self._with_counts(whole)
        self.report = dict(
            task=self.task, name='/'.join(filter(None, (self.prefix, self.protocol_name))), protocol=self.protocol,
            dataset=(self.dataset_meta or {}).get('dataset_name'), figures=figures)
        self.complete_report(whole)
        named = {}
        for group in ['all', *(group for group in figures if group != 'all')]:
            for name, value in figures[group].items():
                parts = (self.protocol_name, '' if group == 'all' else group, name)
                named['/'.join(filter(None, parts))] = value
        return named

    def complete_report(self, tally: dict) -> None:
        """Adds to ``self.report`` what else is known of the whole set."""

    def counts(self, tally: dict) -> dict[str, float]:
        """What was left out or mended, to be stated beside the figures."""
        return {}

    def _averaged(self, tally: dict) -> dict[str, float]:
        if not tally['units']:
            return dict.fromkeys(self.figure_names, math.nan)
        if self.average == 'pixel':
            return self.figures(tally)
        return {name: ratio(tally[name], tally['units']) for name in self.figure_names}

    def _with_counts(self, tally: dict) -> dict[str, float]:
        return {**self._averaged(tally), **self.counts(tally)}

    def _full_name(self, name: str) -> str:
        return '/'.join(filter(None, (self.prefix, self.protocol_name, name)))
