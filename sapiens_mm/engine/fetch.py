"""Downloads of checkpoint files from the web and the Hugging Face Hub."""
import contextlib
import glob
import hashlib
import http.client
import json
import math
import os
import os.path as osp
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import BinaryIO

import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.logging import print_log

from ..utils.files import read_json, replacing
from ..utils.text import first_line
from .checkpoint_file import check_signature, check_whole
from .licenses import state_license
from .safe_pickle import CheckpointError

#: A download fails if fewer bytes than this arrive within this many seconds.
STALL_BYTES, STALL_SECONDS = 1 << 20, 300.

__all__ = ['CheckpointError', 'Transfer', 'fetch_file', 'fetch_repository', 'fetch_weights', 'fetch_with_record',
           'is_cached', 'sha256_of', 'why_no_hub']


def fetch_file(source: str) -> str:
    """Returns the local path of a file and downloads it first if needed.

    Args:
        source: ``http(s)://...``, kept in ``torch.hub``'s folder, where MMEngine keeps its own downloads;
            ``hf://<owner>/<repo>[@<revision>]/<file>``, kept in the cache of ``huggingface_hub``, which honors
            ``HF_ENDPOINT``, ``HF_TOKEN`` and ``HF_HUB_OFFLINE``; or a path.

    Raises:
        CheckpointError: The file cannot be fetched.
    """
    if source.startswith('hf://'):
        return _fetch_from_hub(source)
    if source.startswith(('http://', 'https://')):
        return _fetch_from_http(source)
    return osp.expanduser(source)


def fetch_with_record(source: str, folder: str) -> str:
    """Downloads a file of the Hugging Face Hub into a folder and records its origin beside it.

    The record ``<file>.json`` has source, commit, size in bytes and SHA-256, which is compared with the Hub's own. A
    file that agrees with its record is not fetched again.

    Args:
        source: ``hf://<owner>/<repo>[@<revision>]/<file>``.
        folder: Where the file goes, whatever folder it has in its repository.

    Returns:
        The path of the file.

    Raises:
        CheckpointError: The file cannot be fetched, or its SHA-256 is not the Hub's.
    """
    repo, revision, filename = _parse_hub(source)
    path = osp.join(folder, osp.basename(filename))
    record_path = f'{path}.json'
    damaged = False
    if osp.isfile(path) and osp.isfile(record_path):
        try:
            record = read_json(record_path)
            damaged = (record['size'], record['sha256']) != (osp.getsize(path), sha256_of(path))
            damaged = damaged or not isinstance(record['source'], str)
        except (ValueError, KeyError, TypeError):
            damaged = True
        if not damaged and record['source'] == source:
            print_log(f'{path} exists and agrees with its record', logger='current')
            return path
        if damaged:
            print_log(f'{path} does not agree with {record_path}; fetching it again', logger='current')
    with _hub_errors(source):
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
        # First, since without a network it fails at once, while the download retries for half a minute.
        metadata = get_hf_file_metadata(hf_hub_url(repo, filename, revision=revision))
        state_license(source)
        fetched = hf_hub_download(repo, filename, revision=revision, local_dir=folder, force_download=damaged)
    if osp.dirname(filename):
        os.replace(fetched, path)
        os.removedirs(osp.dirname(fetched))
    check_signature(path)
    sha256 = sha256_of(path)
    # For large files the Hub's tag is the SHA-256; for others it is a git hash.
    if metadata.etag and re.fullmatch('[0-9a-f]{64}', metadata.etag) and metadata.etag != sha256:
        os.remove(path)
        raise CheckpointError(f'{source} arrived with SHA-256 {sha256}, but the Hub has {metadata.etag}; the file was '
                              'removed, try again')
    record = {'source': source, 'commit': metadata.commit_hash, 'size': osp.getsize(path), 'sha256': sha256}
    with replacing(record_path) as part, open(part, 'w') as file:
        json.dump(record, file, indent=2)
    return path


def _fetch_from_http(url: str) -> str:
    # Two addresses may end in the same name.
    try:
        stem, extension = osp.splitext(osp.basename(urllib.parse.urlparse(url).path))
    except ValueError as error:
        raise CheckpointError(f'{url!r} is no web address ({error}); check it') from error
    name = f'{stem}-{hashlib.sha256(url.encode()).hexdigest()[:8]}{extension}'
    path = osp.join(torch.hub.get_dir(), 'checkpoints', name)
    if get_dist_info()[0] == 0 or os.environ.get('LOCAL_RANK') == '0':  # one process of each machine
        try:
            _download(url, path)
        finally:  # a failure must not leave the other processes waiting: they try, and say so themselves
            barrier()
    else:
        barrier()
        _download(url, path)
    return path


def _download(url: str, path: str) -> None:
    """Downloads to ``path`` unless that exists."""
    if osp.exists(path):
        return
    os.makedirs(osp.dirname(path), exist_ok=True)
    _remove_stale(path)
    try:
        with replacing(path, unique=True) as part:
            with open(part, 'wb', 0) as file:
                Transfer(url, file, name=osp.basename(path)).run(STALL_SECONDS, STALL_BYTES)
            check_signature(part, url)
            check_whole(part, url)  # a server that gives no length may have lost the connection
    except urllib.error.HTTPError as error:
        raise CheckpointError(f'{url}: the server answered {error.code} ({error.reason}); check the address') from error
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: of a port, or characters in it
        reason = first_line(getattr(error, 'reason', error))
        raise CheckpointError(f'{url!r}: download failed ({type(error).__name__}: {reason}); check the network, or put '
                              f'the file at {path}') from error


def _remove_stale(path: str) -> None:
    """Removes downloads of killed processes, to which nothing was written for long."""
    for partial in glob.glob(f'{glob.escape(path)}.part-*'):
        with contextlib.suppress(OSError):  # another process may remove it too
            if time.time() - osp.getmtime(partial) > 2 * STALL_SECONDS:
                os.remove(partial)


class Transfer:
    """Copies a URL to an open file in another thread, since a socket's timeout covers a single read only.

    Args:
        max_bytes: Limit of the size.
        name: Of the progress bar; without a name there is none.
    """

    def __init__(self, url: str, file: BinaryIO, max_bytes: float = math.inf, name: str = ''):
        self.request = urllib.request.Request(url, headers={'User-Agent': 'sapiens_mm'})
        self.file, self.max_bytes, self.name, self.done = file, max_bytes, name, 0
        self._error, self._given_up = None, False

    def run(self, seconds: float, least: float = math.inf) -> None:
        """Waits for the copy, as long as ``least`` bytes arrive within any ``seconds``; by default all must.

        Raises:
            TimeoutError: Too few bytes arrive.
            Exception: What the thread raised; a ValueError if the file is too large or incomplete.
        """
        thread = threading.Thread(target=self._work, daemon=True)
        thread.start()
        try:
            before = 0
            while thread.is_alive():
                thread.join(seconds)
                if thread.is_alive() and self.done - before < least:
                    raise TimeoutError(f'got {self.done - before} bytes in {seconds:g} s, expected '
                                       f'{"all" if least == math.inf else f"at least {least}"}')
                before = self.done
        finally:
            self._given_up = True
        if self._error:
            raise self._error

    def _work(self) -> None:
        try:
            self._copy()
        except BaseException as error:  # raised again in the thread that waits
            self._error = error

    def _copy(self) -> None:
        from tqdm import tqdm
        with urllib.request.urlopen(self.request, timeout=60) as response:
            total = int(response.headers.get('Content-Length') or 0)
            with tqdm(total=total or None, unit='B', unit_scale=True, desc=self.name,
                      disable=None if self.name else True) as bar:
                while not self._given_up and (chunk := response.read1(1 << 20)):
                    self.done += len(chunk)
                    if self.done > self.max_bytes:
                        raise ValueError(f'got more than {self.max_bytes / 2**20:.0f} MB')
                    self.file.write(chunk)
                    bar.update(len(chunk))
            if total and self.done != total:
                raise ValueError(f'the connection ended after {self.done} of {total} bytes')


def _fetch_from_hub(source: str) -> str:
    repo, revision, filename = _parse_hub(source)
    # Asked first, since without a network the download retries and warns for half a minute. The download itself locks
    # the file against other processes.
    reason = why_no_hub()
    with _hub_errors(source, reason):
        from huggingface_hub import hf_hub_download
        if not reason and not is_cached(repo, filename, revision):
            state_license(source)
        return hf_hub_download(repo, filename, revision=revision, local_files_only=bool(reason))


def fetch_repository(repo: str, revision: str | None, patterns: list[str]) -> str:
    """Returns the folder in the cache of ``huggingface_hub`` with the files of a repository that match the patterns.

    Raises:
        CheckpointError: They cannot be fetched.
    """
    reason = why_no_hub()
    with _hub_errors(f'hf://{repo}/{patterns[0]}', reason):
        from huggingface_hub import snapshot_download
        if not reason:
            state_license(f'hf://{repo}')
        return snapshot_download(repo, revision=revision, allow_patterns=patterns, local_files_only=bool(reason))


def fetch_weights(source: str) -> str:
    """Returns what :func:`fetch_file` does; of ``hf://<owner>/<repo>[@<revision>]`` a folder with all its weights.

    These are the ``model*.safetensors`` of transformers, or else all ``.safetensors``.
    """
    match = re.fullmatch(r'hf://([^/@]+/[^/@]+)(?:@([^/]+))?', source)
    if match is None:
        return fetch_file(source)
    revision = match[2] and urllib.parse.unquote(match[2])
    for pattern in ('model*.safetensors', '*.safetensors'):
        folder = fetch_repository(match[1], revision, [pattern])
        if glob.glob(osp.join(glob.escape(folder), pattern)):
            return folder
    raise CheckpointError(f'{source}: got no .safetensors file, expected one; name a file in it')


def why_no_hub(timeout: float | None = None) -> str:
    """Returns in a line why the Hub does not answer within a timeout (``HF_HUB_ETAG_TIMEOUT``), or ''."""
    try:
        from huggingface_hub import constants
        from huggingface_hub.utils import get_session
        if constants.HF_HUB_OFFLINE:
            return 'HF_HUB_OFFLINE is set'
        get_session().head(constants.ENDPOINT, timeout=timeout or constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:  # of the HTTP library that huggingface_hub uses
        return first_line(error)
    return ''


def _parse_hub(source: str) -> tuple[str, str | None, str]:
    match = re.fullmatch(r'hf://([^/@]+/[^/@]+)(?:@([^/]+))?/(.+)', source)
    if match is None:
        raise CheckpointError(f"address: got '{source}', expected hf://<owner>/<repo>[@<revision>]/<file>")
    repo, revision, filename = match.groups()
    # A revision with slashes, such as refs/pr/1, is written with %2F.
    return repo, revision and urllib.parse.unquote(revision), filename


@contextlib.contextmanager
def _hub_errors(source: str, unreached: str = '') -> Iterator[None]:
    """Turns what ``huggingface_hub`` raises into one line; ``unreached`` says why the Hub was not asked."""
    repo, _, filename = _parse_hub(source)
    page = f'https://huggingface.co/{repo}'
    try:
        from huggingface_hub import constants
        from huggingface_hub.utils import (
            EntryNotFoundError,
            LocalEntryNotFoundError,
            OfflineModeIsEnabled,
            RepositoryNotFoundError,
        )
    except ImportError as error:
        raise CheckpointError(f'{source} needs huggingface_hub: pip install huggingface_hub') from error
    try:
        yield
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        why = 'the Hub cannot be reached' + (f' ({unreached})' if unreached else '')
        why = 'HF_HUB_OFFLINE is set' if constants.HF_HUB_OFFLINE else why
        raise CheckpointError(f'{source} is not in the cache ({constants.HF_HUB_CACHE}) and {why}; fetch it once '
                              'with a network') from error
    except EntryNotFoundError as error:
        raise CheckpointError(f"{source}: got '{filename}', which {page} does not have; check its name") from error
    except RepositoryNotFoundError as error:  # also where access is restricted
        raise CheckpointError(f'{source}: no access to {page}; check that it exists, accept its terms there if it asks '
                              'for it, and set HF_TOKEN') from error
    except Exception as error:
        raise CheckpointError(f'{source}: {first_line(error)}; check {page} and the network') from error


def sha256_of(path: str) -> str:
    """Returns the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def is_cached(repo: str, path: str, revision: str | None = None) -> bool:
    """Whether the Hub's cache on this machine has a file of a repository."""
    from huggingface_hub import try_to_load_from_cache
    return isinstance(try_to_load_from_cache(repo, path, revision=revision), str)
