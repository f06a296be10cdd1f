"""Tests of problems of datasets."""
import re

import pytest

from sapiens_mm.utils.problems import DataError, Problem, collect_problems, report


def test_an_error_names_file_entries_count_and_what_to_do():
    problem = Problem('area', 'a.json', 'have no area', 'one above 0; add it', tuple(range(7)), total=12, unit='person')
    with pytest.raises(DataError) as error:
        report(problem)
    text = str(error.value)
    assert text.startswith('a.json: got 7 of 12 persons (0, 1, 2, 3, 4 and 2 more) that have no area, expected one abo')
    assert text.endswith('docs/before_you_train.md#area')


def test_a_scan_collects_instead():
    problem = Problem('area', 'a.json', 'nothing', 'something')
    with collect_problems() as problems:
        report(problem)
    assert problems == [problem]
    with pytest.raises(DataError):
        report(problem)


def test_warnings_are_logged(monkeypatch):
    logged = []
    monkeypatch.setattr('mmengine.logging.print_log', lambda text, *_, **__: logged.append(text))
    report(Problem('dropped', 'a.json', 'nothing', 'something', level='warning'))
    assert len(logged) == 1
    assert 'a.json: got nothing' in logged[0]


def test_every_kind_has_its_section_in_the_guide(root):
    headings = {line.lstrip('# ').lower() for line in (root / 'docs/before_you_train.md').read_text().splitlines()
                if line.startswith('###')}
    kinds = set()
    for path in (root / 'sapiens_mm').rglob('*.py'):
        kinds |= set(re.findall(r"(?:Problem|_report)\(\s*'([^']+)'", path.read_text()))
    from sapiens_mm.dense.transforms.loading import MEANT
    from sapiens_mm.tasks import labels
    kinds |= {*MEANT, 'duplicates', 'near duplicates', *(f'invalid {label.noun}' for label in labels())}
    assert len(kinds) > 25
    assert kinds <= headings
