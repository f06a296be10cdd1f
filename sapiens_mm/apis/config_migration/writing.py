"""A config as Python text that a person can read: variables in place of copies, and what was done beside each."""
import re
import textwrap

from ...utils.config_text import format_value
from .report import Report

_WIDTH = 120


def format_config(title: str, variables: dict, report: Report) -> str:
    """The text of a config, with what is to be filled in at the top and the other notes above their variables."""
    notes = {}
    for mark, entries in (('', report.changed), ('NOT MAPPED: ', report.not_mapped)):
        for note in entries:
            owner = _owner(note.path, variables)
            # Of a pipeline's place the number of the step is enough.
            where = re.sub(r'^.*_dataloader\..*\bpipeline\b', 'pipeline', note.path)
            where = '' if where in (owner, 'pipeline') else where.removeprefix(f'{owner}.') + ': '
            notes.setdefault(owner, {})[f'{mark}{where}{note.text}'] = None
    head = [title, '', 'The comments above each variable say what was changed.']
    head += ['To fill in:'] * bool(report.fill_in) + [f'* {note}' for note in dict.fromkeys(report.fill_in)]
    parts = ['"""' + '\n'.join(_wrapped(line, '', '  ' if line.startswith('*') else '') for line in head) + '\n"""']
    parts += [_wrapped(text, '# ', '#   ') for text in notes.pop(None, {})]
    for name, value in variables.items():
        parts += [_wrapped(text, '# ', '#   ') for text in notes.get(name, {})]
        parts.append(f'{name} = {format_value(value, 0, len(name) + 3)}')
    return '\n'.join(parts) + '\n'


def _owner(path: str, variables: dict) -> str | None:
    """The variable that a remark is about: the pipeline that a loader refers to, or the path's beginning."""
    pipeline = re.match(r'(train|val|test)_dataloader\.(?:.*\.)?pipeline\b', path)
    if pipeline:
        name = 'train_pipeline' if pipeline[1] == 'train' else 'test_pipeline'
        if name in variables:
            return name
    name = path.partition('.')[0]
    return name if name in variables else None


def _wrapped(text: str, first: str, then: str) -> str:
    return '\n'.join(textwrap.wrap(text.replace('\\', '/').replace('"""', "'''"), _WIDTH, initial_indent=first,
                                   subsequent_indent=then, break_long_words=False, break_on_hyphens=False)) or first
