"""Tables of metrics as papers print them."""
import math
from collections.abc import Iterable

from ...tasks import canonical_name
from .streaming import ScoringMetric

_FIRST_ROWS = ('face', 'upper_body', 'full_body')


def paper_table(reports: Iterable[dict]) -> str:
    """Returns a table with a row for each group of samples and one for all, and a block of columns for each report."""
    # Earlier versions wrote `figures` for `metrics`.
    reports = [dict(report, metrics=report.get('metrics') or report['figures']) for report in reports]
    groups = {group for report in reports for group in report['metrics']} - {'all'}
    rows = [group for group in _FIRST_ROWS if group in groups]
    rows += [*sorted(groups.difference(rows)), 'all']
    name = next((report['dataset'] for report in reports if report.get('dataset')), 'all')
    titles = [row.replace('_', ' ') for row in rows] if groups else [name]
    width = max(map(len, titles))
    lines = [f'{text:{width}}' for text in ('', '', *titles)]
    columns_of = {kind.task: kind.columns for kind in ScoringMetric.__subclasses__()}
    for report in reports:
        columns = columns_of[canonical_name(report['task'])]
        block = ['  '.join(f'{title:>8}' for title, _, _ in columns)]
        for row in rows:
            scores = report['metrics'].get(row, {})
            block.append('  '.join(_cell(scores.get(name), digits) for _, name, digits in columns))
        size = max(len(report['name']), len(block[0]))
        for i, text in enumerate([f'{report["name"]:^{size}}', *block]):
            lines[i] += f' | {text:>{size}}'
    return '\n'.join(line.rstrip() for line in lines)


def _cell(value: float | None, digits: int) -> str:
    return f'{"-":>8}' if value is None or math.isnan(value) else f'{value:8.{digits}f}'
