"""Where images come from: folders, list files and WebDataset tar shards, each cut into shards.

A shard is what one data worker reads at a time, in an order that depends on the seed, the epoch and the shard only.
"""
import contextlib
import functools
import hashlib
import http.client
import itertools
import os
import random
import re
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.webp')
_COMPRESSED = ('.tar.gz', '.tgz', '.tar.bz2', '.tar.xz', '.tar.zst')
_WAIT = 2.  # seconds before a broken connection is taken up again; four times as long before each further try
_WEB = ('http://', 'https://')
_ALLOW = 'set allow_pipes=True (tools: --allow-pipes) if you trust where the address comes from'
_MOST_ZEROS = 1 << 20  # at the end of an archive; tar pads to 10 kB
_DAMAGED = (OSError, EOFError, tarfile.TarError, http.client.HTTPException)

Reader = Callable[[], bytes]


class SourceError(RuntimeError):
    """Images are not there, or cannot be read."""


@functools.lru_cache(maxsize=2)  # of the shards and of the images in an epoch
def permutation(length: int, *numbers: int) -> np.ndarray:
    """A permutation of 0 to ``length - 1`` that depends on some non-negative integers only, not to be written to.

    It is the order of ``RandomState.permutation``, which stays the same in every release of NumPy: checkpoints rely on
    it. 4 bytes a number: 40 MB for 10 million, and 80 MB while the next epoch's is made.
    """
    order = np.arange(length, dtype=np.int32 if length <= 2**31 else np.int64)
    np.random.RandomState(numbers).shuffle(order)
    return order


class FileSource:
    """Image files; a shard is ``chunk`` consecutive ones of their permutation in an epoch.

    Args:
        root: The folder that the names are relative to.
        names: Paths of the images. They name them in messages too.
        chunk: Images in a shard (the last one may have fewer).
    """

    def __init__(self, root: str | os.PathLike, names: list[str], chunk: int = 64):
        if chunk < 1:
            raise ValueError(f'chunk={chunk}, but a shard has at least 1 image')
        self.root, self.names, self.chunk = Path(root), names, chunk

    def __len__(self) -> int:
        return -(-len(self.names) // self.chunk)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes where a shard would have other images, or the same ones in another order."""
        return _digest(f'{self.chunk} files', *self.names)

    def read(self, shard: int, epoch: int, seed: int) -> Iterator[tuple[str, Reader]]:
        """Yields the images of a shard: name, and what reads the file.

        Args:
            shard: 0 to ``len(self) - 1``.
            epoch: Counted from 0.
            seed: Not negative.
        """
        order = permutation(len(self.names), seed, epoch, 1)
        for index in order[shard * self.chunk:(shard + 1) * self.chunk]:
            yield self.names[index], (self.root / self.names[index]).read_bytes


def folder_source(path: str | os.PathLike, chunk: int = 64) -> FileSource:
    """The images (:data:`EXTENSIONS`) of a folder and the folders in it, but for files named ``.*``.

    Args:
        path: The folder; links to folders are followed.
        chunk: See :class:`FileSource`.

    Raises:
        SourceError: There is no such folder, or no image in it.
    """
    if not os.path.isdir(path):
        raise SourceError(f'there is no folder {path}; check the path of the image source')
    names = sorted(
        os.path.relpath(os.path.join(folder, file), path)
        for folder, _, files in os.walk(path, followlinks=True) for file in files if is_image(file))
    if not names:
        raise SourceError(f'folder {path} holds no image at any depth; expected files named {_expected()}')
    return FileSource(path, names, chunk)


def list_source(path: str | os.PathLike, root: str | os.PathLike | None = None, chunk: int = 64) -> FileSource:
    """The images that a text file lists, one path a line.

    A path that is listed twice is two images. Whether the files are there is found when they are read.

    Args:
        path: The text file.
        root: What relative paths are relative to; by default the text file's folder.
        chunk: See :class:`FileSource`.

    Raises:
        SourceError: There is no such file, or no line in it.
    """
    if not os.path.isfile(path):
        raise SourceError(f'there is no list file {path}; check the path of the image source')
    with open(path) as file:
        names = [line for line in map(str.strip, file) if line]
    if not names:
        raise SourceError(f'list file {path} is empty; expected a path of an image on each line')
    return FileSource(Path(path).parent if root is None else root, names, chunk)


class TarSource:
    """WebDataset tar files, as img2dataset writes them; each is a shard, read from its beginning to its end.

    Members that are no image (:data:`EXTENSIONS`) are passed over.

    Args:
        urls: A folder of ``.tar`` files, a path or address with WebDataset's braces (``'shards-{0000..0099}.tar'``),
            or a list of these. A path that exists is always read as a file. ``http(s)://`` is read by Python.
        buffer: Images, still encoded, that each data worker keeps in memory to draw the next one from.
        retries: How often, after a broken ``http(s)://`` connection, a file is read again up to there before the run
            stops.
        allow_pipes: Whether other addresses (``pipe:COMMAND``, ``gs://``, ...) are read by the commands that the
            ``webdataset`` library runs for them.

    Raises:
        SourceError: There are no tar files, local ones are missing, one is listed twice, compressed, or needs a
            command that is not allowed.
    """

    def __init__(self, urls: str | os.PathLike | Sequence[str], buffer: int = 1000, retries: int = 3,
                 allow_pipes: bool = False):
        if buffer < 1:
            raise ValueError(f'buffer={buffer}, but shuffling needs a buffer of at least 1 image')
        self.urls = [url for entry in ([urls] if isinstance(urls, (str, os.PathLike)) else urls)
                     for url in _expand(os.fspath(entry))]
        self.buffer, self.retries, self.allow_pipes = buffer, retries, allow_pipes
        if not self.urls:
            raise SourceError(f'there is no tar file in {urls}; expected a folder of .tar files, a path with braces '
                              "like 'shards-{0000..0099}.tar', or a list of these")
        _check(self.urls, [url for url in self.urls if url.endswith(_COMPRESSED)], 'compressed', 'unpack them to .tar')
        _check(self.urls, [url for url in self.urls if is_local(url) and not os.path.isfile(url)], 'not there',
               'get them, or take them out of the source')
        _check(self.urls, [url for url, after in itertools.pairwise(sorted(self.urls)) if url == after],
               'listed twice', 'list each once')
        if not allow_pipes:
            _check(self.urls, [url for url in self.urls if not is_local(url) and not url.startswith(_WEB)],
                   'read by a command', f'{_ALLOW}, or get them as files')
        # Names without the folder that all have in common, so that the shards may move.
        common = os.path.commonprefix(self.urls).rpartition('/')
        self.names = [url[len(common[0] + common[1]):] for url in self.urls]

    def __len__(self) -> int:
        return len(self.urls)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes where a shard would have other images, or the same ones in another order."""
        return _digest(f'tar files, buffer of {self.buffer}', *self.names)

    def read(self, shard: int, epoch: int, seed: int) -> Iterator[tuple[str, Reader]]:
        """Yields the images of a shard: shard's and member's name, and what returns the bytes.

        Args:
            shard: 0 to ``len(self) - 1``.
            epoch: Counted from 0.
            seed: Not negative.

        Raises:
            SourceError: The tar file is truncated, is none, has no image, or its address answers with an error.
        """
        rng = random.Random(f'{seed} {epoch} {shard}')
        for name, data in _shuffled(self._members(self.urls[shard]), self.buffer, rng):
            yield f'{self.names[shard]}/{name}', functools.partial(bytes, data)

    def _members(self, url: str) -> Iterator[tuple[str, bytes]]:
        """Names and bytes of the images in a tar file."""
        empty = True
        for member in tar_members(url, self.retries, is_image, self.allow_pipes):
            empty = False
            yield member
        if empty:
            raise SourceError(f'shard {url} holds no image; expected members named {_expected()}')


def tar_members(url: str, retries: int = 3, select: Callable[[str], bool] | None = None,
                allow_pipes: bool = False) -> Iterator[tuple[str, bytes]]:
    """Reads a tar file from its beginning to its end.

    Args:
        url: Path or address, as for :class:`TarSource`.
        retries: As for :class:`TarSource`.
        select: Which names are wanted; by default all.
        allow_pipes: As for :class:`TarSource`.

    Yields:
        Name and content of each member.

    Raises:
        SourceError: The file is truncated, is none, has no member, or its address answers with an error.
    """
    from webdataset.tariterators import tar_file_iterator
    given = images = 0
    for attempt in itertools.count():
        try:
            with contextlib.closing(_Stream(url, allow_pipes)) as stream:
                for member in itertools.islice(tar_file_iterator(stream, select_files=select), given, None):
                    given += 1
                    images += is_image(member['fname'])
                    yield member['fname'], member['data']
                stream.check_end()
            return
        except _DAMAGED as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if is_local(url) or not url.startswith(_WEB) or refused or attempt == retries:
                raise SourceError(f'shard {url} is damaged or cannot be had: {_reason(error)}, after {images} '
                                  'images; expected a complete tar file: get it again, or take it out of the '
                                  'source, and resume') from error
            time.sleep(_WAIT * 4**attempt)


def build_source(cfg: dict) -> FileSource | TarSource:
    """Builds a source from ``dict(type='folder' | 'list' | 'shards', ...)``."""
    kinds = dict(folder=folder_source, list=list_source, shards=TarSource)
    cfg = dict(cfg)
    kind = cfg.pop('type', None)
    if kind not in kinds:
        raise ValueError(f"image source of type {kind!r}; expected one of {', '.join(map(repr, kinds))}")
    return kinds[kind](**cfg)


class _Stream:
    """A tar file opened for reading once; knows whether what was read last is the end of an archive.

    Python's tarfile takes a file that is cut between two members for a complete one.
    """

    def __init__(self, url: str, allow_pipes: bool = False):
        self._file = open_url(url, allow_pipes)
        self._size = self._zeros = 0  # bytes read so far, and how many of them are the zeros at the end

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        content = len(data.rstrip(b'\0'))
        self._size += len(data)
        self._zeros = len(data) - content + (0 if content else self._zeros)
        return data

    def check_end(self) -> None:
        """Reads what is left and raises a ReadError unless it is the end of an archive with members."""
        while self.read(1 << 20):
            pass
        if self._zeros == self._size:
            raise tarfile.ReadError('it holds nothing but zeros')
        if self._zeros < 512:  # an archive ends with at least two blocks of zeros
            raise tarfile.ReadError('it has no end-of-archive mark')
        if self._zeros > _MOST_ZEROS:
            raise tarfile.ReadError(f'its last {self._zeros} bytes are zeros')

    def close(self) -> None:
        with contextlib.suppress(OSError):  # a program that is still writing to us complains
            self._file.close()


def is_local(url: str) -> bool:
    """Whether a shard is a file: anything that exists, and what does not look like an address."""
    return os.path.exists(url) or not re.match(r'pipe:|[A-Za-z][A-Za-z0-9+.-]*://', url)


def open_url(url: str, allow_pipes: bool = False) -> BinaryIO:
    """Opens a path or address, as for :class:`TarSource`, for reading once.

    Raises:
        OSError: It cannot be opened.
        SourceError: It needs a command, and these are not allowed.
    """
    if is_local(url):
        return open(os.path.abspath(url), 'rb')  # not by WebDataset, to which 'pipe:...' and '-' are no files
    if url.startswith(_WEB):
        # WebDataset's own opener runs curl, which does not tell what the server answered.
        return urllib.request.urlopen(url, timeout=60)
    if not allow_pipes:
        raise SourceError(f'{url} is read by a command: {_ALLOW}, or get it as a file')
    from webdataset.gopen import gopen
    return gopen(url)


def _expand(url: str) -> list[str]:
    try:
        from webdataset.shardlists import expand_urls
    except ImportError as error:
        raise SourceError("tar shards need the webdataset library: pip install 'sapiens_mm[pretrain]'") from error
    if os.path.isdir(url):
        return sorted(str(path) for path in Path(url).glob('*.tar'))
    return [url] if os.path.exists(url) else expand_urls(url)


def _check(urls: list[str], wrong: list[str], what: str, remedy: str) -> None:
    if wrong:
        raise SourceError(f'{len(wrong)} of {len(urls)} shards are {what}, the first is {wrong[0]}; {remedy}')


def _shuffled(items: Iterator[Any], size: int, rng: random.Random) -> Iterator[Any]:
    """Yields items in an order that never brings one forward by more than ``size``."""
    buffer = list(itertools.islice(items, size))
    for item in items:
        index = rng.randrange(size)
        yield buffer[index]
        buffer[index] = item
    rng.shuffle(buffer)
    yield from buffer


def is_image(name: str) -> bool:
    """Whether a path is that of an image, by its ending (:data:`EXTENSIONS`); hidden files are none."""
    base = name.rpartition('/')[2]
    return base.lower().endswith(EXTENSIONS) and not base.startswith('.')


def _expected() -> str:
    return ', '.join(f'*{extension}' for extension in EXTENSIONS)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f'HTTP {error.code} {error.reason}'
    # WebDataset appends the repr of the stream.
    return f'{type(error).__name__}: {str(error).partition(" @ ")[0]}'


def _digest(*texts: str) -> str:
    return hashlib.sha1(b'\n'.join(map(os.fsencode, texts))).hexdigest()
