"""Reports of curated shards: reading, writing, totals and their plot."""
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from ...utils.files import read_json, replacing
from ...utils.text import differences

_MAX_PERSONS = 20  # last bar of the plot, for as many persons and more


def read_report(path: Path) -> dict[str, Any]:
    """Reads the report of a shard.

    Raises:
        ValueError: The file is not the report of a shard.
    """
    try:
        report = read_json(path)
        if {'shard', 'settings', 'done'} <= report.keys():
            return report
    except (ValueError, AttributeError):
        pass
    raise ValueError(f'{path}: got another file, expected the report of a curated shard; choose another output folder')


def write_report(path: Path, content: dict) -> None:
    """Writes a report atomically."""
    with replacing(path) as part:
        Path(part).write_text(json.dumps(content, indent=1) + '\n')


def check_settings(path: Path, settings: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raises a ValueError that lists the settings of a report that differ from the expected ones."""
    if differ := differences(settings, {**dict.fromkeys(settings), **expected}):
        raise ValueError(f'{path}: got a report with {differ}; choose another output folder')


def merge_reports(out_dir: str | os.PathLike) -> dict[str, Any]:
    """Adds up the reports of shards and writes the total to ``report.json`` and ``report.png``.

    Args:
        out_dir: Output folder of :func:`.curate_shard`.

    Returns:
        A report with the fields of a shard's; ``shards`` is the number of finished ones, ``failed`` maps names to
        reasons.

    Raises:
        ValueError: The folder has no report, or reports with different settings.
    """
    paths = sorted(path for path in Path(out_dir).glob('*.json') if path.name != 'report.json')
    if not paths:
        raise ValueError(f'{out_dir} has no report of a shard; curate some shards first')
    reports = {path.stem: read_report(path) for path in paths}
    settings = reports[paths[0].stem]['settings']
    for path in paths:
        check_settings(path, reports[path.stem]['settings'], settings)
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
        persons=sorted_counts(persons),
        seconds=round(sum(report['seconds'] for report in done), 3))
    _plot(total, Path(out_dir) / 'report.png')
    write_report(Path(out_dir) / 'report.json', total)
    return total


def sorted_counts(persons: Counter) -> dict[str, int]:
    """Returns the number of images by number of persons in a report's format."""
    return {str(number): images for number, images in sorted(persons.items())}


def _plot(total: dict[str, Any], path: Path) -> None:
    """Plots the samples that each rule dropped, and persons per image (figure 2 of the paper)."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import EngFormatter, MaxNLocator
    except ImportError as error:
        raise ImportError(f'the plot of the report needs matplotlib ({error}): pip install matplotlib') from error
    figure = Figure(figsize=(11, 4.2), layout='constrained')
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    images, kept = total['images'], total['kept']

    counts = {'kept': kept, **{rule: number for rule, number in total['dropped'].items() if number}}
    bars = left.barh(list(counts), list(counts.values()), color=['#2a7f3f', *['#b5523b'] * (len(counts) - 1)])
    left.bar_label(bars, [f'{number:,} ({number / max(images, 1):.1%})' for number in counts.values()], padding=3)
    left.set(xlim=(0, 1.4 * max(*counts.values(), 1)), xticks=[], title=f'{kept:,} of {images:,} images kept')
    left.invert_yaxis()
    left.spines['bottom'].set_visible(False)

    persons = Counter()
    for number, count in total['persons'].items():
        persons[min(int(number), _MAX_PERSONS)] += count
    numbers = range(1, max(persons, default=1) + 1)
    right.bar(numbers, [persons[number] for number in numbers], color='#3b6fb5')
    right.set(xlabel='persons in an image', ylabel='images', xticks=numbers,
              title=f'several persons in {(kept - persons[1]) / max(kept, 1):.1%} of the images kept')
    right.set_xticklabels([f'{number}+' if number == _MAX_PERSONS else str(number) for number in numbers],
                          fontsize='small')
    heights = [count for count in persons.values() if count] or [1]
    if max(heights) > 100 * min(heights):
        right.set(yscale='log', ylim=(min(heights) / 2, None))
    else:
        right.set_ylim(0, 1.05 * max(heights))
        right.yaxis.set_major_locator(MaxNLocator(integer=True))
    right.yaxis.set_major_formatter(EngFormatter(sep=''))
    for axes in (left, right):
        axes.spines[['top', 'right']].set_visible(False)
    with replacing(path) as part:
        figure.savefig(part, format='png', dpi=110)
