"""JSON reading with clear errors, and atomic replacement of files and folders."""
import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """Returns the value of a JSON text; raises a ValueError if it is not UTF-8 JSON, or is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError('JSON is nested too deeply') from None


def read_json(path: str | os.PathLike) -> Any:
    """Returns the value of a JSON file.

    Raises an OSError if it cannot be read, and a ValueError that names it as for :func:`parse_json`.
    """
    with open(path, 'rb') as file:
        content = file.read()
    try:
        return parse_json(content)
    except ValueError as error:
        raise ValueError(f'{os.fspath(path)}: got damaged JSON ({error}), expected complete JSON; replace the file'
                         ) from error


def cache_folder(name: str) -> Path:
    """Returns the path of this package's folder ``name`` in the user's cache."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache', 'sapiens_mm', name)


@contextlib.contextmanager
def replacing(path: str | os.PathLike, unique: bool = False, flush: bool = True) -> Iterator[str]:
    """Yields a temporary path beside ``path``, and moves the file or folder there to ``path`` unless an error occurs.

    A killed process leaves either the old or the new content; a folder is replaced as a whole. With ``unique`` several
    processes or threads may write the same path. Without ``flush`` a power failure may leave an empty file.
    """
    part = f'{os.fspath(path)}.part'
    if unique:
        part += f'-{uuid.uuid4().hex[:12]}'
    remove(part)
    try:
        yield part
        files = (os.path.join(folder, name) for folder, _, names in os.walk(part) for name in names)
        for name in (files if os.path.isdir(part) else (part, )) if flush else ():
            with open(name, 'rb') as file:
                os.fsync(file.fileno())
        if os.path.isdir(part):
            remove(path)  # a rename cannot replace a folder with content
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):  # of a disk that has become read-only; the first error matters more
            remove(part)


@contextlib.contextmanager
def locked(folder: str | os.PathLike, shared: bool = False) -> Iterator[None]:
    """Holds a lock on a folder, alone or ``shared`` with others that share it; an OSError if another has it.

    The system releases it when the process ends. It has no effect on Windows, and on file systems without locks.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"'{os.fspath(folder)}': got a folder to which another process writes, expected one that is "
                          'not in use; wait, or use another') from None
        except OSError:  # of file systems without locks
            pass
        yield
    finally:
        os.close(descriptor)


def remove(path: str | os.PathLike) -> None:
    """Removes a file, or a folder with its content, if it exists."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
