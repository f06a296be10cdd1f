"""Tar files of images as streams: paths and addresses, their members, and what is damaged."""
import contextlib
import http.client
import itertools
import os
import re
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_WAIT = 2.  # seconds before the first retry of a broken connection, four times as long before each further one
WEB = ('http://', 'https://')
#: How to allow an address that is read by a command.
ALLOW = 'set allow_pipes=True (tools: --allow-pipes) if you trust the origin of the address'
_MOST_ZEROS = 1 << 20  # at the end of an archive; tar pads to 10 kB
_DAMAGED = (OSError, EOFError, tarfile.TarError, http.client.HTTPException)


class SourceError(RuntimeError):
    """Images are missing or cannot be read."""


def expand(url: str) -> list[str]:
    """Returns the tar files of a folder, or of a path or address with braces; an existing path is returned as it is."""
    try:
        from webdataset.shardlists import expand_urls
    except ImportError as error:
        raise _without_webdataset(error) from error
    if os.path.isdir(url):
        return sorted(str(path) for path in Path(url).glob('*.tar'))
    return [url] if os.path.exists(url) else expand_urls(url)


def is_local(url: str) -> bool:
    """Returns whether a shard is a file: an existing path, or one that does not look like an address."""
    return os.path.exists(url) or not re.match(r'pipe:|[A-Za-z][A-Za-z0-9+.-]*://', url)


def open_url(url: str, allow_pipes: bool = False) -> BinaryIO:
    """Opens a path or address for reading once; OSError if that fails, SourceError if it needs a forbidden command."""
    if is_local(url):
        return open(os.path.abspath(url), 'rb')  # WebDataset would run a file named 'pipe:...'
    if url.startswith(WEB):
        # WebDataset runs curl, which hides the server's answer.
        return urllib.request.urlopen(url, timeout=60)
    if not allow_pipes:
        raise SourceError(f'{url} is read by a command; {ALLOW}, or get it as a file')
    from webdataset.gopen import gopen
    return gopen(url)


def tar_members(url: str, retries: int = 3, select: Callable[[str], bool] | None = None, allow_pipes: bool = False,
                open_stream: Callable[[str], BinaryIO] | None = None) -> Iterator[tuple[str, bytes]]:
    """Yields name and content of a tar file's selected members.

    Args:
        retries: How often a file is read again after a broken ``http(s)://`` connection.
        select: Whether a member of a name is selected; by default all are.
        allow_pipes: See :func:`open_url`.
        open_stream: Opens the address, by default :func:`open_url`.

    Raises a SourceError if the file is damaged, cannot be fetched, or needs a forbidden command.
    """
    try:
        from webdataset.tariterators import tar_file_iterator
    except ImportError as error:
        raise _without_webdataset(error) from error
    given = 0
    for attempt in itertools.count():
        try:
            with contextlib.closing(_Stream(open_stream(url) if open_stream else open_url(url, allow_pipes))) as stream:
                for member in itertools.islice(tar_file_iterator(stream, select_files=select), given, None):
                    given += 1
                    yield member['fname'], member['data']
                stream.check_end()
            return
        except _DAMAGED as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if is_local(url) or not url.startswith(WEB) or refused or attempt == retries:
                raise SourceError(f'shard {url}: got {_reason(error)} after {given} files, expected a complete tar '
                                  'file; get it again or remove it from the source, then resume') from error
            time.sleep(_WAIT * 4**attempt)


class _Stream:
    """A tar file that is read once; checks its end, since tarfile accepts a file that ends between two members."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._size = self._zeros = 0  # bytes read so far, and zeros at their end

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        content = len(data.rstrip(b'\0'))
        self._size += len(data)
        self._zeros = len(data) - content + (0 if content else self._zeros)
        return data

    def check_end(self) -> None:
        """Reads the rest, and raises a ReadError unless it is the end of an archive with members."""
        while self.read(1 << 20):
            pass
        if self._zeros == self._size:
            raise tarfile.ReadError('only zeros')
        if self._zeros < 512:  # an archive ends with at least two blocks of zeros
            raise tarfile.ReadError('no end-of-archive mark')
        if self._zeros > _MOST_ZEROS:
            raise tarfile.ReadError(f'{self._zeros} zeros at the end')

    def close(self) -> None:
        with contextlib.suppress(OSError):  # of a command that is still writing
            self._file.close()


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f'HTTP {error.code} {error.reason}'
    # WebDataset appends the repr of the stream.
    return f'{type(error).__name__}: {str(error).partition(" @ ")[0]}'


def _without_webdataset(error: ImportError) -> SourceError:
    return SourceError(f"tar shards need the webdataset library ({error}): pip install 'sapiens_mm[pretrain]' or "
                       "'sapiens_mm[scale]'")
