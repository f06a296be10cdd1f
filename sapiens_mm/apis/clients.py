"""Files of the page's clients: each client may name and read what the server received from it or made for it."""
import json
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from ..utils.files import parse_json

#: What is said about every file that a client may not name, whether it exists or not.
REFUSED = 'this file was not received from this page, or is no longer kept; upload it again'
COOKIE = 'sapiens_mm_client'
_API = '/gradio_api/'
_MAX_BODY = 2**20
_MAX_UPLOADS = 64  # of all clients
_KEPT = 3600  # seconds that files stay where no page is open
#: What the page asks of Gradio; Gradio has more ways to reach files.
_READS = ('info', 'startup-events', 'app_id', 'theme.css', 'queue/status', 'upload_progress', 'user', 'login_check')


class Clients:
    """Who uploaded which file, and where the results of each client are.

    Args:
        folder: Of uploads and results.
        shared: Files that every client may use: the examples.
    """

    def __init__(self, folder: str | os.PathLike, shared: Collection[str] = ()):
        self.folder, self.shared = os.fspath(folder), set(shared)
        self._uploads: OrderedDict[tuple[str, str], float] = OrderedDict()  # (client, path) -> time
        self._results: dict[str, tuple[str, float]] = {}
        self._pages: dict[str, int] = {}  # that are open
        self._running: list[tuple[str, str]] = []  # (client, path)
        self._asked: dict[str, list[str]] = {}  # session -> paths that it asked to run
        self._sessions: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.RLock()

    def receive(self, client: str, paths: list[str]) -> None:
        """Remembers what a client uploaded. The oldest uploads are removed where there are too many."""
        with self._lock:
            self._expire()
            for path in paths:
                self._uploads.pop((client, path), None)
                self._uploads[client, path] = time.monotonic()
            for owner, path in list(self._uploads)[:max(0, len(self._uploads) - _MAX_UPLOADS)]:
                self._drop(owner, path)

    def owns(self, client: str | None, path: Any) -> bool:
        """Whether a client may run models on a file: it uploaded that, or the file is an example."""
        with self._lock:
            return isinstance(path, str) and (path in self.shared or (client, path) in self._uploads)

    def may_read(self, client: str | None, path: str) -> bool:
        """Whether a client may fetch a file: also a result of its last run."""
        with self._lock:
            folder = self._results.get(client, ('', 0))[0]
            return self.owns(client, path) or bool(folder) and (
                os.path.dirname(path) == folder and os.path.basename(path) not in ('', '.', '..'))

    def may_use(self, client: str, session: Any) -> bool:
        """Whether a session belongs to a client; the first one that names it owns it."""
        with self._lock:
            if not isinstance(session, str) or not 0 < len(session) <= 100:
                return False
            while len(self._sessions) > 10_000:
                self._sessions.popitem(last=False)
            return self._sessions.setdefault(session, client) == client

    @contextmanager
    def run(self, client: str, path: str) -> Iterator[str]:
        """A folder for the results of a run, which takes the place of the client's last one.

        The upload is removed after an error, and at any end if the client has no page open, on which it is shown.
        """
        with self._lock:
            self._expire()
            self._remove_results(client)
            folder = tempfile.mkdtemp(prefix='run_', dir=self.folder)
            self._results[client] = folder, time.monotonic()
            self._running.append((client, path))
        failed = True
        try:
            yield folder
            failed = False
        finally:
            with self._lock:
                self._running.remove((client, path))
                if failed:
                    shutil.rmtree(folder, ignore_errors=True)
                if failed or not self._pages.get(client):
                    self._drop(client, path)

    def asked(self, session: str, paths: list[str]) -> None:
        """A session waits for runs on files."""
        with self._lock:
            while len(self._asked) > 10_000:
                del self._asked[next(iter(self._asked))]
            self._asked.setdefault(session, []).extend(paths)

    def left(self, client: str, session: str) -> None:
        """A session waits no longer. If the client has no page open, files go that it asked for and that do not run."""
        with self._lock:
            for path in self._asked.pop(session, ()):
                if not self._pages.get(client) and (client, path) not in self._running:
                    self._drop(client, path)

    def opened(self, client: str) -> None:
        """A page of the client is open."""
        with self._lock:
            self._pages[client] = self._pages.get(client, 0) + 1

    def closed(self, client: str) -> None:
        """A page of the client was closed; with the last one its files go."""
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
        if self._uploads.pop((client, path), None) is None or any(other == path for _, other in self._uploads):
            return  # an example, or uploaded by another client, too
        with suppress(OSError):
            os.remove(path)
            os.rmdir(os.path.dirname(path))  # if it is empty

    def _remove_results(self, client: str) -> None:
        shutil.rmtree(self._results.pop(client, (None, 0))[0] or '', ignore_errors=True)

    def _expire(self) -> None:
        old = time.monotonic() - _KEPT
        for (client, path), since in list(self._uploads.items()):
            if since < old and not self._pages.get(client):
                self._drop(client, path)
        for client, (_, since) in list(self._results.items()):
            if since < old and not self._pages.get(client) and all(owner != client for owner, _ in self._running):
                self._remove_results(client)


def client_of(headers: Any) -> str | None:
    """The client that a request is from, by its cookie."""
    try:
        found = SimpleCookie(headers.get('cookie') or '').get(COOKIE)
    except CookieError:
        return None
    return found.value if found and 32 <= len(found.value) <= 64 and found.value.isalnum() else None


class Gate:
    """Lets through to Gradio what the page asks for, and of files only those of the client.

    Args:
        app: Gradio's, by ASGI.
        clients: Who may name and read what.
        run_index: Number of the function whose first two inputs are files.
    """

    def __init__(self, app: Callable, clients: Clients, run_index: int):
        self.app, self.clients, self.run_index = app, clients, run_index

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        """Answers a request, or has Gradio answer it."""
        if scope['type'] != 'http':
            if scope['type'] == 'lifespan':
                await self.app(scope, receive, send)
            return
        headers = {name.decode('latin-1').lower(): value.decode('latin-1') for name, value in scope['headers']}
        client = client_of(headers)
        if client is None:
            client = secrets.token_hex(16)
            send = _with_cookie(send, client)
        path = scope['path']
        if scope['method'] in ('GET', 'HEAD'):
            await self._read(client, path, scope, receive, send)
        elif scope['method'] == 'OPTIONS':
            await self.app(scope, receive, send)
        elif scope['method'] == 'POST' and path.rstrip('/') == f'{_API}upload':
            await self.app(scope, receive, self._registering(client, send))
        elif scope['method'] == 'POST':
            await self._post(client, path.rstrip('/'), scope, receive, send)
        else:
            await _refuse(send)

    async def _read(self, client: str, path: str, scope: dict, receive: Callable, send: Callable) -> None:
        name = path.removeprefix(_API) if path.startswith(_API) else None
        if name is None:
            # Gradio's own pages and files; what is outside of them is 404 there.
            allowed = not path.lstrip('/').startswith(('monitoring', 'file', 'proxy', 'stream', 'call', 'run', 'login'))
        elif name.startswith('file='):
            allowed = self.clients.may_read(client, name.removeprefix('file='))
        elif name.startswith('heartbeat/'):
            if self.clients.may_use(client, name.removeprefix('heartbeat/')):
                self.clients.opened(client)
                try:
                    await self.app(scope, receive, send)
                finally:
                    self.clients.closed(client)
                return
            allowed = False
        elif name == 'queue/data':
            session = parse_qs(scope['query_string'].decode('latin-1')).get('session_hash', [''])
            if len(session) == 1 and self.clients.may_use(client, session[0]):
                try:
                    await self.app(scope, receive, send)
                finally:  # it has ended, or the client has left
                    self.clients.left(client, session[0])
                return
            allowed = False
        else:
            allowed = name.rstrip('/') in _READS
        await (self.app(scope, receive, send) if allowed else _refuse(send))

    async def _post(self, client: str, path: str, scope: dict, receive: Callable, send: Callable) -> None:
        try:
            content = parse_json(await _body(receive))
            posted = self._checked(client, path, content)
        except ValueError:
            await _refuse(send)
            return
        body = _to_bytes(posted)
        headers = [(name, value) for name, value in scope['headers'] if name.lower() not in (
            b'content-length', b'content-type', b'transfer-encoding')]
        headers += [(b'content-length', str(len(body)).encode()), (b'content-type', b'application/json')]
        waiting = [dict(type='http.request', body=body, more_body=False)]

        async def again() -> dict:
            return waiting.pop() if waiting else await receive()

        await self.app({**scope, 'headers': headers}, again, send)
        if path == f'{_API}cancel':
            self.clients.left(client, posted['session_hash'])

    def _checked(self, client: str, path: str, content: Any) -> dict:
        """What is handed on of a request; a ValueError where it is refused."""
        name = path.removeprefix(_API)
        if not isinstance(content, dict) or not path.startswith(_API) or not self.clients.may_use(
                client, content.get('session_hash')):
            raise ValueError(REFUSED)
        if name in ('cancel', 'reset'):
            fields = 'session_hash', 'fn_index', 'event_id'
        elif name == 'queue/join' or name.startswith('run/'):
            fields = 'session_hash', 'fn_index', 'trigger_id', 'data'
            index, data = content.get('fn_index'), content.get('data')
            if type(index) is not int or not isinstance(data, list):  # others may stand for the same number
                raise ValueError(REFUSED)
            if index == self.run_index and (name != 'queue/join' or not all(
                    file is None or isinstance(file, dict) and 'path' in file for file in data[:2])):
                raise ValueError(REFUSED)
        else:
            raise ValueError(REFUSED)
        content = {field: self._own_files(client, content[field]) for field in fields if field in content}
        if name == 'queue/join':
            self.clients.asked(content['session_hash'], [
                file['path'] for file in content['data'] if isinstance(file, dict) and 'path' in file])
        return content

    def _own_files(self, client: str, value: Any) -> Any:
        """The value, with nothing but the path in what stands for a file of the client."""
        if isinstance(value, list):
            return [self._own_files(client, item) for item in value]
        if not isinstance(value, dict):
            return value
        if 'path' not in value:
            return {name: self._own_files(client, item) for name, item in value.items()}
        if not self.clients.owns(client, value['path']):
            raise ValueError(REFUSED)
        return dict(path=value['path'], meta={'_type': 'gradio.FileData'})

    def _registering(self, client: str, send: Callable) -> Callable:
        """Sends the answer to an upload once its files are known to be the client's."""
        start, body = [], bytearray()

        async def wrapped(message: dict) -> None:
            if message['type'] == 'http.response.start':
                start.append(message)
                return
            body.extend(message.get('body', b''))
            if message.get('more_body'):
                return
            if start[0]['status'] == 200:
                self.clients.receive(client, parse_json(bytes(body)))
            await send(start[0])
            await send(dict(type='http.response.body', body=bytes(body)))

        return wrapped


def _to_bytes(content: dict) -> bytes:
    """A request as JSON."""
    return json.dumps(content).encode()


async def _body(receive: Callable) -> bytes:
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message['type'] != 'http.request':
            raise ValueError('the client has left')
        body.extend(message.get('body', b''))
        if len(body) > _MAX_BODY:
            raise ValueError('the request is too large')
        more = message.get('more_body')
    return bytes(body)


def _with_cookie(send: Callable, client: str) -> Callable:
    cookie = f'{COOKIE}={client}; Path=/; HttpOnly; SameSite=Strict'.encode()

    async def wrapped(message: dict) -> None:
        if message['type'] == 'http.response.start':
            message = {**message, 'headers': [*message.get('headers', ()), (b'set-cookie', cookie)]}
        await send(message)

    return wrapped


async def _refuse(send: Callable) -> None:
    body = _to_bytes(dict(detail=REFUSED))
    await send(dict(type='http.response.start', status=403, headers=[
        (b'content-type', b'application/json'), (b'content-length', str(len(body)).encode())]))
    await send(dict(type='http.response.body', body=body))
