"""JSON files read with clear errors, and files that are written whole or not at all."""
import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: The text is not JSON in UTF-8, or is nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError('JSON is nested too deeply') from None


def read_json(path: str | os.PathLike) -> Any:
    """The value of a JSON file.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is not JSON in UTF-8, or is nested too deeply; the message names it.
    """
    with open(path, 'rb') as file:
        content = file.read()
    try:
        return parse_json(content)
    except ValueError as error:
        raise ValueError(f'{os.fspath(path)}: got {error}, expected complete JSON; replace the file') from error


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[str]:
    """Gives the path of a temporary file beside ``path`` that takes its place at the end, unless an error comes first.

    The temporary file is flushed to the disk before the rename, so a crash leaves the old file or the new one.
    """
    part = f'{os.fspath(path)}.part'
    try:
        yield part
        with open(part, 'rb') as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(part)
