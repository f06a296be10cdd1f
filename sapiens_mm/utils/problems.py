"""Problems of datasets, which a run raises or logs and a scan collects."""
import contextlib
import contextvars
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from .text import some

_PLURALS = dict(box='boxes', category='categories', entry='entries')
_collected: contextvars.ContextVar[list | None] = contextvars.ContextVar('problems', default=None)


def guide(kind: str) -> str:
    """Returns the reference to the guide's section on a kind of problem, without a period."""
    return f'See docs/before_you_train.md#{kind.replace(" ", "-")}'


class DataError(ValueError):
    """Data that would train a wrong model or report a wrong metric; ``kind`` is the section of the guide."""

    def __init__(self, message: str, kind: str = 'cannot be opened'):
        super().__init__(message if guide(kind) in message else f'{message.rstrip(".")}. {guide(kind)}')
        self.kind = kind


@dataclass(frozen=True)
class Problem:
    """A problem of entries of a file, or of files of a folder (``where``).

    Attributes:
        kind: Row of the scan's table and heading of the guide: ``'repeated ids'``.
        got: Predicate of the entries (``'have no area'``); without entries, the content.
        expected: Correct content and remedy: ``'a positive area; add it'``.
        examples: Ids or names of some of the ``number`` wrong entries (default: all) of ``total`` (0: unknown).
        unit: Noun of an entry: ``'person'``.
        level: ``'error'`` if results on this data would be wrong, else ``'warning'`` or ``'note'``.
    """
    kind: str
    where: str
    got: str
    expected: str
    examples: tuple = ()
    number: int | None = None
    total: int = 0
    unit: str = 'entry'
    level: str = 'error'

    @property
    def count(self) -> int:
        return len(self.examples) if self.number is None else self.number

    def __str__(self) -> str:
        total = f' of {self.total}' if self.total else ''
        examples = f' ({some(self.examples)})' if self.examples else ''
        units = _PLURALS.get(self.unit, f'{self.unit}s')
        subject = f'{self.count}{total} {units}{examples} that ' if self.count else ''
        return f'{self.where}: got {subject}{self.got}, expected {self.expected}. {guide(self.kind)}'


def report(problem: Problem) -> None:
    """Collects a problem inside of :func:`collect_problems`, else raises a DataError or logs, by its level."""
    collected = _collected.get()
    if collected is not None:
        collected.append(problem)
    elif problem.level == 'error':
        raise DataError(str(problem), problem.kind)
    else:
        from mmengine.logging import print_log
        print_log(str(problem), 'current', logging.WARNING if problem.level == 'warning' else logging.INFO)


@contextlib.contextmanager
def collect_problems() -> Iterator[list[Problem]]:
    """Yields a list that :func:`report` fills instead of raising, in this thread."""
    problems: list[Problem] = []
    token = _collected.set(problems)
    try:
        yield problems
    finally:
        _collected.reset(token)
