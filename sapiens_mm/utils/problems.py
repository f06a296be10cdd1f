"""Problems of data sets: raised or logged where a run meets them, collected where a scan looks for all of them."""
import contextlib
import contextvars
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from .text import some

_PLURALS = dict(box='boxes', category='categories', entry='entries')
_collected: contextvars.ContextVar[list | None] = contextvars.ContextVar('problems', default=None)


def guide(kind: str) -> str:
    """Where the guide explains a kind of problem, as a sentence without a period."""
    return f'See docs/before_you_train.md#{kind.replace(" ", "-")}'


class DataError(ValueError):
    """Data that would train a wrong model or report a wrong metric.

    Attributes:
        kind: Section of the guide that the message names.
    """

    def __init__(self, message: str, kind: str = 'cannot be opened'):
        super().__init__(message if guide(kind) in message else f'{message.rstrip(".")}. {guide(kind)}')
        self.kind = kind


@dataclass(frozen=True)
class Problem:
    """What is wrong with some entries of a file, or with some files of a folder.

    Attributes:
        kind: Row of the scan's table, and heading of the guide: ``'repeated ids'``.
        where: File or folder.
        got: Predicate of the entries (``'have no area'``), or without entries what is there instead.
        expected: What they should be, and what to do: ``'a positive area; add it'``.
        examples: Ids or names of the entries.
        number: How many entries are wrong; by default the number of examples.
        total: How many there are; 0 where that is unknown.
        unit: What an entry is: ``'person'``.
        level: ``'error'`` where a run on this data would be wrong, ``'warning'`` or ``'note'``.
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
        number = f'{self.count} of {self.total}' if self.total else self.count
        examples = f' ({some(self.examples)})' if self.examples else ''
        subject = f'{number} {_PLURALS.get(self.unit, self.unit + "s")}{examples} that ' if self.count else ''
        return f'{self.where}: got {subject}{self.got}, expected {self.expected}. {guide(self.kind)}'


def report(problem: Problem) -> None:
    """Raises an error and logs anything else; inside of :func:`collect_problems` the problem is only kept.

    Raises:
        DataError: The problem is an error, and nobody collects.
    """
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
    """Makes :func:`report` fill the list that it gives, instead of raising, in this thread."""
    problems: list[Problem] = []
    token = _collected.set(problems)
    try:
        yield problems
    finally:
        _collected.reset(token)
