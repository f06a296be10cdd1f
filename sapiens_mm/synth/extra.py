"""The libraries of the optional extra ``synth``: what is said where one is missing."""
from collections.abc import Iterator
from contextlib import contextmanager


class MissingExtra(ImportError):
    """The optional extra ``synth`` is not installed."""


@contextmanager
def needs_extra(what: str) -> Iterator[None]:
    """Imports in this block say in one line how to get what is missing.

    Args:
        what: Who needs it: ``'rendering'``.

    Raises:
        MissingExtra: An import failed.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtra(
            f"{what} needs the optional extra synth ({error}): pip install 'sapiens_mm[synth]'") from error
