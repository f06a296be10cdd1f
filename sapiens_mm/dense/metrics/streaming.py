"""Streaming evaluation of dense predictions: each sample once, and the same digits for any number of processes."""
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from ...tasks import dense_tasks


def get_map(sample: dict, key: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Returns a map (H, W) or (C, H, W) on the host; a KeyError if missing, a ValueError if not of ``shape`` (H, W)."""
    name = f"'{key}' of sample '{name_of(sample)}'"
    if sample.get(key) is None:
        expected = 'a label; load and pack it in the test pipeline' if key.startswith('gt') else 'a prediction'
        raise KeyError(f'{name}: got None, expected {expected}')
    data = sample[key]['data'] if isinstance(sample[key], dict) else sample[key].data
    channels = next((task.channels for task in dense_tasks().values()
                     if not task.is_integer and key in (task.label.field, task.pred_field)), 1)
    if data.ndim != 3 or data.shape[0] != channels:
        raise ValueError(f'{name}: got shape {tuple(data.shape)}, expected ({channels}, height, width)')
    if isinstance(data, torch.Tensor):
        data = data.detach()
        data = (data.float() if data.dtype in (torch.bfloat16, torch.float16) else data).cpu().numpy()
    if shape is not None and data.shape[-2:] != shape:
        raise ValueError(f'{name}: got {data.shape[-2]}x{data.shape[-1]} (height x width), expected '
                         f'{shape[0]}x{shape[1]} as its ground truth; resize predictions to ori_shape, and load labels '
                         'after the image is resized')
    return data[0] if channels == 1 else data


def name_of(sample: dict) -> str:
    return str(sample.get('sample_name') or sample.get('img_path') or '?')


def add_tally(total: dict, more: dict) -> None:
    """Adds counts to those of ``total`` and appends floats, which :func:`sums_of` alone sums, whatever their order."""
    for name, value in more.items():
        if isinstance(value, (float, list)):
            total.setdefault(name, []).extend(value if isinstance(value, list) else [value])
        else:
            total[name] = total.get(name, 0) + value


def sums_of(tally: dict) -> dict:
    """Returns the counts and correctly rounded sums of a tally."""
    return {name: math.fsum(value) if isinstance(value, list) else value for name, value in tally.items()}


class StreamingMetric(BaseMetric):
    """Evaluator that takes each sample of the dataset once and merges the states of all processes.

    MMEngine's samplers repeat samples so that every process has as many; so a process's last record is held back until
    :meth:`evaluate` knows the size. A subclass implements :meth:`measure`, and :meth:`start` and :meth:`absorb` if its
    state is no list of records.
    """

    def __init__(self, prefix: str | None = None) -> None:
        super().__init__(prefix=prefix)
        self._restart()

    def start(self) -> Any:
        """Returns an empty state, which can be pickled."""
        return []

    def measure(self, sample: dict, index: int) -> Any:
        """Returns the record of a sample; ``index`` is its place in the unshuffled dataset."""
        raise NotImplementedError

    def absorb(self, record: Any) -> None:
        self.state.append(record)

    def summarize(self, states: list) -> dict[str, float]:
        """Returns the metrics, without prefix, for the states of all processes; called in each of them."""
        return {}

    def discard(self, record: Any) -> None:
        """Removes files that :meth:`measure` wrote for a repeated sample."""

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        rank, world = get_dist_info()
        for sample in data_samples:
            record = self.measure(sample, self._seen * world + rank)
            if self._seen:
                self.absorb(self._held)
            self._held = record
            self._seen += 1

    def compute_metrics(self, results: list) -> dict[str, float]:
        return self.summarize(results)

    def evaluate(self, size: int) -> dict[str, float]:
        """Returns the metrics of ``size`` samples; a ValueError if one is missing, or seen twice without repetition."""
        rank, world = get_dist_info()
        if self._seen == len(range(rank, size, world)) + 1 and world > 1:
            self.discard(self._held)
        elif self._seen:
            self.absorb(self._held)
        gathered = all_gather_object((self._seen, self.state))
        self._restart()
        for other, (seen, _) in enumerate(gathered):
            share = len(range(other, size, world))
            if seen != share and not (world > 1 and seen == share + 1):
                raise ValueError(f'{type(self).__name__}: got {seen} samples in process {other} of {world}, expected '
                                 f'{share} of the {size} in the dataset; test with drop_last=False and '
                                 "sampler=dict(type='DefaultSampler', shuffle=False)")
        metrics = self.compute_metrics([state for _, state in gathered])
        return {f'{self.prefix}/{name}' if self.prefix else name: value for name, value in metrics.items()}

    def _restart(self) -> None:
        self.state = self.start()
        self._held = None
        self._seen = 0


class ScoringMetric(StreamingMetric):
    """Metrics over all pixels, or averaged over images, for the whole set and for each ``region`` of samples.

    ``sample['scores']`` gets the sample's own metrics; after :meth:`evaluate`, ``report`` has the protocol and all
    metrics. A subclass has ``task``, ``score_names``, ``protocol``, :meth:`units` and :meth:`scores`. ``average`` is
    ``'pixel'``: over all pixels; or a unit such as ``'image'``: over the pixels of each unit, then over the units.
    """

    task: str
    score_names: tuple[str, ...]
    protocol: dict
    #: Part of a metric's name between the prefix and the score.
    protocol_name = ''
    #: Columns in tables of papers: (title, score, digits).
    columns: tuple[tuple[str, str, int], ...] = ()
    #: Score by which samples are the worst, and whether a low one is bad.
    worst_by: tuple[str, bool]

    def __init__(self, average: str, prefix: str | None = None) -> None:
        self.average = average
        self.report: dict | None = None
        super().__init__(prefix)

    @property
    def metric_names(self) -> list[str]:
        return [self._full_name(name) for name in self.score_names]

    def units(self, sample: dict) -> tuple[list[dict], dict]:
        """Returns a tally for each unit (image or person) of the sample, and counts of what is skipped or corrected."""
        raise NotImplementedError

    def scores(self, sums: dict) -> dict[str, float]:
        """Returns the scores over the pixels that were summed."""
        raise NotImplementedError

    def counts(self, tally: dict) -> dict[str, float]:
        """Returns the counts to report beside the scores."""
        return {}

    def complete_report(self, tally: dict) -> None:
        """Adds details of the whole set to ``self.report``."""

    def start(self) -> dict:
        return {}

    def measure(self, sample: dict, index: int) -> tuple[str | None, dict]:
        units, tally = self.units(sample)
        tally = {'units': len(units), **tally}
        for unit in units:
            add_tally(tally, unit if self.average == 'pixel' else self.scores(unit))
        sample.setdefault('scores', {}).update(
            {self._full_name(name): value for name, value in self._averaged(tally).items()})
        return sample.get('region'), tally

    def absorb(self, record: tuple[str | None, dict]) -> None:
        group, tally = record
        add_tally(self.state.setdefault(group, {}), tally)

    def summarize(self, states: list[dict]) -> dict[str, float]:
        groups, whole = {}, {}
        for state in states:
            for group, tally in state.items():
                add_tally(groups.setdefault(group, {}), tally)
                add_tally(whole, tally)
        if not whole:
            raise ValueError(f'{type(self).__name__}: got no predictions, expected a dataset with samples')
        if not whole['units']:
            MMLogger.get_current_instance().warning(
                f'{type(self).__name__}: no sample has enough labeled pixels; all metrics are NaN')
        scores = {str(group): self._with_counts(groups[group]) for group in sorted(groups.keys() - {None}, key=str)}
        scores['all'] = self._with_counts(whole)
        self.report = dict(
            task=self.task, name='/'.join(filter(None, (self.prefix, self.protocol_name))), protocol=self.protocol,
            dataset=(self.dataset_meta or {}).get('dataset_name'), metrics=scores)
        self.complete_report(whole)
        return {'/'.join(filter(None, (self.protocol_name, group if group != 'all' else '', name))): value
                for group in ['all', *(group for group in scores if group != 'all')]
                for name, value in scores[group].items()}

    def _averaged(self, tally: dict) -> dict[str, float]:
        if not tally['units']:
            return dict.fromkeys(self.score_names, math.nan)
        sums = sums_of(tally)
        return self.scores(sums) if self.average == 'pixel' else {
            name: sums[name] / tally['units'] for name in self.score_names}

    def _with_counts(self, tally: dict) -> dict[str, float]:
        return {**self._averaged(tally), **self.counts(tally)}

    def _full_name(self, name: str) -> str:
        return '/'.join(filter(None, (self.prefix, self.protocol_name, name)))
