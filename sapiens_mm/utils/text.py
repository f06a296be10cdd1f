"""Lists, counts and errors as text for messages."""
import json
from collections.abc import Collection, Iterable


def some(names: Iterable, limit: int = 5, separator: str = ', ') -> str:
    """Returns the first names of a list as ``'a, b, c, d, e and 7 more'``, or ``'none'``."""
    names = [str(name) for name in names]
    text = separator.join(names[:limit]) or 'none'
    return f'{text} and {len(names) - limit} more' if len(names) > limit else text


def count(number: int, noun: str, plural: str = '') -> str:
    """Returns a number with its noun: ``'1 image'``, ``'2 images'``."""
    return f'{number} {noun if number == 1 else plural or noun + "s"}'


def first_line(error: BaseException | str) -> str:
    """Returns the first line of an error's message without its period, or its type without a message."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip('.') if lines else type(error).__name__


def with_option(error: BaseException, options: Collection[str]) -> str:
    """Returns an error's message with the option of the argument that it begins with: ``--max-persons: got 0``.

    ``options`` are names of arguments that have an option: ``'max_persons'``.
    """
    name, colon, rest = str(error).partition(':')
    option = next((option for option in (name, f'{name}s') if option in options), None)  # task: a value of --tasks
    return f'--{option.replace("_", "-")}:{rest}' if colon and option else str(error)


def differences(before: dict, now: dict) -> str:
    """Returns how settings read from JSON differ from present ones, ``'seed 0 instead of 1; ...'``, or ''."""
    now = json.loads(json.dumps(now))  # tuples become lists, as in the file
    return '; '.join(f'{name} {before.get(name)} instead of {value}' for name, value in now.items()
                     if before.get(name) != value)
