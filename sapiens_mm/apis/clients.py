"""Files of the web page's clients: each may use its own uploads and read the results of its last run."""
import os
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from .frames import InputError

COOKIE = 'sapiens_mm_client'
_MAX_UPLOADS = 64  # of all clients
_MAX_OWN = 8  # uploads of a client
_MAX_RESULTS = 64  # folders, one for each client
_MAX_SESSIONS = 10_000
_KEPT = 3600  # seconds for which files stay where no page is open
_EVERY = 60  # seconds between two removals of old files


class Clients:
    """Uploads and results of the clients in a folder; ``shared`` files (examples) are never removed."""

    def __init__(self, folder: str | os.PathLike, shared: Collection[str] = ()):
        self.folder, self.shared = os.fspath(folder), set(shared)
        self.waiting: Callable[[], Iterable[tuple[str | None, Collection[str]]]] = lambda: ()
        self._uploads: OrderedDict[tuple[str, str], float] = OrderedDict()  # (client, path) -> time
        self._results: dict[str, tuple[str, float]] = {}
        self._pages: dict[str, int] = {}  # that are open
        self._running: list[tuple[str, str]] = []  # (client, path)
        self._asked: dict[str, list[str]] = {}  # session -> paths that it asked to run
        self._sessions: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.RLock()

    def receive(self, client: str, paths: list[str]) -> None:
        """Registers uploads of a client.

        If there are too many uploads, the client's own are removed first, then those of clients without an open page,
        oldest first. If all of these are queued or running, the new ones are removed.
        """
        with self._lock:
            self.expire()
            for path in paths:
                if path not in self.shared:
                    self._uploads.pop((client, path), None)
                    self._uploads[client, path] = time.monotonic()
            new = [(client, path) for path in paths]
            earlier = [entry for entry in self._uploads if entry[0] == client and entry not in new]
            others = [entry for entry in self._uploads if entry[0] != client and not self._pages.get(entry[0])]
            self._shrink(len(earlier) + len(new) - _MAX_OWN, [*earlier, *new])
            self._shrink(len(self._uploads) - _MAX_UPLOADS, [*earlier, *others, *new])

    def _shrink(self, number: int, entries: list[tuple[str, str]]) -> None:
        free = [entry for entry in entries if entry in self._uploads and not self._is_busy(*entry)]
        for entry in free[:max(0, number)]:
            self._drop(*entry)

    def _is_busy(self, client: str, path: str) -> bool:
        return (client, path) in self._running or any(
            owner == client and path in paths for owner, paths in self.waiting())

    def owns(self, client: str | None, path: Any) -> bool:
        with self._lock:
            return isinstance(path, str) and (path in self.shared or (client, path) in self._uploads)

    def may_read(self, client: str | None, path: str) -> bool:
        """Returns whether a client may read a file: its own upload, or a result of its last run."""
        with self._lock:
            folder = self._results.get(client, ('', 0))[0]
            return self.owns(client, path) or bool(folder) and (
                os.path.dirname(path) == folder and os.path.basename(path) not in ('', '.', '..'))

    def may_use(self, client: str, session: Any) -> bool:
        """Returns whether a session belongs to a client, which is the first client that names it."""
        with self._lock:
            if not isinstance(session, str) or not 0 < len(session) <= 100:
                return False
            while len(self._sessions) > _MAX_SESSIONS:
                self._sessions.popitem(last=False)
            return self._sessions.setdefault(session, client) == client

    @contextmanager
    def run(self, client: str, path: str) -> Iterator[str]:
        """Yields a folder for the results of a run; the results of the client's last run are removed.

        The upload is removed after an InputError, and after any run if the client has no open page.
        """
        with self._lock:
            self.expire()
            self._remove_results(client)
            rest = [owner for owner in self._results if all(owner != running for running, _ in self._running)]
            for owner in sorted(rest, key=lambda owner: (owner in self._pages, self._results[owner][1]))[
                    :max(0, len(self._results) + 1 - _MAX_RESULTS)]:
                self._remove_results(owner)
            folder = tempfile.mkdtemp(prefix='run_', dir=self.folder)
            self._results[client] = folder, time.monotonic()
            self._running.append((client, path))
        failed, at_fault = True, False
        try:
            yield folder
            failed = False
        except InputError:
            at_fault = True
            raise
        finally:
            with self._lock:
                self._running.remove((client, path))
                if failed:
                    shutil.rmtree(folder, ignore_errors=True)
                if at_fault or not self._pages.get(client):
                    self._drop(client, path)

    def asked(self, session: str, paths: list[str]) -> None:
        with self._lock:
            while len(self._asked) > _MAX_SESSIONS:
                del self._asked[next(iter(self._asked))]
            self._asked.setdefault(session, []).extend(paths)

    def left(self, client: str, session: str) -> None:
        """Ends a session: if its client has no open page, its files are removed unless they are running."""
        with self._lock:
            for path in self._asked.pop(session, ()):
                if not self._pages.get(client) and (client, path) not in self._running:
                    self._drop(client, path)

    def opened(self, client: str) -> None:
        with self._lock:
            self._pages[client] = self._pages.get(client, 0) + 1

    def closed(self, client: str) -> None:
        with self._lock:
            self._pages[client] -= 1
            if not self._pages[client]:
                del self._pages[client]
                for owner, path in list(self._uploads):
                    if owner == client and (client, path) not in self._running:
                        self._drop(owner, path)
                if all(owner != client for owner, _ in self._running):
                    self._remove_results(client)

    def _drop(self, client: str, path: str) -> None:
        if self._uploads.pop((client, path), None) is None or path in self.shared or any(
                other == path for _, other in self._uploads):
            return  # an example, or also another client's upload
        with suppress(OSError):
            os.remove(path)
            os.rmdir(os.path.dirname(path))  # only if empty

    def _remove_results(self, client: str) -> None:
        shutil.rmtree(self._results.pop(client, (None, 0))[0] or '', ignore_errors=True)

    def expire(self) -> None:
        with self._lock:
            old = time.monotonic() - _KEPT
            for (client, path), since in list(self._uploads.items()):
                if since < old and not self._pages.get(client) and not self._is_busy(client, path):
                    self._drop(client, path)
            for client, (_, since) in list(self._results.items()):
                if since < old and not self._pages.get(client) and all(owner != client for owner, _ in self._running):
                    self._remove_results(client)

    @contextmanager
    def expiring(self) -> Iterator[None]:
        ended = threading.Event()

        def work() -> None:
            while not ended.wait(_EVERY):
                self.expire()

        threading.Thread(target=work, daemon=True).start()
        try:
            yield
        finally:
            ended.set()


def client_of(headers: Any) -> str | None:
    """Returns the client of a request by its cookie; cookies of other pages may have any form."""
    for cookie in (headers.get('cookie') or '').split(';'):
        name, _, value = cookie.strip().partition('=')
        if name == COOKIE and 32 <= len(value) <= 64 and value.isascii() and value.isalnum():
            return value
    return None
