"""Tests of the paper's tables of metrics."""
import math

from sapiens_mm.dense.metrics.table import paper_table


def test_paper_table():
    depth = {'RMSE': 0.11449, 'AbsRel': 0.036, 'delta1': 1.0, 'SiLog': 5.0}
    normal = {'mean': 12.1444, 'median': 9.62, 'within_11.25': 60.22, 'within_22.5': 89.08, 'within_30': math.nan}
    table = paper_table([
        dict(task='depth', name='depth/scale-shift/per-image',
             metrics=dict(full_body=depth, b=depth, face=depth, all=depth)),
        # The key of earlier versions.
        dict(task='normal', name='normal/pooled', figures=dict(face=normal, upper_body=normal, all=normal)),
    ])
    assert [[cell.split() for cell in line.split('|')] for line in table.splitlines()] == [
        [[], ['depth/scale-shift/per-image'], ['normal/pooled']],
        [[], ['RMSE', 'AbsRel', 'delta1'], ['mean', 'median', '%11.25', '%22.5', '%30']],
        [['face'], ['0.1145', '0.0360', '1.0000'], ['12.14', '9.62', '60.22', '89.08', '-']],
        [['upper', 'body'], ['-', '-', '-'], ['12.14', '9.62', '60.22', '89.08', '-']],
        [['full', 'body'], ['0.1145', '0.0360', '1.0000'], ['-', '-', '-', '-', '-']],
        [['b'], ['0.1145', '0.0360', '1.0000'], ['-', '-', '-', '-', '-']],
        [['all'], ['0.1145', '0.0360', '1.0000'], ['12.14', '9.62', '60.22', '89.08', '-']],
    ]
    assert len({line.index('|') for line in table.splitlines()}) == 1


def test_without_groups_the_row_has_the_name_of_the_data_set():
    report = dict(task='depth', name='depth', metrics=dict(all={'RMSE': 0.1}))
    assert paper_table([dict(report, dataset='Hi4D')]).splitlines()[-1].split() == ['Hi4D', '|', '0.1000', '-', '-']
    assert paper_table([report]).splitlines()[-1].split()[0] == 'all'
