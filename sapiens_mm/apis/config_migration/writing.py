"""A config as Python text that a person can read: variables in place of copies, and what was done beside each."""
import re
import textwrap

from .report import Code, Report

_WIDTH = 120


def format_value(value, indent: int = 0, column: int = 0) -> str:
    """A value as source.

    Args:
        value: Dicts, lists, tuples, numbers, text, None and :class:`Code`.
        indent: Of the line that it stands on.
        column: At which it begins, with what follows it in the line.
    """
    flat = _flat(value)
    if column + len(flat) <= _WIDTH or not isinstance(value, (dict, list, tuple)) or not value:
        return flat
    space = ' ' * (indent + 4)
    if isinstance(value, dict):
        named = all(isinstance(key, str) and key.isidentifier() for key in value)
        opening, closing = ('dict(', ')') if named else ('{', '}')
        heads = [f'{key}=' if named else f'{key!r}: ' for key in value]
        lines = [f'{space}{head}{format_value(item, indent + 4, indent + 5 + len(head))}'
                 for head, item in zip(heads, value.values())]
    else:
        opening, closing = '[]' if isinstance(value, list) else '()'
        if not any(isinstance(item, (dict, list, tuple)) for item in value):
            lines = textwrap.wrap(', '.join(map(_flat, value)), _WIDTH - indent - 5)
            return f'{opening}\n{space}' + f'\n{space}'.join(lines) + f'\n{" " * indent}{closing}'
        lines = [space + format_value(item, indent + 4, indent + 5) for item in value]
    return f'{opening}\n' + ',\n'.join(lines) + f',\n{" " * indent}{closing}'


def _flat(value) -> str:
    if isinstance(value, Code):
        return str(value)
    if isinstance(value, dict):
        if all(isinstance(key, str) and key.isidentifier() for key in value):
            return 'dict(' + ', '.join(f'{key}={_flat(item)}' for key, item in value.items()) + ')'
        return '{' + ', '.join(f'{key!r}: {_flat(item)}' for key, item in value.items()) + '}'
    if isinstance(value, list):
        return '[' + ', '.join(map(_flat, value)) + ']'
    if isinstance(value, tuple):
        return '(' + ', '.join(map(_flat, value)) + (', )' if len(value) == 1 else ')')
    return repr(value)


def format_config(title: str, variables: dict, report: Report) -> str:
    """The text of a config.

    Args:
        title: Its first line.
        variables: In their order.
        report: What was changed and could not be mapped stands above the variables, what is to be filled in at the top.
    """
    notes = {}
    for mark, entries in (('', report.changed), ('NOT MAPPED: ', report.not_mapped)):
        for note in entries:
            owner = _owner(note.path, variables)
            # Of a pipeline's place the number of the step is enough.
            where = re.sub(r'^.*_dataloader\..*\bpipeline\b', 'pipeline', note.path)
            where = '' if where in (owner, 'pipeline') else where.removeprefix(f'{owner}.') + ': '
            notes.setdefault(owner, {})[f'{mark}{where}{note.text}'] = None
    head = [title, '', 'What was changed stands above each variable.']
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
