"""Values of a config as Python source."""
import textwrap
from keyword import iskeyword

WIDTH = 120  # columns of a config's lines


class Code(str):
    """A Python expression that is written as it is: a variable of the config, or arithmetic with one."""


def format_value(value, indent: int = 0, column: int = 0) -> str:
    """A value as source.

    Args:
        value: Dicts, lists, tuples, numbers, text, None and :class:`Code`.
        indent: Of the line that it stands on.
        column: Columns already used on the line, plus one for the trailing comma.
    """
    flat = _flat(value)
    if column + len(flat) <= WIDTH or not isinstance(value, (dict, list, tuple)) or not value:
        return flat
    space = ' ' * (indent + 4)
    if isinstance(value, dict):
        named = _named(value)
        opening, closing = ('dict(', ')') if named else ('{', '}')
        heads = [f'{key}=' if named else f'{key!r}: ' for key in value]
        lines = [f'{space}{head}{format_value(item, indent + 4, indent + 5 + len(head))}'
                 for head, item in zip(heads, value.values())]
    else:
        opening, closing = '[]' if isinstance(value, list) else '()'
        if not any(isinstance(item, (dict, list, tuple)) for item in value):
            lines = textwrap.wrap(', '.join(map(_flat, value)), WIDTH - indent - 5)
            return f'{opening}\n{space}' + f'\n{space}'.join(lines) + f'\n{" " * indent}{closing}'
        lines = [space + format_value(item, indent + 4, indent + 5) for item in value]
    return f'{opening}\n' + ',\n'.join(lines) + f',\n{" " * indent}{closing}'


def _named(value: dict) -> bool:
    return all(isinstance(key, str) and key.isidentifier() and not iskeyword(key) for key in value)


def _flat(value) -> str:
    if isinstance(value, Code):
        return str(value)
    if isinstance(value, dict):
        if _named(value):
            return 'dict(' + ', '.join(f'{key}={_flat(item)}' for key, item in value.items()) + ')'
        return '{' + ', '.join(f'{key!r}: {_flat(item)}' for key, item in value.items()) + '}'
    if isinstance(value, list):
        return '[' + ', '.join(map(_flat, value)) + ']'
    if isinstance(value, tuple):
        return '(' + ', '.join(map(_flat, value)) + (', )' if len(value) == 1 else ')')
    return repr(value)
