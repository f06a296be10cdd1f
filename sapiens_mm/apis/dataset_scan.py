"""Scan of a config's datasets: opens each file once, runs every check, and tabulates problems and statistics."""
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

from ..tasks import MASK_LABEL, TASKS, Label, labels
from ..utils.images import decode
from ..utils.problems import Problem, collect_problems, report
from ..utils.tar_files import SourceError
from ..utils.text import some
from .duplicates import Duplicates, look_of

_LISTED = 25  # values in a line of the table
_SPLITS = ('train', 'val', 'test')
_OPENING_ERRORS = (OSError, ValueError, KeyError, RuntimeError, TypeError)


@dataclass
class Scan:
    """Problems, opened files, statistics (title -> name -> value); ``complete`` unless the scan was interrupted."""
    problems: list[Problem] = field(default_factory=list)
    files: int = 0
    complete: bool = False
    statistics: dict[str, dict[str, Any]] = field(default_factory=dict)
    _known: set[Problem] = field(default_factory=set)

    def add(self, problems: list[Problem]) -> None:
        """Adds problems that are not known yet: datasets may share their files."""
        self.problems += [problem for problem in dict.fromkeys(problems) if problem not in self._known]
        self._known.update(problems)

    @property
    def wrong(self) -> bool:
        return any(problem.level == 'error' for problem in self.problems)

    def rows(self) -> list[tuple[str, str, int, list[str]]]:
        groups = defaultdict(list)
        for problem in self.problems:
            groups[problem.level, problem.kind].append(problem)
        levels = ('error', 'warning', 'note')
        return [(level, kind, sum(max(problem.count, 1) for problem in group), list(map(str, group)))
                for (level, kind), group in sorted(groups.items(), key=lambda item: levels.index(item[0][0]))]

    def table(self, examples: int = 3) -> str:
        lines = [f'{"level":8} {"kind":26} {"count":>7}  first examples']
        for level, kind, count, messages in self.rows():
            more = [f'and {len(messages) - examples} more of this kind'] if len(messages) > examples else []
            lines.append(f'{level:8} {kind:26} {count:7}  {messages[0]}')
            lines += [f'{"":43}  {message}' for message in [*messages[1:examples], *more]]
        if len(lines) == 1:
            lines.append(f'{"":8} no problems')
        for title, values in self.statistics.items():
            lines += ['', title, *(f'  {name.replace("_", " "):32} {_shown(value)}' for name, value in values.items())]
        return '\n'.join(lines)

    def to_json(self) -> dict:
        return dict(complete=self.complete, files=self.files, wrong=self.wrong,
                    problems=[dict(level=level, kind=kind, count=count, messages=messages)
                              for level, kind, count, messages in self.rows()], statistics=self.statistics)


def _shown(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    shares = any(isinstance(number, float) for number in value.values())
    items = list(value.items())
    if shares and len(items) > _LISTED:
        items.sort(key=lambda item: item[1])
    return some((f'{name}: {number:.2%}' if shares else f'{name}: {number}' for name, number in items), _LISTED)


def leaves(cfg: dict) -> list[dict]:
    inner = [*([cfg['dataset']] if isinstance(cfg.get('dataset'), dict) else []), *(cfg.get('datasets') or [])]
    return [leaf for part in inner for leaf in leaves(part)] if inner else [cfg]


def scan_config(cfg: Config, scan: Scan, splits: Sequence[str] | None = None, workers: int = 2,
                progress: Callable[[str, int], Callable[[], None]] = lambda title, items: lambda: None) -> None:
    """Scans the datasets of a config into ``scan``, whose content is valid at any time.

    Args:
        splits: Some of ``'train'``, ``'val'``, ``'test'``; by default those of the config, without a test set that
            equals the validation set. ValueError if the config has none of them.
        workers: Processes that open files.
        progress: Called with title and number of items of each dataset; returns a callback for finished items.
    """
    loaders = {split: cfg.get(f'{split}_dataloader') for split in splits or _SPLITS}
    loaders = {split: loader for split, loader in loaders.items() if loader and loader.get('dataset')}
    if not splits and loaders.get('test') == loaders.get('val'):
        loaders.pop('test', None)
    if not loaders:
        raise ValueError(f'datasets: got none for {some(splits or _SPLITS)}, expected train_dataloader or others in '
                         'the config')
    duplicates = Duplicates()
    try:
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'):
            for split, loader in loaders.items():
                for leaf in leaves(loader['dataset']):
                    names = (f'{split}: {leaf["type"]}', *(f'{split}: {leaf["type"]} ({i})' for i in range(2, 10_000)))
                    title = next(name for name in names if name not in scan.statistics)
                    dataset, items = _open(scan, leaf, title, split != 'train' and cfg.get(f'{split}_evaluator'))
                    if items is not None:
                        advance = progress(title, len(items))
                        _scan_items(scan, dataset, items, title, split, workers, advance, duplicates)
        scan.complete = True
    finally:  # also after Ctrl-C
        scan.add(duplicates.problems())


def _open(scan: Scan, leaf: dict, title: str, evaluator: Any) -> tuple[Any, Dataset | None]:
    dataset = items = None
    with collect_problems() as problems:
        try:
            dataset = _build(leaf)
            items = _items_of(dataset)
        except _OPENING_ERRORS as error:
            report(Problem('cannot be opened', title, f'{type(error).__name__}: {error}', 'a dataset that opens'))
        try:
            if items is not None and evaluator:
                _check_evaluator(evaluator, dataset)
        except _OPENING_ERRORS as error:
            report(Problem('annotations of the evaluator', title, f'{type(error).__name__}: {error}',
                           'annotations that can be evaluated'))
    scan.add(problems)
    return dataset, items


def _scan_items(scan: Scan, dataset: Any, items: Dataset, title: str, split: str, workers: int,
                advance: Callable[[], None], duplicates: Duplicates) -> None:
    tally = _Tally(dataset)
    loader = DataLoader(items, batch_size=None, num_workers=min(workers, len(items)) if len(items) > 32 else 0,
                        worker_init_fn=_limit_threads)
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


def _limit_threads(_: int) -> None:
    cv2.setNumThreads(1)


def _build(leaf: dict):
    cfg = {**leaf, 'pipeline': []}
    kind = _class_of(DATASETS, cfg.pop('type'))
    if kind is None:
        raise ValueError(f'type: got {leaf["type"]}, which is not registered; add its module to custom_imports')
    if kind.__module__.startswith('mmpose.'):
        from mmpose.datasets.datasets.base import BaseCocoStyleDataset

        from ..pose.datasets import CheckedCocoStyle
        if issubclass(kind, BaseCocoStyleDataset):
            kind = type(kind.__name__, (CheckedCocoStyle, kind), {})
    if hasattr(kind, 'FOLDERS'):
        cfg['check_sizes'] = 0  # the scan compares the sizes of all samples
    if kind.__name__ == 'SapiensImages':
        cfg.pop('pipeline')
    return kind(**cfg)


def _class_of(registry, kind):
    if not isinstance(kind, str):
        return kind
    with registry.switch_scope_and_registry(None) as scoped:
        return scoped.get(kind)


def _items_of(dataset) -> Dataset:
    if hasattr(dataset, 'source'):
        return _Stream(dataset.source)
    samples = [dataset.get_data_info(i) for i in range(len(dataset))]
    if samples and 'sample_name' in samples[0]:
        return _DenseSamples(samples)
    by_image = defaultdict(list)
    for sample in samples:
        by_image[sample['img_path']].append(sample)
    return _PoseImages(list(by_image.items()))


def _check_evaluator(evaluator: Any, dataset) -> None:
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
    """Problems and statistics of an item; ``content`` and ``look`` (:func:`.duplicates.look_of`) are hashes of it.

    Attributes:
        size: (height, width), if the image can be read.
        persons: Labeled keypoints (K, ) and number of keypoints outside of the box, for each person.
        pixels: Pixels (256, ) by class of a segmentation.
        flags: Whether this item has each flag; a flag is a problem only if many items have it.
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

    def set_image(self, image: np.ndarray, data: bytes) -> None:
        """Sets size and hashes from an image (H, W, 3) and the content of its file."""
        self.size, self.look = image.shape[:2], look_of(image)
        self.content = hashlib.blake2b(data, digest_size=16).hexdigest()

    def read_image(self, expected: tuple[int, int] | None = None) -> None:
        try:
            with open(self.path, 'rb') as file:
                data = file.read()
            self.set_image(decode(data, cv2.IMREAD_COLOR), data)
        except OSError as error:
            report(Problem('missing files', self.path, error.strerror or str(error),
                           'an image; correct file_name or data_prefix'))
        except ValueError as error:
            report(Problem('unreadable images', self.path, str(error), 'a whole image; replace it'))
        if expected is not None and self.size not in (None, tuple(expected)):
            (height, width), (high, wide) = self.size, expected
            report(Problem('image sizes', self.path, f'{width} x {height} pixels (w x h)',
                           f'{wide} x {high} as annotated; take the image that was annotated'))


@dataclass
class _Items(Dataset):
    items: Sequence

    def __len__(self) -> int:
        return len(self.items)


class _PoseImages(_Items):
    def __getitem__(self, index: int) -> list[Record]:
        path, samples = self.items[index]
        record = Record(path)
        with collect_problems() as record.problems:
            record.read_image(samples[0].get('annotated_shape'))
        for sample in samples:
            if 'keypoints' in sample and 'raw_ann_info' in sample:
                points, visible = np.asarray(sample['keypoints'])[0], np.asarray(sample['keypoints_visible'])[0] > 0
                low, high = np.asarray(sample['bbox'])[0].reshape(2, 2)
                outside = ((points < low) | (points > high)).any(axis=1) & visible
                record.persons.append((visible, int(outside.sum())))
        return [record]


class _DenseSamples(_Items):
    def __getitem__(self, index: int) -> list[Record]:
        sample = dict(self.items[index])
        paths = {label: sample.pop(label.path_key, None) for label in labels()}
        record = Record(sample['img_path'])
        with collect_problems() as record.problems:
            record.read_image()
            for label, path in paths.items():
                if path is not None:
                    record.files += 1
                    self._read_label(record, sample, label, path)
        return [record]

    @staticmethod
    def _read_label(record: Record, rest: dict, label: Label, path: str) -> None:
        from ..dense.label_files import file_size, has_alpha
        from ..dense.transforms import SapiensLoadLabels
        from ..dense.transforms.loading import count_classes, is_mask
        sample, loader = {**rest, label.path_key: path, 'seg_fields': []}, SapiensLoadLabels(mask=label is MASK_LABEL)
        loader.has_classes = True  # the tally tells whether all are masks
        try:
            sample['ori_shape'] = record.size or file_size(path)
            loader(sample)
            if path.lower().endswith('.png'):
                record.flags['alpha channels'] = record.flags.get('alpha channels', False) or has_alpha(path)
        except (OSError, ValueError) as error:
            # The section of the guide that the message names is the kind.
            text, _, section = str(error).partition('. See docs/before_you_train.md#')
            kinds = {kind.replace(' ', '-'): kind for kind in ('1-bit labels', 'image sizes', 'missing files')}
            report(Problem(kinds.get(section) or f'invalid {label.noun}', path, text,
                           'labels as docs/datasets.md describes them'))
            return
        if label is MASK_LABEL:
            rest[label.key] = mask = sample[label.key]
            record.flags.update({'empty masks': not mask.any(), 'full masks': bool(mask.all())})
        elif label is TASKS['seg'].label:
            record.pixels = count_classes(sample[label.key])
            record.flags['masks as labels'] = is_mask(record.pixels)
            record.flags['labels of background alone'] = not record.pixels[1:].any()


class _Stream(_Items):
    def __getitem__(self, index: int) -> list[Record]:
        from ..pretrain.images import decode as decode_stream
        records = []
        try:
            for name, read in self.items.read(index, 0, 0):
                record = Record(name)
                with collect_problems() as record.problems:
                    try:
                        data = read()
                        image = decode_stream(data).permute(1, 2, 0).numpy()
                    except Exception as error:  # decoders raise nearly anything
                        reason = str(error).partition(' <')[0] or type(error).__name__
                        report(Problem('unreadable images', name, reason, 'a whole image; replace it', level='warning'))
                    else:
                        record.set_image(image, data)
                records.append(record)
        except SourceError as error:
            records.append(Record(str(index), files=0, problems=[
                Problem('unreadable shards', f'shard {index}', str(error), 'a complete tar file; get it again')]))
        return records


class _Tally:
    def __init__(self, dataset):
        self.metainfo = dict(getattr(dataset, 'metainfo', None) or {})
        self.max_bad_share = getattr(dataset, 'max_bad_share', None)
        self.sizes, self.persons, self.flags, self.flagged = Counter(), Counter(), Counter(), Counter()
        self.keypoints = self.pixels = self.images = self.bad = self.labeled = self.outside = 0

    def add(self, record: Record) -> None:
        if not record.files:  # a shard that cannot be read
            return
        self.images += 1
        if record.size is None:
            self.bad += 1
        else:
            self.sizes['{1} x {0}'.format(*record.size)] += 1
        self.flags.update(record.flags.keys())
        self.flagged.update(flag for flag, is_set in record.flags.items() if is_set)
        if record.persons:
            self.persons[len(record.persons)] += 1
        for visible, outside in record.persons:
            self.keypoints = self.keypoints + visible.astype(int)
            self.labeled += int(visible.sum())
            self.outside += outside
        if record.pixels is not None:
            self.pixels = self.pixels + record.pixels

    def problems(self, title: str) -> list[Problem]:
        from ..dense.transforms.loading import MEANT
        problems = []
        for flag, number in self.flagged.items():
            total, masks = self.flags[flag], flag == 'masks as labels'
            if 'alpha' in flag or number == total or masks and number > total / 2:
                problems.append(Problem(flag, title, f'have {MEANT[flag][0]}', MEANT[flag][1], number=number,
                                        total=total, unit='file', level='error' if masks else 'warning'))
        if self.max_bad_share is not None and self.bad > self.max_bad_share * self.images:
            problems.append(Problem('unreadable images', title, 'cannot be read', f'at most max_bad_share='
                                    f'{self.max_bad_share}; repair the images, or raise it', number=self.bad,
                                    total=self.images, unit='image'))
        return problems

    def summary(self) -> dict[str, Any]:
        summary = dict(images=self.images, image_sizes=dict(self.sizes.most_common()))
        if self.persons:
            names, total = self.metainfo.get('keypoint_id2name', {}), sum(n * m for n, m in self.persons.items())
            summary.update(
                persons_per_image={str(number): images for number, images in sorted(self.persons.items())},
                keypoints=self.labeled, keypoints_outside_of_their_box=self.outside,
                labeled_share_of_keypoints={names.get(index, str(index)): round(number / total, 4)
                                             for index, number in enumerate(self.keypoints)})
        if np.ndim(self.pixels):
            names, total = self.metainfo.get('classes', ()), self.pixels.sum()
            names = {**{i: 'ignored' if i == 255 else f'unknown {i}' for i in np.flatnonzero(self.pixels).tolist()},
                     **dict(enumerate(names))}
            summary['pixel_share_of_classes'] = {
                names[index]: round(self.pixels[index] / total, 6) for index in sorted(names)}
        return summary
