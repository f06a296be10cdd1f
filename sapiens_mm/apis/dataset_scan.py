"""A scan of the data sets of a config: every file opened once, every check run to its end, one table."""
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, DefaultScope
from torch.utils.data import DataLoader, Dataset

from ..utils.images import decode
from ..utils.problems import Problem, collect_problems, report
from ..utils.text import some
from .duplicates import Duplicates, look_of

_LISTED = 25  # values in a line of the table
_SPLITS = ('train', 'val', 'test')


@dataclass
class Scan:
    """What a scan found.

    Attributes:
        problems: In the order in which they were found.
        files: How many files were opened.
        complete: Whether the scan came to its end.
        statistics: Title -> name -> value.
    """
    problems: list[Problem] = field(default_factory=list)
    files: int = 0
    complete: bool = False
    statistics: dict[str, dict[str, Any]] = field(default_factory=dict)
    _known: set[Problem] = field(default_factory=set)

    def add(self, problems: list[Problem]) -> None:
        """Takes problems that are not known yet: data sets may share their files."""
        self.problems += [problem for problem in dict.fromkeys(problems) if problem not in self._known]
        self._known.update(problems)

    @property
    def wrong(self) -> bool:
        """Whether training or testing on the data would be wrong."""
        return any(problem.level == 'error' for problem in self.problems)

    def rows(self) -> list[tuple[str, str, int, list[str]]]:
        """Level, kind, count and all messages of each kind of problem, errors first."""
        groups = defaultdict(list)
        for problem in self.problems:
            groups[problem.level, problem.kind].append(problem)
        levels = ('error', 'warning', 'note')
        return [(level, kind, sum(max(problem.count, 1) for problem in found), [str(problem) for problem in found])
                for (level, kind), found in sorted(groups.items(), key=lambda item: levels.index(item[0][0]))]

    def table(self, examples: int = 3) -> str:
        """Problems and statistics as text."""
        lines = [f'{"level":8} {"kind":26} {"count":>7}  first examples']
        for level, kind, count, messages in self.rows():
            lines.append(f'{level:8} {kind:26} {count:7}  {messages[0]}')
            lines += [f'{"":43}  {message}' for message in messages[1:examples]]
            if len(messages) > examples:
                lines.append(f'{"":43}  and {len(messages) - examples} more of this kind')
        if len(lines) == 1:
            lines.append(f'{"":8} nothing is wrong')
        for title, values in self.statistics.items():
            lines += ['', title, *(f'  {name.replace("_", " "):32} {_shown(value)}' for name, value in values.items())]
        return '\n'.join(lines)

    def to_json(self) -> dict:
        """Everything, for a report file."""
        return dict(complete=self.complete, files=self.files, wrong=self.wrong,
                    problems=[dict(level=level, kind=kind, count=count, messages=messages)
                              for level, kind, count, messages in self.rows()], statistics=self.statistics)


def _shown(value: Any) -> str:
    """A statistic as text: of many values, the most frequent sizes, or the rarest keypoints and classes."""
    if not isinstance(value, dict):
        return str(value)
    shares = any(isinstance(number, float) for number in value.values())
    items = list(value.items())
    if shares and len(items) > _LISTED:
        items.sort(key=lambda item: item[1])
    text = ', '.join(f'{name}: {number:.2%}' if shares else f'{name}: {number}' for name, number in items[:_LISTED])
    return f'{text} and {len(items) - _LISTED} more' if len(items) > _LISTED else text


def leaves(cfg: dict) -> list[dict]:
    """The data set configs inside of wrappers and unions."""
    inner = [*([cfg['dataset']] if isinstance(cfg.get('dataset'), dict) else []), *(cfg.get('datasets') or [])]
    return [leaf for part in inner for leaf in leaves(part)] if inner else [cfg]


def scan_config(cfg: Config, scan: Scan, splits: Sequence[str] | None = None, workers: int = 2,
                progress: Callable[[str, int], Callable[[], None]] = lambda title, items: lambda: None) -> None:
    """Scans the data sets of a config.

    Args:
        cfg: Config with ``train_dataloader`` and so on.
        scan: Gets what is found, at any time what is known so far.
        splits: Of ``'train'``, ``'val'``, ``'test'``; by default those that the config has, without a test set that is
            the same as the validation set.
        workers: Processes that open files.
        progress: Called with the title and the number of items of each data set; what it returns, after each item.

    Raises:
        ValueError: The config has none of the splits.
    """
    loaders = {split: cfg.get(f'{split}_dataloader') for split in splits or _SPLITS}
    loaders = {split: loader for split, loader in loaders.items() if loader and loader.get('dataset')}
    if not splits and loaders.get('test') == loaders.get('val'):
        loaders.pop('test', None)
    if not loaders:
        raise ValueError(f'data sets: got none for {some(splits or _SPLITS)}, expected train_dataloader or others in '
                         'the config')
    duplicates = Duplicates()
    try:
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'):
            for split, loader in loaders.items():
                for leaf in leaves(loader['dataset']):
                    title = _unused(f'{split}: {leaf["type"]}', scan.statistics)
                    dataset, items = _open(scan, leaf, title, split != 'train' and cfg.get(f'{split}_evaluator'))
                    if items is not None:
                        advance = progress(title, len(items))
                        _scan_items(scan, dataset, items, title, split, workers, advance, duplicates)
        scan.complete = True
    finally:  # also after Ctrl-C
        scan.add(duplicates.problems())


def _open(scan: Scan, leaf: dict, title: str, evaluator: Any) -> tuple[Any, Dataset | None]:
    """A data set and its items; None where it does not open."""
    dataset = items = None
    with collect_problems() as problems:
        try:
            dataset = _build(leaf)
            items = _items_of(dataset)
        except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
            report(Problem('cannot be opened', title, f'{type(error).__name__}: {error}', 'a data set that opens'))
        try:
            if items is not None and evaluator:
                _check_evaluator(evaluator, dataset)
        except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
            report(Problem('annotations of the evaluator', title, f'{type(error).__name__}: {error}',
                           'annotations that can be evaluated'))
    scan.add(problems)
    return dataset, items


def _scan_items(scan: Scan, dataset: Any, items: Dataset, title: str, split: str, workers: int,
                advance: Callable[[], None], duplicates: Duplicates) -> None:
    tally = _Tally(dataset)
    loader = DataLoader(items, batch_size=None, num_workers=min(workers, len(items)) if len(items) > 32 else 0,
                        worker_init_fn=_one_thread)
    try:
        for records in loader:
            for record in records:
                scan.files += record.files
                scan.add(record.problems)
                if record.content:
                    duplicates.add(split, record.path, record.content, record.look)
                tally.add(record)
            advance()
    finally:  # also after Ctrl-C
        scan.add(tally.problems(title))
        scan.statistics[title] = tally.summary()


def _unused(title: str, titles: dict) -> str:
    """The title, with a number where a data set before had the same."""
    return next(name for name in (title, *(f'{title} ({i})' for i in range(2, 10_000))) if name not in titles)


def _one_thread(_: int) -> None:
    cv2.setNumThreads(1)


def _build(leaf: dict):
    """The data set of a config without its pipeline; mmpose's own classes get our checks."""
    cfg = {**leaf, 'pipeline': []}
    kind = _class_of(DATASETS, cfg['type'])
    if kind is None:
        raise ValueError(f'there is no data set {cfg["type"]}; add its module to custom_imports')
    if kind.__module__.startswith('mmpose.'):
        from mmpose.datasets.datasets.base import BaseCocoStyleDataset

        from ..pose.datasets import CheckedCocoStyle
        if issubclass(kind, BaseCocoStyleDataset):
            kind = type(kind.__name__, (CheckedCocoStyle, kind), {})
    cfg.pop('type')
    if hasattr(kind, 'FOLDERS'):
        cfg['check_sizes'] = 0  # those of all samples are compared when they are read
    if kind.__name__ == 'SapiensImages':
        cfg.pop('pipeline')
    return kind(**cfg)


def _class_of(registry, kind):
    """The class of a config's ``type`` in the scope of the config."""
    if not isinstance(kind, str):
        return kind
    with registry.switch_scope_and_registry(None) as scoped:
        return scoped.get(kind)


def _items_of(dataset) -> Dataset:
    if hasattr(dataset, 'source'):
        return _Stream(dataset)
    samples = [dataset.get_data_info(i) for i in range(len(dataset))]
    if samples and 'sample_name' in samples[0]:
        return _DenseSamples(samples)
    by_image = defaultdict(list)
    for sample in samples:
        by_image[sample['img_path']].append(sample)
    return _Images(by_image)


def _check_evaluator(evaluator: Any, dataset) -> None:
    """Runs what the evaluators check of their annotations when they meet the data set."""
    if not hasattr(dataset, 'bbox_file'):  # not COCO-style
        return
    from mmpose.evaluation.metrics import CocoMetric

    from ..pose.ground_truth import check_keypoints, read_ground_truth
    for cfg in evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]:
        kind = _class_of(METRICS, cfg['type'])
        if kind is not None and issubclass(kind, CocoMetric):
            ann_file = cfg.get('ann_file') or dataset.ann_file
            coco = read_ground_truth(ann_file, dataset.metainfo, cfg.get('use_area', True))
            if not hasattr(kind, 'metric_names'):
                check_keypoints(coco, dataset.metainfo, ann_file)


@dataclass
class Record:
    """What was found in an item.

    Attributes:
        path: Its image.
        files: How many files were opened.
        problems: What is wrong.
        size: (height, width), if the image can be read.
        content: Hash of the file.
        look: Hash of what the image shows (:func:`.duplicates.look_of`).
        persons: Labelled keypoints (K, ) and keypoints outside of the box of each person.
        pixels: Pixels by class (256, ) of a map of parts.
        flags: What is only wrong if many have it -> whether it has it.
    """
    path: str
    files: int = 1
    problems: list[Problem] = field(default_factory=list)
    size: tuple[int, int] | None = None
    content: str = ''
    look: int | None = None
    persons: list[tuple[np.ndarray, int]] = field(default_factory=list)
    pixels: np.ndarray | None = None
    flags: dict[str, bool] = field(default_factory=dict)


def _look_at_image(record: Record, data: bytes) -> None:
    """Decodes an image, and notes its size and hashes.

    Raises:
        ValueError: It cannot be decoded.
    """
    image = decode(data, cv2.IMREAD_COLOR)
    record.size = image.shape[:2]
    record.content, record.look = hashlib.blake2b(data, digest_size=16).hexdigest(), look_of(image)


class _Images(Dataset):
    """The images of a pose data set, each with its persons."""

    def __init__(self, by_image: dict[str, list[dict]]):
        self.entries = list(by_image.items())

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> list[Record]:
        path, samples = self.entries[index]
        record = Record(path)
        with collect_problems() as record.problems:
            _read_image(record, path, samples[0].get('annotated_shape'))
        for sample in samples:
            if 'keypoints' in sample and 'raw_ann_info' in sample:
                points, visible = np.asarray(sample['keypoints'])[0], np.asarray(sample['keypoints_visible'])[0] > 0
                low, high = np.asarray(sample['bbox'])[0].reshape(2, 2)
                outside = ((points < low) | (points > high)).any(axis=1) & visible
                record.persons.append((visible, int(outside.sum())))
        return [record]


def _read_image(record: Record, path: str, expected: tuple[int, int] | None = None) -> None:
    try:
        with open(path, 'rb') as file:
            data = file.read()
        _look_at_image(record, data)
    except OSError as error:
        report(Problem('missing files', path, error.strerror or str(error),
                       'an image; correct file_name or data_prefix'))
    except ValueError as error:
        report(Problem('unreadable images', path, str(error), 'a whole image; replace it'))
    if expected is not None and record.size not in (None, tuple(expected)):
        (height, width), (high, wide) = record.size, expected
        report(Problem('image sizes', path, f'{width} x {height} pixels (w x h)', f'{wide} x {high} as annotated; take '
                       'the image that was annotated'))


class _DenseSamples(Dataset):
    """The samples of a dense data set, each an image with its labels."""

    def __init__(self, samples: list[dict]):
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> list[Record]:
        sample = self.samples[index]
        from ..dense.transforms.loading import KINDS
        record = Record(sample['img_path'])
        with collect_problems() as record.problems:
            _read_image(record, sample['img_path'])
            rest = {key: value for key, value in sample.items() if key not in KINDS}
            for key, what in KINDS.items():
                if sample.get(key) is not None:
                    record.files += 1
                    self._read_label(record, rest, key, sample[key], what)
        return [record]

    @staticmethod
    def _read_label(record: Record, rest: dict, key: str, path: str, what: str) -> None:
        from ..dense.label_files import file_size, has_alpha
        from ..dense.transforms import SapiensLoadLabels
        from ..dense.transforms.loading import count_classes, is_mask
        sample, loader = {**rest, key: path, 'seg_fields': []}, SapiensLoadLabels(mask=key == 'mask_path')
        loader.has_classes = True  # whether all are masks, the sum tells
        try:
            sample['ori_shape'] = record.size or file_size(path)  # of an image that cannot be read nothing is known
            loader(sample)
            if path.lower().endswith('.png'):
                record.flags['alpha channels'] = record.flags.get('alpha channels', False) or has_alpha(path)
        except (OSError, ValueError) as error:
            # The section of the guide that the message names is the kind.
            text, _, section = str(error).partition('. See docs/before_you_train.md#')
            kinds = {kind.replace(' ', '-'): kind for kind in ('1-bit labels', 'image sizes', 'missing files')}
            report(Problem(kinds.get(section) or f'invalid {what}', path, text, 'labels as docs/datasets.md has them'))
            return
        if key == 'mask_path':
            rest['gt_person_mask'] = mask = sample['gt_person_mask']
            record.flags.update({'empty masks': not mask.any(), 'full masks': bool(mask.all())})
        if key == 'seg_map_path':
            record.pixels = count_classes(sample['gt_seg_map'])
            record.flags['masks as labels'] = is_mask(record.pixels)
            record.flags['labels of background alone'] = not record.pixels[1:].any()


class _Stream(Dataset):
    """The shards of a pretraining stream."""

    def __init__(self, dataset):
        self.source = dataset.source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> list[Record]:
        from ..pretrain.images import decode as decode_stream
        from ..pretrain.sources import SourceError
        records = []
        try:
            for name, read in self.source.read(index, 0, 0):
                record = Record(name)
                with collect_problems() as record.problems:
                    try:
                        data = read()
                        image = decode_stream(data).permute(1, 2, 0).numpy()
                    except Exception as error:  # decoders raise nearly anything
                        reason = str(error).partition(' <')[0] or type(error).__name__
                        report(Problem('unreadable images', name, reason, 'a whole image; replace it', level='warning'))
                    else:
                        record.size, record.look = image.shape[:2], look_of(image)
                        record.content = hashlib.blake2b(data, digest_size=16).hexdigest()
                records.append(record)
        except SourceError as error:
            records.append(Record(str(index), files=0, problems=[
                Problem('unreadable shards', f'shard {index}', str(error), 'a complete tar file; get it again')]))
        return records


class _Tally:
    """Sums over the records of a data set."""

    def __init__(self, dataset):
        self.metainfo = dict(getattr(dataset, 'metainfo', None) or {})
        self.max_bad_share = getattr(dataset, 'max_bad_share', None)
        self.sizes, self.persons, self.flags, self.flagged = Counter(), Counter(), Counter(), Counter()
        self.keypoints = self.pixels = None
        self.images = self.bad = self.labelled = self.outside = 0

    def add(self, record: Record) -> None:
        if not record.files:  # a shard that cannot be read
            return
        self.images += 1
        self.bad += record.size is None
        if record.size is not None:
            self.sizes['{1} x {0}'.format(*record.size)] += 1
        for flag, has_it in record.flags.items():
            self.flags[flag] += 1
            self.flagged[flag] += has_it
        if record.persons:
            self.persons[len(record.persons)] += 1
        for visible, outside in record.persons:
            self.keypoints = visible.astype(int) + (0 if self.keypoints is None else self.keypoints)
            self.labelled += int(visible.sum())
            self.outside += outside
        if record.pixels is not None:
            self.pixels = record.pixels + (0 if self.pixels is None else self.pixels)

    def problems(self, title: str) -> list[Problem]:
        """What is only wrong if many have it."""
        from ..dense.transforms.loading import MEANT
        found = [Problem(flag, title, f'have {MEANT[flag][0]}', MEANT[flag][1], number=number, total=self.flags[flag],
                         unit='file', level='error' if flag == 'masks as labels' else 'warning')
                 for flag, number in self.flagged.items() if number and (
                     'alpha' in flag or number == self.flags[flag]
                     or flag == 'masks as labels' and number > self.flags[flag] / 2)]
        if self.max_bad_share is not None and self.bad > self.max_bad_share * self.images:
            found.append(Problem('unreadable images', title, 'cannot be read', f'at most max_bad_share='
                                 f'{self.max_bad_share}; repair the images, or raise it', number=self.bad,
                                 total=self.images, unit='image'))
        return found

    def summary(self) -> dict[str, Any]:
        """Frequencies, for the table."""
        found = dict(images=self.images, image_sizes=dict(self.sizes.most_common()))
        if self.persons:
            names, total = self.metainfo.get('keypoint_id2name', {}), sum(n * m for n, m in self.persons.items())
            found['persons_per_image'] = {str(number): images for number, images in sorted(self.persons.items())}
            found['keypoints'], found['keypoints_outside_of_their_box'] = self.labelled, self.outside
            found['labelled_share_of_keypoints'] = {
                names.get(index, str(index)): round(number / total, 4) for index, number in enumerate(self.keypoints)}
        if self.pixels is not None:
            names, total = self.metainfo.get('classes', ()), self.pixels.sum()
            found['pixel_share_of_classes'] = {
                names[index] if index < len(names) else 'ignored' if index == 255 else f'unknown {index}':
                round(self.pixels[index] / total, 6) for index in [
                    *range(len(names)), *(i for i in np.flatnonzero(self.pixels).tolist() if i >= len(names))]}
        return found
