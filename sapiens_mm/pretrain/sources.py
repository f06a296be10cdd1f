"""Image sources for pretraining: folders, list files and WebDataset tar files, split into shards.

A data worker reads one shard at a time, in an order that depends only on the seed, the epoch and the shard.
"""
import functools
import hashlib
import itertools
import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..utils.tar_files import ALLOW, WEB, SourceError, expand, is_local, tar_members

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.webp')
_COMPRESSED = ('.tar.gz', '.tgz', '.tar.bz2', '.tar.xz', '.tar.zst')

Reader = Callable[[], bytes]


@functools.lru_cache(maxsize=2)  # for the shards and the images of an epoch
def permutation(length: int, *numbers: int) -> np.ndarray:
    """Returns a cached permutation of 0 to ``length - 1``, seeded by nonnegative integers; do not write to it.
    ``RandomState`` gives the same one in all NumPy releases, as checkpoints require. 4 bytes per element.
    """
    order = np.arange(length, dtype=np.int32 if length <= 2**31 else np.int64)
    np.random.RandomState(numbers).shuffle(order)
    return order


class FileSource:
    """Image files ``names``, relative to ``root``; each shard is a chunk of the epoch's permutation of them."""

    def __init__(self, root: str | os.PathLike, names: list[str], chunk: int = 64):
        if chunk < 1:
            raise ValueError(f'chunk: got {chunk}, expected at least 1 image')
        self.root, self.names, self.chunk = Path(root), names, chunk

    def __len__(self) -> int:
        return -(-len(self.names) // self.chunk)

    @functools.cached_property
    def fingerprint(self) -> str:
        return _digest(f'{self.chunk} files', *self.names)

    def read(self, shard: int, epoch: int, seed: int) -> Iterator[tuple[str, Reader]]:
        """Yields the name of each image of a shard (from 0) in an epoch (from 0), and a function that reads it."""
        order = permutation(len(self.names), seed, epoch, 1)
        for index in order[shard * self.chunk:(shard + 1) * self.chunk]:
            yield self.names[index], (self.root / self.names[index]).read_bytes


def folder_source(path: str | os.PathLike, chunk: int = 64) -> FileSource:
    """Returns the images (:data:`EXTENSIONS`) in a folder at any depth, without hidden files; SourceError if none."""
    if not os.path.isdir(path):
        raise SourceError(f'image source: got {path}, expected an existing folder; check the path')
    names = sorted(
        os.path.relpath(os.path.join(folder, file), path)
        for folder, _, files in os.walk(path, followlinks=True) for file in files if is_image(file))
    if not names:
        raise SourceError(f'folder {path}: got no image at any depth, expected files named {_expected()}')
    return FileSource(path, names, chunk)


def list_source(path: str | os.PathLike, root: str | os.PathLike | None = None, chunk: int = 64) -> FileSource:
    """Returns the images that a text file lists, one path per line; a path that is listed twice counts as two images.
    ``root``: by default the file's folder. A missing image is unreadable; SourceError for a missing or empty list.
    """
    if not os.path.isfile(path):
        raise SourceError(f'image source: got {path}, expected an existing list file; check the path')
    with open(path) as file:
        names = [line for line in map(str.strip, file) if line]
    if not names:
        raise SourceError(f'list file {path}: got an empty file, expected the path of an image on each line')
    return FileSource(Path(path).parent if root is None else root, names, chunk)


class TarSource:
    """WebDataset tar files, such as img2dataset's; each is a shard. Members other than images are skipped.

    Args:
        urls: A folder of ``.tar`` files, a path or address with WebDataset's braces (``'shards-{0000..0099}.tar'``), or
            a list of these. An existing path is always read as a file.
        buffer: Encoded images that each data worker keeps in memory for shuffling.
        retries: How often a file is read again after a broken ``http(s)://`` connection.
        allow_pipes: Whether other addresses (``pipe:COMMAND``, ``gs://``, ...) may run ``webdataset``'s commands.

    Raises:
        SourceError: No file was found, or one is missing, listed twice, compressed, or needs a command.
    """

    def __init__(self, urls: str | os.PathLike | Sequence[str], buffer: int = 1000, retries: int = 3,
                 allow_pipes: bool = False):
        if buffer < 1:
            raise ValueError(f'buffer: got {buffer}, expected at least 1 image')
        self.urls = [url for entry in ([urls] if isinstance(urls, (str, os.PathLike)) else urls)
                     for url in expand(os.fspath(entry))]
        self.buffer, self.retries, self.allow_pipes = buffer, retries, allow_pipes
        if not self.urls:
            raise SourceError(f"image source: got no tar file in {urls}, expected a folder of .tar files, a path such "
                              "as 'shards-{0000..0099}.tar', or a list of these")
        _check(self.urls, [url for url in self.urls if url.endswith(_COMPRESSED)], 'compressed', 'unpack them to .tar')
        _check(self.urls, [url for url in self.urls if is_local(url) and not os.path.isfile(url)], 'missing',
               'get them, or remove them from the source')
        _check(self.urls, [url for url, after in itertools.pairwise(sorted(self.urls)) if url == after],
               'listed twice', 'list each once')
        if not allow_pipes:
            _check(self.urls, [url for url in self.urls if not is_local(url) and not url.startswith(WEB)],
                   'read by a command', f'{ALLOW}, or get them as files')
        # Names without the common folder, so that the shards may move.
        common = os.path.commonprefix(self.urls).rpartition('/')
        self.names = [url[len(common[0] + common[1]):] for url in self.urls]

    def __len__(self) -> int:
        return len(self.urls)

    @functools.cached_property
    def fingerprint(self) -> str:
        return _digest(f'tar files, buffer of {self.buffer}', *self.names)

    def read(self, shard: int, epoch: int, seed: int) -> Iterator[tuple[str, Reader]]:
        """See :meth:`FileSource.read`; SourceError if a tar file is damaged, has no images, or cannot be fetched."""
        rng = random.Random(f'{seed} {epoch} {shard}')
        for name, data in _shuffled(self._members(self.urls[shard]), self.buffer, rng):
            yield f'{self.names[shard]}/{name}', functools.partial(bytes, data)

    def _members(self, url: str) -> Iterator[tuple[str, bytes]]:
        empty = True
        for member in tar_members(url, self.retries, is_image, self.allow_pipes):
            empty = False
            yield member
        if empty:
            raise SourceError(f'shard {url}: got no image, expected members named {_expected()}')


def build_source(cfg: dict) -> FileSource | TarSource:
    """Builds a source from ``dict(type='folder' | 'list' | 'shards', ...)``."""
    kinds = dict(folder=folder_source, list=list_source, shards=TarSource)
    cfg = dict(cfg)
    kind = cfg.pop('type', None)
    if kind not in kinds:
        raise ValueError(f"image source: got type {kind!r}, expected one of {', '.join(map(repr, kinds))}")
    return kinds[kind](**cfg)


def _check(urls: list[str], wrong: list[str], what: str, remedy: str) -> None:
    if wrong:
        raise SourceError(f'{len(wrong)} of {len(urls)} shards are {what}, the first is {wrong[0]}; {remedy}')


def _shuffled(items: Iterator[Any], size: int, rng: random.Random) -> Iterator[Any]:
    buffer = list(itertools.islice(items, size))
    for item in items:
        index = rng.randrange(size)
        yield buffer[index]
        buffer[index] = item
    rng.shuffle(buffer)
    yield from buffer


def is_image(name: str) -> bool:
    """Returns whether a path has the extension of an image (:data:`EXTENSIONS`) and is not hidden."""
    base = name.rpartition('/')[2]
    return base.lower().endswith(EXTENSIONS) and not base.startswith('.')


def _expected() -> str:
    return ', '.join(f'*{extension}' for extension in EXTENSIONS)


def _digest(*texts: str) -> str:
    return hashlib.sha1(b'\n'.join(map(os.fsencode, texts))).hexdigest()
