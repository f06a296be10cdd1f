"""Tests of reports on config changes."""
import pytest

from sapiens_mm.apis.config_report import Note, Report


@pytest.mark.parametrize(('method', 'group', 'complete'), [
    ('change', 'changed', True), ('drop', 'not_mapped', True), ('by_hand', 'not_mapped', False),
    ('ask', 'fill_in', True)])
def test_notes_and_completeness(method, group, complete):
    report = Report()
    getattr(report, method)('model.head', 'some reason')
    note, = getattr(report, group)
    assert (note.path, report.complete) == ('model.head', complete)
    assert str(note).startswith('model.head: some reason')
    assert str(report).count('nothing') == 2
    assert str(Note('', 'text')) == 'text'
