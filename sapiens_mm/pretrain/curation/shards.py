"""Copying of the kept samples of shards to new tar files, with reports, in one process or on Ray."""
import dataclasses
import functools
import io
import itertools
import json
import os
import re
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.files import parse_json, replacing
from ...utils.shards import run_on_ray
from ...utils.tar_files import SourceError, is_local, tar_members
from ..images import decode
from ..sources import is_image
from .report import check_settings, read_report, sorted_counts, write_report
from .rules import MISSING, Rules, is_number
from .tables import bare_key, read_scores, score_files

# Images, (H, W, 3) uint8 RGB, and their samples' keys -> (N, 5) boxes of people of each image (x0, y0, x1, y1 in
# pixels, score), or None for a sample whose boxes are unknown.
Detect = Callable[[list[np.ndarray], list[str]], Sequence[np.ndarray | None]]


def curate_shard(url: str, out_dir: str | os.PathLike, rules: Rules, detect: Detect, detector: str = '',
                 batch_size: int = 8, allow_pipes: bool = False) -> dict[str, Any]:
    """Copies the samples of a shard that ``rules`` keep to ``NAME.tar``, and writes its report to ``NAME.json``.

    Members and their order do not change; ``KEY.persons.json``, ``{"persons": 2, "boxes": [[x0, y0, x1, y1, score],
    ...]}``, is added to each sample. If no sample is kept, no tar file is written. A finished shard is not read again.
    Score columns are looked up in the sample's ``KEY.json``, then by ``key`` in ``NAME.parquet`` or ``NAME.jsonl``
    beside the tar file.

    Args:
        url: Path or address, as for :class:`.sources.TarSource`.
        out_dir: Output folder, the same for all shards; created if missing.
        rules: Rules that drop samples.
        detect: Detector of people, from lists of images and keys to boxes (N, 5).
        detector: Name of ``detect`` in the settings, so that a change of the detector is noticed.
        batch_size: Number of samples in memory at a time, the largest batch of ``detect``.
        allow_pipes: As for :class:`.sources.TarSource`.

    Returns:
        The report: ``done``, whether the shard could be read (else ``failed`` is the reason, and the next call tries
        again); ``images`` and ``kept``, numbers of samples; ``dropped``, rule -> samples; ``persons``, number of
        persons as text -> kept images; ``seconds``; ``shard`` and ``settings``.

    Raises:
        ValueError: See :func:`finished_report`.
    """
    finished = finished_report(url, out_dir, rules, detector)
    if finished:
        return finished
    out, name = Path(out_dir), shard_name(url)
    out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    path = out / f'{name}.tar'
    report = dict(shard=_stable(url), settings=_settings(rules, detector))
    try:
        with replacing(path) as part, tarfile.open(part, 'w') as tar:
            counts = _copy(url, tar, rules, detect, batch_size, allow_pipes)
        if not counts['kept']:
            path.unlink()
        report.update(done=True, **counts)
    except SourceError as error:
        path.unlink(missing_ok=True)  # of a run that was killed before it wrote the report
        report.update(done=False, failed=str(error))
    report['seconds'] = round(time.perf_counter() - start, 3)
    write_report(out / f'{name}.json', report)
    return report


def finished_report(url: str, out_dir: str | os.PathLike, rules: Rules, detector: str = '') -> dict[str, Any] | None:
    """Returns the report of a shard that is finished with the same settings; None for an unfinished one.

    Args:
        url: All arguments are those of :func:`curate_shard`.

    Raises:
        ValueError: The shard is finished with other settings, would be overwritten, or its report is another file.
    """
    out, name = Path(out_dir), shard_name(url)
    path = out / f'{name}.json'
    if (out / f'{name}.tar').exists() and os.path.realpath(out / f'{name}.tar') == os.path.realpath(url):
        raise ValueError(f'{url} would be overwritten; choose another output folder')
    if not path.exists():
        return None
    report = read_report(path)
    if not report['done']:
        return None
    check_settings(path, dict(shard=report['shard'], **report['settings']),
                   dict(shard=_stable(url), **_settings(rules, detector)))
    return report


def shard_name(url: str) -> str:
    """Returns the file name of a shard without ``.tar``.

    Raises:
        ValueError: The address has no such part, or it is ``report``, the name of the totals.
    """
    names = re.findall(r'([^/\\\s]+)\.tar\b', url)
    if not names or names[-1] == 'report':
        raise ValueError(f"shard: got {url}, expected a name like '00000.tar' other than 'report.tar'; rename it")
    return names[-1]


def check_names(urls: Sequence[str]) -> None:
    """Raises a ValueError if two shards would be written to the same files."""
    repeated = [name for name, count in Counter(map(shard_name, urls)).items() if count > 1]
    if repeated:
        raise ValueError(f'shards: got {len(repeated)} names twice, the first is {repeated[0]}.tar, expected unique '
                         'names; curate each folder to its own output folder')


def curate_with_ray(urls: Sequence[str], out_dir: str | os.PathLike, rules: Rules, make_detect: Callable[[], Detect],
                    detector: str = '', batch_size: int = 8, allow_pipes: bool = False, address: str = 'local',
                    workers: int = 1, num_gpus: float = 0) -> Iterator[dict[str, Any]]:
    """Applies :func:`curate_shard` on a Ray cluster whose machines see shards and output under the same paths.

    Args:
        make_detect: Returns the detector; called once in each worker.
        address, workers, num_gpus: See :func:`.run_on_ray`, also for the errors.

    Yields:
        Reports in the order of completion.
    """
    make = functools.partial(_make_curate, make_detect, dict(
        out_dir=os.path.abspath(out_dir), rules=rules, detector=detector, batch_size=batch_size,
        allow_pipes=allow_pipes))
    return run_on_ray(make, list(map(_absolute, urls)), address, workers, num_gpus)


def _make_curate(make_detect: Callable[[], Detect], settings: dict) -> Callable[[str], dict[str, Any]]:
    return functools.partial(curate_shard, detect=make_detect(), **settings)


def _copy(url: str, tar: tarfile.TarFile, rules: Rules, detect: Detect, batch_size: int,
          allow_pipes: bool) -> dict[str, Any]:
    """Copies the kept samples and returns the counts of the report."""
    counts = dict(images=0, kept=0, dropped=dict.fromkeys(rules.names, 0))
    persons = Counter()
    table = functools.cache(functools.partial(read_scores, url, tuple(rules.max_scores), allow_pipes))
    samples = _samples(url, allow_pipes)
    while batch := list(itertools.islice(samples, batch_size)):
        images = [_read_image(key, members, rules, table) for key, members in batch]
        readable = [(image, key) for image, (key, _) in zip(images, batch) if not isinstance(image, str)]
        detections = iter(detect(*map(list, zip(*readable))) if readable else ())
        for (key, members), image in zip(batch, images):
            boxes = None if isinstance(image, str) else next(detections)
            rule, number = (image, 0) if isinstance(image, str) else rules.judge_boxes(boxes)
            counts['images'] += 1
            if rule:
                counts['dropped'][rule] += 1
                continue
            counts['kept'] += 1
            persons[number] += 1
            added = f'{key}.persons.json'
            record = dict(persons=number, boxes=boxes.astype(float).round(4).tolist())
            for name, data in [*((n, d) for n, d in members if n != added), (added, json.dumps(record).encode())]:
                info = tarfile.TarInfo(name)  # without a time, so that the same samples give the same bytes
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    for rule, number in counts['dropped'].items():
        if rule.startswith(MISSING) and number == counts['images'] > 0:
            places = ['the given boxes'] if rule == MISSING + 'boxes' else ['its own .json', *score_files(url)]
            raise SourceError(f'none of the {number} samples of shard {url} has {rule.removeprefix(MISSING)!r} in '
                              f"{' or '.join(places)}; check the name and the files")
    return {**counts, 'persons': sorted_counts(persons)}


def _read_image(key: str, members: list[tuple[str, bytes]], rules: Rules,
                table: Callable[[], dict]) -> np.ndarray | str:
    """Returns the image of a sample, (H, W, 3) uint8 RGB, or the rule that drops the sample before detection."""
    data = next((data for name, data in members if is_image(name)), None)
    if data is None:
        return 'no image'
    record = functools.cache(functools.partial(_read_record, key, members))

    def value_of(column: str) -> Any:
        value = record().get(column)
        return value if is_number(value) else table().get(bare_key(key), {}).get(column)

    rule = rules.judge_scores(value_of)
    if rule:
        return rule
    try:
        return decode(data).permute(1, 2, 0).contiguous().numpy()
    except Exception:  # decoders raise nearly any type
        return 'unreadable image'


def _read_record(key: str, members: list[tuple[str, bytes]]) -> dict:
    try:
        record = parse_json(dict(members).get(f'{key}.json', '{}'))
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _samples(url: str, allow_pipes: bool) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Yields keys and members of the samples of a shard; skips what WebDataset skips."""
    from webdataset.tariterators import base_plus_ext
    for key, members in itertools.groupby(tar_members(url, allow_pipes=allow_pipes),
                                          lambda member: base_plus_ext(member[0])[0]):
        if key is not None:
            yield key, list(members)


def _absolute(url: str) -> str:
    return os.path.abspath(url) if is_local(url) else url


def _stable(url: str) -> str:
    """Returns the address without the parts that may change from run to run: working folder, signature."""
    return _absolute(url) if is_local(url) else url.partition('?')[0] if url.startswith('http') else url


def _settings(rules: Rules, detector: str) -> dict[str, Any]:
    return dict(**dataclasses.asdict(rules), detector=detector)
