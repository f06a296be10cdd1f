"""The tables in which papers give depth and normals."""
import math
from collections.abc import Iterable

_COLUMNS = dict(
    depth=(('RMSE', 'RMSE', 4), ('AbsRel', 'AbsRel', 4), ('delta1', 'delta1', 4)),
    normal=(('mean', 'mean', 2), ('median', 'median', 2), ('%11.25', 'within_11.25', 2), ('%22.5', 'within_22.5', 2),
            ('%30', 'within_30', 2)),
    parts=(('mIoU', 'mIoU', 2), ('mAcc', 'mAcc', 2), ('aAcc', 'aAcc', 2)))
_FIRST_ROWS = ('face', 'upper_body', 'full_body')


def paper_table(reports: Iterable[dict]) -> str:
    """One row for each group of samples and one for all, the figures that papers give in the columns.

    The last row is called "all", or by the data set's name where there are no groups.

    Args:
        reports: The ``report`` of each metric. Each has its own block of columns, under its name, which states the
            protocol.
    """
    reports = list(reports)
    groups = {group for report in reports for group in report['figures']} - {'all'}
    rows = [group for group in _FIRST_ROWS if group in groups]
    rows += [*sorted(groups.difference(rows)), 'all']
    lines = [''] * (len(rows) + 2)
    name = next((report['dataset'] for report in reports if report.get('dataset')), 'all')
    titles = [row.replace('_', ' ') for row in rows] if groups else [name]
    width = max(map(len, titles))
    for i, text in enumerate(['', '', *titles]):
        lines[i] = f'{text:{width}}'
    for report in reports:
        columns = _COLUMNS[report['task']]
        block = ['  '.join(f'{title:>8}' for title, _, _ in columns)]
        for row in rows:
            figures = report['figures'].get(row, {})
            block.append('  '.join(_cell(figures.get(name), digits) for _, name, digits in columns))
        size = max(len(report['name']), len(block[0]))
        for i, text in enumerate([f'{report["name"]:^{size}}', *block]):
            lines[i] += f' | {text:>{size}}'
    return '\n'.join(line.rstrip() for line in lines)


def _cell(value: float | None, digits: int) -> str:
    return f'{"-":>8}' if value is None or math.isnan(value) else f'{value:8.{digits}f}'
