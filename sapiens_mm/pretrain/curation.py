"""Chooses images of people from WebDataset shards, by the Sapiens paper's rules (arXiv 2408.12569, section 3.1).

A shard is read, judged and written by itself; its report, written last, says that it is done.
"""
import dataclasses
import functools
import io
import itertools
import json
import logging
import os
import re
import socket
import tarfile
import time
import urllib.error
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..utils.files import parse_json, replacing
from .images import decode
from .sources import SourceError, is_image, is_local, open_url, tar_members

# Images, (H, W, 3) uint8 RGB, and their samples' keys -> (N, 5) boxes of people (x0, y0, x1, y1 in pixels, score) of
# each, or None for a sample that was not looked at.
Detect = Callable[[list[np.ndarray], list[str]], Sequence[np.ndarray | None]]
_LOST = 'missing '  # how rules begin that drop a sample for what is not known about it


@dataclasses.dataclass(frozen=True)
class Rules:
    """Which samples are kept. Rules are asked in the order of :attr:`names`, and the first that objects is counted.

    A box counts as a person if its score is above ``min_score`` and both its sides are above ``min_side``; an image
    needs one such box. A sample for which a score column has no number is dropped.

    Args:
        min_score: 0 to 1.
        min_side: Pixels of the decoded image.
        max_scores: Column -> largest value that is kept, e.g. ``dict(pwatermark=.8)``.

    Raises:
        ValueError: A number is out of its range.
    """
    min_score: float = .9
    min_side: float = 300.
    max_scores: dict[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if not 0 <= self.min_score < 1:
            raise ValueError(f'min_score={self.min_score}; expected 0 to 1, and below 1')
        if not self.min_side >= 0:
            raise ValueError(f'min_side={self.min_side}; expected pixels, 0 or more')
        for column, most in self.max_scores.items():
            if most != most:  # it would drop nothing
                raise ValueError(f'max_scores: {column}={most}; expected the largest value that is kept')

    @property
    def names(self) -> list[str]:
        columns = [name for column in self.max_scores for name in (_LOST + column, column)]
        return ['no image', *columns, 'unreadable image', _LOST + 'boxes', 'no person', 'low score', 'small box']

    def judge_scores(self, value_of: Callable[[str], Any]) -> str | None:
        """The rule that drops a sample for its score columns, whose values a function returns; None if none does."""
        for column, most in self.max_scores.items():
            value = value_of(column)
            if not _is_number(value):
                return _LOST + column
            if value > most:
                return column
        return None

    def judge_boxes(self, boxes: np.ndarray | None) -> tuple[str | None, int]:
        """The rule that drops an image for its boxes, as :data:`Detect` returns them, and how many boxes count."""
        if boxes is None:
            return _LOST + 'boxes', 0
        sure = boxes[:, 4] > self.min_score
        large = (boxes[:, 2:4] - boxes[:, :2] > self.min_side).all(axis=1)
        if not len(boxes):
            return 'no person', 0
        if not sure.any():
            return 'low score', 0
        persons = int((sure & large).sum())
        return (None if persons else 'small box'), persons


def curate_shard(url: str, out_dir: str | os.PathLike, rules: Rules, detect: Detect, detector: str = '',
                 batch_size: int = 8, allow_pipes: bool = False) -> dict[str, Any]:
    """Writes the samples of a shard that rules keep to ``NAME.tar``, in their order, and its report to ``NAME.json``.

    Members stay as they are; ``KEY.persons.json``, ``{"persons": 2, "boxes": [[x0, y0, x1, y1, score], ...]}``, is
    added to each sample. Where nothing is kept, there is no tar file. A shard that is done is not read again. The
    score columns are looked up in the sample's ``KEY.json``, then in ``NAME.parquet`` or ``NAME.jsonl`` beside the tar
    file, by ``key``.

    Args:
        url: Path or address, as for :class:`.sources.TarSource`.
        out_dir: A folder, made if need be; the same for all shards.
        rules: What is kept.
        detect: Finds people.
        detector: What tells ``detect`` from others in the settings.
        batch_size: Samples whose images are in memory at a time, and at most how many images ``detect`` gets at once.
        allow_pipes: As for :class:`.sources.TarSource`.

    Returns:
        The report. ``done``: whether the shard could be read; if not, ``failed`` is the reason, and the next call tries
        again. ``images``, ``kept``: samples. ``dropped``: rule -> samples. ``persons``: boxes that count in a kept
        image, as text -> images. ``seconds``. ``shard``, ``settings``: as given.

    Raises:
        ValueError: As :func:`finished_report`.
    """
    finished = finished_report(url, out_dir, rules, detector)
    if finished:
        return finished
    out, name = Path(out_dir), shard_name(url)
    out.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    path = out / f'{name}.tar'
    report = dict(shard=_lasting(url), settings=_settings(rules, detector))
    try:
        with replacing(path) as part, tarfile.open(part, 'w') as tar:
            counts = _copy(url, tar, rules, detect, batch_size, allow_pipes)
        if not counts['kept']:
            path.unlink()
        report.update(done=True, **counts)
    except SourceError as error:
        path.unlink(missing_ok=True)  # of a run that was killed before it wrote the report
        report.update(done=False, failed=str(error))
    report['seconds'] = round(time.perf_counter() - begin, 3)
    _write_json(out / f'{name}.json', report)
    return report


def finished_report(url: str, out_dir: str | os.PathLike, rules: Rules, detector: str = '') -> dict[str, Any] | None:
    """The report of a shard that is done with the same settings, or None if it is not done.

    Args:
        url: As for :func:`curate_shard`, like the others.

    Raises:
        ValueError: It is done with other settings, or the folder has something else in its place.
    """
    out, name = Path(out_dir), shard_name(url)
    path = out / f'{name}.json'
    if (out / f'{name}.tar').exists() and os.path.realpath(out / f'{name}.tar') == os.path.realpath(url):
        raise ValueError(f'{url} would be overwritten; choose another folder for the output')
    if not path.exists():
        return None
    report = _read_report(path)
    if not report['done']:
        return None
    differences = _differences(dict(shard=_lasting(url), **_settings(rules, detector)),
                               dict(shard=report['shard'], **report['settings']))
    if differences:
        raise ValueError(f'{path} was made with {differences}; choose another folder for the output')
    return report


def shard_name(url: str) -> str:
    """What a shard's files are named: its file name without ``.tar``.

    Raises:
        ValueError: The address has no such part, or it is ``report``, which is the name of the totals.
    """
    names = re.findall(r'([^/\\\s]+)\.tar\b', url)
    if not names or names[-1] == 'report':
        raise ValueError(f"shard {url} is not named like '00000.tar', or 'report.tar'; rename it")
    return names[-1]


def check_names(urls: Sequence[str]) -> None:
    """Raises a ValueError where shards would be written to the same files."""
    twice = [name for name, count in Counter(map(shard_name, urls)).items() if count > 1]
    if twice:
        raise ValueError(f'{len(twice)} names of shards come twice, the first is {twice[0]}.tar; curate the folders '
                         'one by one, each to a folder of its own')


def read_boxes(path: str | os.PathLike) -> Detect:
    """Boxes that were found before, as a detector.

    Args:
        path: JSON lines, ``{"key": "000000123", "boxes": [[x0, y0, x1, y1, score], ...]}``: the sample's key, and
            pixels of the decoded image. Keys are those of all shards together.

    Raises:
        ValueError: A line is none such, or a key comes twice.
        OSError: The file cannot be read.
    """
    found = {}
    with open(path, 'rb') as file:
        for number, line in enumerate(file, 1):
            try:
                record = parse_json(line)
                key, boxes = record['key'], np.asarray(record['boxes'], np.float32)
                boxes = boxes if boxes.size else boxes.reshape(0, 5)
                if boxes.ndim != 2 or boxes.shape[1] != 5:
                    raise ValueError(f'boxes of shape {boxes.shape}')
                corners, scores = boxes[:, :4], boxes[:, 4]
                if not (corners[:, 2:] >= corners[:, :2]).all() or not np.isfinite(corners).all():
                    raise ValueError('a box whose second corner is not right of and below its first (x, y, width, '
                                     'height?)')
                if not ((scores >= 0) & (scores < 1.001)).all():
                    raise ValueError('a score that is not within 0 and 1')
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f'{path}, line {number}: {type(error).__name__}: {error}; expected {{"key": '
                                 '"000000123", "boxes": [[x0, y0, x1, y1, score], ...]}') from error
            if key in found:
                raise ValueError(f'{path}, line {number}: key {key} comes twice; list each once')
            found[key] = boxes
    return lambda images, keys: [found.get(_bare(key)) for key in keys]


def curate_with_ray(urls: Sequence[str], out_dir: str | os.PathLike, rules: Rules, make_detect: Callable[[], Detect],
                    detector: str = '', batch_size: int = 8, allow_pipes: bool = False, address: str = 'local',
                    workers: int = 1, num_gpus: float = 0) -> Iterator[dict[str, Any]]:
    """Applies :func:`curate_shard` to shards on a Ray cluster, whose machines see them and the output at one path.

    Args:
        urls: Shards. ``out_dir``, ``rules``, ``detector``, ``batch_size``, ``allow_pipes``: as for
            :func:`curate_shard`.
        make_detect: Makes what finds people, once in each worker.
        address: Of the cluster, as :func:`ray.init` takes it; ``'local'`` starts one here, ``'auto'`` finds a running.
        workers: Number of workers; each takes one core.
        num_gpus: GPUs of each worker; .5 lets two share one.

    Yields:
        Reports, as shards are done.

    Raises:
        ImportError: Ray is not there.
        RuntimeError: The cluster cannot be reached, or a worker fails.
    """
    if not urls:
        return
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(f"curating on Ray needs the optional extra ray ({error}): pip install 'sapiens_mm[ray]'"
                          ) from error
    settings = dict(out_dir=os.path.abspath(out_dir), rules=rules, detector=detector, batch_size=batch_size,
                    allow_pipes=allow_pipes)
    try:
        _check_reachable(address)
        local = dict(include_dashboard=False, num_cpus=max(workers, os.cpu_count())) if address == 'local' else {}
        ray.init(address, log_to_driver=False, logging_level='error', **local)
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger('ray.data').setLevel(logging.ERROR)  # it tells its plans
        # One block for each shard: it is what is done at a time, and again if a machine goes down.
        reports = ray.data.from_items([_absolute(url) for url in urls], override_num_blocks=len(urls)).map(
            _Worker, fn_constructor_args=(make_detect, settings), num_gpus=num_gpus or None, num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(urls))))
        for row in reports.iter_rows():
            yield json.loads(row['report'])
    except (ray.exceptions.RayError, ConnectionError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise RuntimeError(f'Ray ({address}): {lines[-1]}') from error
    finally:
        ray.shutdown()


def _check_reachable(address: str, timeout: float = 10.) -> None:
    """Raises a ConnectionError if nothing answers at ``host:port``; Ray itself would try for minutes, silently."""
    host, _, port = address.removeprefix('ray://').rpartition(':')
    if not (host and port.isdigit()):
        return  # 'local', 'auto'
    try:
        socket.create_connection((host, int(port)), timeout).close()
    except OSError as error:
        raise ConnectionError(f'nothing answers there ({error}); give the address of a running cluster (`ray start '
                              "--head` prints it), 'auto' on one of its machines, or 'local'") from error


class _Worker:
    """What Ray keeps on a machine, so that the detector is made once."""

    def __init__(self, make_detect: Callable[[], Detect], settings: dict):
        self._curate = functools.partial(curate_shard, detect=make_detect(), **settings)

    def __call__(self, row: dict) -> dict:
        return dict(report=json.dumps(self._curate(row['item'])))  # as text: Ray would make a table of it


def merge_reports(out_dir: str | os.PathLike) -> dict[str, Any]:
    """Adds up the reports of shards, to ``report.json`` and ``report.png``.

    Args:
        out_dir: Where :func:`curate_shard` wrote them.

    Returns:
        As of a shard; ``shards`` is how many are done, ``failed`` has name -> reason of those that could not be read.

    Raises:
        ValueError: There is no report, or they are of different settings.
    """
    paths = sorted(path for path in Path(out_dir).glob('*.json') if path.name != 'report.json')
    if not paths:
        raise ValueError(f'{out_dir} has no report of a shard; curate some first')
    reports = {path.stem: _read_report(path) for path in paths}
    settings = reports[paths[0].stem]['settings']
    for path, report in zip(paths, reports.values()):
        differences = _differences(settings, report['settings'])
        if differences:
            raise ValueError(f'{path} was made with {differences} (as {paths[0].name}); keep them in folders of '
                             'their own')
    done = [report for report in reports.values() if report['done']]
    dropped, persons = Counter(), Counter()
    for report in done:
        dropped.update(report['dropped'])
        persons.update({int(number): images for number, images in report['persons'].items()})
    total = dict(
        shards=len(done),
        failed={name: report['failed'] for name, report in reports.items() if not report['done']},
        settings=settings,
        images=sum(report['images'] for report in done),
        kept=sum(report['kept'] for report in done),
        dropped=dict(dropped),
        persons={str(number): images for number, images in sorted(persons.items())},
        seconds=round(sum(report['seconds'] for report in done), 3))
    _draw(total, Path(out_dir) / 'report.png')
    _write_json(Path(out_dir) / 'report.json', total)
    return total


def _copy(url: str, tar: tarfile.TarFile, rules: Rules, detect: Detect, batch_size: int,
          allow_pipes: bool) -> dict[str, Any]:
    """Copies what is kept and counts."""
    counts = dict(images=0, kept=0, dropped=dict.fromkeys(rules.names, 0))
    persons = Counter()
    side_rows = functools.cache(functools.partial(_side_rows, url, tuple(rules.max_scores), allow_pipes))
    samples = _samples(url, allow_pipes)
    while batch := list(itertools.islice(samples, batch_size)):
        looks = [_look(key, members, rules, side_rows) for key, members in batch]
        seen = [(look, key) for look, (key, _) in zip(looks, batch) if not isinstance(look, str)]
        found = iter(detect(*map(list, zip(*seen))) if seen else ())
        for (key, members), look in zip(batch, looks):
            boxes = None if isinstance(look, str) else next(found)
            rule, number = (look, 0) if isinstance(look, str) else rules.judge_boxes(boxes)
            counts['images'] += 1
            if rule:
                counts['dropped'][rule] += 1
                continue
            counts['kept'] += 1
            persons[number] += 1
            added = f'{key}.persons.json'
            record = dict(persons=number, boxes=boxes.astype(float).round(4).tolist())
            for name, data in [*((n, d) for n, d in members if n != added), (added, json.dumps(record).encode())]:
                info = tarfile.TarInfo(name)  # without the time, so that the same samples give the same bytes
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    for rule, number in counts['dropped'].items():
        if rule.startswith(_LOST) and number == counts['images'] > 0:
            where = ('the given boxes' if rule == _LOST + 'boxes' else
                     f"its own .json, {' or '.join(_side_files(url)) or 'which is all there is at such an address'}")
            raise SourceError(f'none of the {number} samples of shard {url} has {rule.removeprefix(_LOST)!r} in '
                              f'{where}; check the name and the files')
    return {**counts, 'persons': {str(number): images for number, images in sorted(persons.items())}}


def _look(key: str, members: list[tuple[str, bytes]], rules: Rules, side_rows: Callable[[], dict]) -> np.ndarray | str:
    """The image of a sample, (H, W, 3) uint8 RGB, or which rule drops it before people are looked for."""
    data = next((data for name, data in members if is_image(name)), None)
    if data is None:
        return 'no image'
    own = functools.cache(lambda: _own_record(key, members))

    def value_of(column: str) -> Any:
        value = own().get(column)
        return value if _is_number(value) else side_rows().get(_bare(key), {}).get(column)

    rule = rules.judge_scores(value_of)
    if rule:
        return rule
    try:
        return decode(data).permute(1, 2, 0).contiguous().numpy()
    except Exception:  # decoders raise nearly anything
        return 'unreadable image'


def _samples(url: str, allow_pipes: bool) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Keys and members of the samples of a shard; what WebDataset passes over, is passed over."""
    from webdataset.tariterators import base_plus_ext
    for key, members in itertools.groupby(tar_members(url, allow_pipes=allow_pipes),
                                          lambda member: base_plus_ext(member[0])[0]):
        if key is not None:
            yield key, list(members)


def _own_record(key: str, members: list[tuple[str, bytes]]) -> dict:
    try:
        record = parse_json(dict(members).get(f'{key}.json', '{}'))
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _side_files(url: str) -> list[str]:
    """Where a shard's table of scores may be."""
    address, question, query = (url, '', '') if is_local(url) else url.partition('?')
    if not address.endswith('.tar') or (not is_local(url) and url.startswith('pipe:')):
        return []
    return [address.removesuffix('.tar') + ending + question + query for ending in ('.parquet', '.jsonl')]


def _side_rows(url: str, columns: tuple[str, ...], allow_pipes: bool) -> dict[str, dict]:
    """Key -> row of the table of scores beside a shard; empty if there is none."""
    for place in _side_files(url):
        if is_local(url) and not os.path.exists(place):
            continue
        try:
            with open_url(place, allow_pipes) as file:
                data = file.read()
        except urllib.error.HTTPError as error:
            if error.code in (403, 404):  # stores that do not list their files say 403
                continue
            raise SourceError(f'{place} cannot be had: HTTP {error.code} {error.reason}') from error
        except OSError as error:
            raise SourceError(f'{place} cannot be had: {error}') from error
        try:
            rows = (_parquet_rows(data, columns) if place.partition('?')[0].endswith('.parquet') else
                    [parse_json(line) for line in data.splitlines() if line.strip()])
            return {_bare(str(row['key'])): row for row in rows}
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise SourceError(f"{place} is no table of scores with a column 'key' ({type(error).__name__}: "
                              f'{str(error).partition(chr(10))[0]}); mend it, or take it away') from error
    return {}


def _parquet_rows(data: bytes, columns: tuple[str, ...]) -> list[dict]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(f"tables of scores in .parquet need pyarrow ({error}): pip install 'sapiens_mm[pretrain]'"
                          ) from error
    file = parquet.ParquetFile(pyarrow.BufferReader(data))
    return file.read([name for name in file.schema_arrow.names if name in ('key', *columns)]).to_pylist()


def _bare(key: str) -> str:
    return key.removeprefix('./')  # as tar names members when it packs a folder by the name '.'


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


def _absolute(url: str) -> str:
    return os.path.abspath(url) if is_local(url) else url


def _lasting(url: str) -> str:
    """A shard's address, without what may change from run to run: working folder, signature."""
    return _absolute(url) if is_local(url) else url.partition('?')[0] if url.startswith('http') else url


def _settings(rules: Rules, detector: str) -> dict[str, Any]:
    return dict(**dataclasses.asdict(rules), detector=detector)


def _differences(now: dict[str, Any], then: dict[str, Any]) -> str:
    return ', '.join(f'{name} {then.get(name)} instead of {now.get(name)}' for name in {**now, **then}
                     if then.get(name) != now.get(name))


def _read_report(path: Path) -> dict[str, Any]:
    try:
        report = parse_json(path.read_bytes())
        if {'shard', 'settings', 'done'} <= report.keys():
            return report
    except (ValueError, AttributeError):
        pass
    raise ValueError(f'{path} is no report of a curated shard; choose another folder for the output')


def _write_json(path: Path, content: dict) -> None:
    with replacing(path) as part:
        Path(part).write_text(json.dumps(content, indent=1) + '\n')


def _draw(total: dict[str, Any], path: Path, most: int = 20) -> None:
    """Two panels: what each rule dropped, and persons per image (the paper's figure 2), ``most`` and more in one."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import EngFormatter, MaxNLocator
    except ImportError as error:
        raise ImportError(f'the picture of the report needs matplotlib ({error}): pip install matplotlib') from error
    figure = Figure(figsize=(11, 4.2), layout='constrained')
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    images, kept = total['images'], total['kept']

    bars = {'kept': kept, **{rule: number for rule, number in total['dropped'].items() if number}}
    drawn = left.barh(list(bars), list(bars.values()), color=['#2a7f3f', *['#b5523b'] * (len(bars) - 1)])
    left.bar_label(drawn, [f'{number:,} ({number / max(images, 1):.1%})' for number in bars.values()], padding=3)
    left.set(xlim=(0, 1.4 * max(*bars.values(), 1)), xticks=[], title=f'{kept:,} of {images:,} images kept')
    left.invert_yaxis()
    left.spines['bottom'].set_visible(False)

    persons = Counter()
    for number, count in total['persons'].items():
        persons[min(int(number), most)] += count
    numbers = range(1, max(persons, default=1) + 1)
    right.bar(numbers, [persons[number] for number in numbers], color='#3b6fb5')
    right.set(xlabel='persons in an image', ylabel='images', xticks=numbers,
              title=f'several persons in {(kept - persons[1]) / max(kept, 1):.1%} of the images kept')
    right.set_xticklabels([f'{number}+' if number == most else str(number) for number in numbers], fontsize='small')
    counts = [count for count in persons.values() if count] or [1]
    if max(counts) > 100 * min(counts):
        right.set(yscale='log', ylim=(min(counts) / 2, None))
    else:
        right.set_ylim(0, 1.05 * max(counts))
        right.yaxis.set_major_locator(MaxNLocator(integer=True))
    right.yaxis.set_major_formatter(EngFormatter(sep=''))
    for axes in (left, right):
        axes.spines[['top', 'right']].set_visible(False)
    with replacing(path) as part:
        figure.savefig(part, format='png', dpi=110)
