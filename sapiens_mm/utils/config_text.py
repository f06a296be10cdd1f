"""Values of a config as Python source."""
import textwrap
from keyword import iskeyword

WIDTH = 120  # columns


class Code(str):
    """A Python expression that is written unquoted: a variable of the config, or arithmetic with one."""


def format_value(value, indent: int = 0, column: int = 0) -> str:
    """Returns a value as source: on one line if it fits behind ``column`` columns, else with an item on each line."""
    if not isinstance(value, (dict, list, tuple)):
        return str(value) if isinstance(value, Code) else repr(value)
    if isinstance(value, dict):
        named = all(isinstance(key, str) and key.isidentifier() and not iskeyword(key) for key in value)
        opening, closing = ('dict(', ')') if named else '{}'
        items = {f'{key}=' if named else f'{key!r}: ': item for key, item in value.items()}.items()
    else:
        opening, closing = '[]' if isinstance(value, list) else '()'
        items = [('', item) for item in value]
    flat = ', '.join(head + format_value(item, 0, -10**6) for head, item in items)
    flat = f'{opening}{flat}{", " if isinstance(value, tuple) and len(value) == 1 else ""}{closing}'
    if column + len(flat) <= WIDTH or not value:
        return flat
    space = ' ' * (indent + 4)
    if isinstance(value, dict) or any(isinstance(item, (dict, list, tuple)) for item in value):
        lines = [f'{space}{head}{format_value(item, indent + 4, indent + 5 + len(head))}' for head, item in items]
        body = ',\n'.join(lines) + ','
    else:
        body = textwrap.indent('\n'.join(textwrap.wrap(flat[1:-1], WIDTH - indent - 5)), space)
    return f'{opening}\n{body}\n{" " * indent}{closing}'


def wrapped(text: str, first: str, then: str) -> str:
    """Returns text as lines of a comment or docstring, with the indentation of its first and other lines."""
    return '\n'.join(textwrap.wrap(text.replace('\\', '/').replace('"""', "'''"), WIDTH, initial_indent=first,
                                   subsequent_indent=then, break_long_words=False, break_on_hyphens=False)) or first
