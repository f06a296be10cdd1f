"""Fetches checkpoint files from the web and from the Hugging Face Hub."""
import contextlib
import glob
import hashlib
import http.client
import json
import os
import os.path as osp
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator

import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.logging import print_log

from ..utils.files import read_json, replacing

#: A download that brings fewer than so many bytes within so many seconds has failed.
STALL_BYTES, STALL_SECONDS = 1 << 20, 300.

__all__ = ['CheckpointError', 'check_signature', 'fetch_file', 'fetch_with_record', 'sha256_of']


class CheckpointError(RuntimeError):
    """A checkpoint cannot be had or read; the message says why and what to do."""


def fetch_file(source: str) -> str:
    """Makes a file local.

    Args:
        source: ``http(s)://...``, kept in ``torch.hub``'s folder, where MMEngine keeps its own downloads;
            ``hf://<owner>/<repo>[@<revision>]/<file>``, kept in the cache of ``huggingface_hub``, which honours
            ``HF_ENDPOINT``, ``HF_TOKEN`` and ``HF_HUB_OFFLINE``; anything else is taken for a path.

    Returns:
        Its path.

    Raises:
        CheckpointError: It cannot be fetched.
    """
    if source.startswith('hf://'):
        return _fetch_from_hub(source)
    if source.startswith(('http://', 'https://')):
        return _fetch_from_http(source)
    return osp.expanduser(source)


def fetch_with_record(source: str, folder: str) -> str:
    """Fetches a file of the Hugging Face Hub into a folder and writes beside it what it is.

    The record ``<file>.json`` has its source, commit, size in bytes and SHA-256; the latter is compared with the Hub's
    own. A file that agrees with its record is not fetched again, and one that does not is.

    Args:
        source: ``hf://<owner>/<repo>[@<revision>]/<file>``.
        folder: Where the file goes, whatever folder it has in its repository.

    Returns:
        The path of the file.

    Raises:
        CheckpointError: It cannot be fetched, or is not what the Hub says it is.
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
            print_log(f'{path} is there and agrees with its record', logger='current')
            return path
        if damaged:
            print_log(f'{path} does not agree with {record_path}; it is fetched again', logger='current')
    with _hub_errors(source):
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
        # This first: without a network it fails at once, where the download retries for half a minute.
        metadata = get_hf_file_metadata(hf_hub_url(repo, filename, revision=revision))
        fetched = hf_hub_download(repo, filename, revision=revision, local_dir=folder, force_download=damaged)
    if osp.dirname(filename):
        os.replace(fetched, path)
        os.removedirs(osp.dirname(fetched))  # up to the first that is not empty
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


def check_signature(path: str, name: str | None = None) -> None:
    """Recognises by its first bytes what is commonly mistaken for a checkpoint.

    Raises:
        CheckpointError: The file, called ``name`` in the message, is empty, a Git LFS pointer or a web page.
    """
    name = name or path
    with open(path, 'rb') as file:
        head = file.read(512)
    if not head:
        raise CheckpointError(f'{name} is empty; get it again')
    if head.startswith(b'version https://git-lfs'):
        raise CheckpointError(f"{name} is a Git LFS pointer, not the weights; run 'git lfs pull' where it was cloned")
    if head.lstrip().lower().startswith((b'<!doctype', b'<html', b'<?xml')):
        raise CheckpointError(f'{name} is a web page, not a checkpoint; open its address in a browser to see what it '
                              'says (a login, a moved file), and get the file itself')


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
    """Downloads to ``path`` unless that exists; an interrupted download never gets that name."""
    from .checkpoint import check_whole
    if osp.exists(path):
        return
    os.makedirs(osp.dirname(path), exist_ok=True)
    _remove_stale(path)
    partial = f'{path}.{uuid.uuid4().hex}.partial'
    try:
        done, total = _Transfer(url, partial).run(osp.basename(path))
        if total and done != total:
            raise CheckpointError(f'{url}: the connection ended after {done} of {total} bytes; try again')
        check_signature(partial, url)
        check_whole(partial, url)  # where the server gives no length, nothing else tells that the connection broke
        os.replace(partial, path)
    except urllib.error.HTTPError as error:
        raise CheckpointError(f'{url}: the server answered {error.code} ({error.reason}); check the address') from error
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: of a port, or characters in it
        reason = _first_line(getattr(error, 'reason', error))
        raise CheckpointError(f'{url!r}: no download ({type(error).__name__}: {reason}); check the network, or put the '
                              f'file at {path}') from error
    finally:
        if osp.exists(partial):
            os.remove(partial)


def _remove_stale(path: str) -> None:
    """Removes what killed processes left of downloading a file; one under way is written to more often."""
    for partial in glob.glob(f'{glob.escape(path)}.*.partial'):
        with contextlib.suppress(OSError):  # another process may do so too
            if time.time() - osp.getmtime(partial) > 2 * STALL_SECONDS:
                os.remove(partial)


class _Transfer:
    """Copies an address to a file in another thread, since the time of a socket is that of one read."""

    def __init__(self, url: str, path: str):
        self.request = urllib.request.Request(url, headers={'User-Agent': 'sapiens_mm'})
        self.path, self.done, self.total = path, 0, 0
        self._error, self._given_up = None, False

    def run(self, name: str) -> tuple[int, int]:
        """Bytes that came, and that the server promised (0: none), once all are there; ``name`` is for the bar.

        Raises:
            TimeoutError: Too few come.
            Exception: What went wrong in the thread.
        """
        thread = threading.Thread(target=self._work, args=(name, ), daemon=True)
        thread.start()
        try:
            before = 0
            while thread.is_alive():
                thread.join(STALL_SECONDS)
                if thread.is_alive() and self.done - before < STALL_BYTES:
                    raise TimeoutError(f'got {self.done - before} bytes in {STALL_SECONDS:g} s, expected at '
                                       f'least {STALL_BYTES}')
                before = self.done
        finally:
            self._given_up = True
        if self._error:
            raise self._error
        return self.done, self.total

    def _work(self, name: str) -> None:
        try:
            self._copy(name)
        except BaseException as error:  # raised where the file is waited for
            self._error = error

    def _copy(self, name: str) -> None:
        from tqdm import tqdm
        with urllib.request.urlopen(self.request, timeout=60) as response, open(self.path, 'wb', 0) as file:
            self.total = int(response.headers.get('Content-Length') or 0)
            with tqdm(total=self.total or None, unit='B', unit_scale=True, desc=name, disable=None) as bar:
                while not self._given_up and (chunk := response.read1(1 << 20)):
                    file.write(chunk)
                    self.done += len(chunk)
                    bar.update(len(chunk))


def _fetch_from_hub(source: str) -> str:
    repo, revision, filename = _parse_hub(source)
    # Asked first, since without a network the download tries for half a minute, and says so each time. It keeps
    # processes from disturbing each other.
    reason = why_no_hub()
    with _hub_errors(source, reason):
        from huggingface_hub import hf_hub_download
        return hf_hub_download(repo, filename, revision=revision, local_files_only=bool(reason))


def why_no_hub(timeout: float | None = None) -> str:
    """Why the Hub does not answer within some seconds (``HF_HUB_ETAG_TIMEOUT``), in a line; empty where it does."""
    try:
        from huggingface_hub import constants
        from huggingface_hub.utils import get_session
        if constants.HF_HUB_OFFLINE:
            return 'HF_HUB_OFFLINE is set'
        get_session().head(constants.ENDPOINT, timeout=timeout or constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:  # of whichever library huggingface_hub asks by
        return _first_line(error)
    return ''


def _parse_hub(source: str) -> tuple[str, str | None, str]:
    match = re.fullmatch(r'hf://([^/@]+/[^/@]+)(?:@([^/]+))?/(.+)', source)
    if match is None:
        raise CheckpointError(f"'{source}' is not of the form hf://<owner>/<repo>[@<revision>]/<file>")
    repo, revision, filename = match.groups()
    # A revision with slashes, such as refs/pr/1, is written with %2F.
    return repo, revision and urllib.parse.unquote(revision), filename


@contextlib.contextmanager
def _hub_errors(source: str, unreached: str = '') -> Iterator[None]:
    """Turns what ``huggingface_hub`` raises into one line; ``unreached`` says why it was not asked."""
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
        raise CheckpointError(f"{source}: there is no file '{filename}' at {page}; check its name there") from error
    except RepositoryNotFoundError as error:  # also where access is restricted
        raise CheckpointError(f'{source}: no access to {page}; check that it exists, accept its terms there if it asks '
                              'for it, and set HF_TOKEN') from error
    except Exception as error:
        raise CheckpointError(f'{source}: {_first_line(error)}; check {page} and the network') from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip('.')


def sha256_of(path: str) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def is_cached(repo: str, path: str) -> bool:
    """Whether the hub's cache on this machine has a file of a repository."""
    from huggingface_hub import try_to_load_from_cache
    return isinstance(try_to_load_from_cache(repo, path), str)
