"""Files of the page's clients: each client may name and read what the server received from it or made for it."""
import asyncio
import json
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qs

from ..utils.files import parse_json
from .reading import InputError

#: What is said about every file that a client may not name, whether it exists or not.
REFUSED = 'this file was not received from this page, or is no longer kept; upload it again'
COOKIE = 'sapiens_mm_client'
_API = '/gradio_api/'
_MAX_BODY = 2**20
_MAX_DEPTH = 16  # of a request's JSON; the page sends less
_MAX_UPLOADS = 64  # of all clients
_MAX_OWN = 8  # uploads of a client
_MAX_AT_ONCE = 8  # uploads that are being received
_UPLOAD_TIME = 600  # seconds that receiving an upload may take
_MAX_RESULTS = 64  # folders, one for each client
_KEPT = 3600  # seconds that files stay where no page is open
_EVERY = 60  # seconds between two looks for files that are too old
#: What the page asks of Gradio; Gradio has more ways to reach files.
_READS = ('info', 'startup-events', 'app_id', 'theme.css', 'queue/status', 'user', 'login_check')


class Clients:
    """Who uploaded which file, and where the results of each client are.

    Args:
        folder: Of uploads and results.
        shared: Files that every client may use: the examples. They are never removed.

    Attributes:
        waiting: Gives the clients and files of the runs that wait.
    """

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
        """Remembers what a client uploaded, and makes room for it.

        Where there are too many uploads, the client's own go first, then those of clients without an open page, the
        oldest first. If all of these wait or run, the new ones are not kept.
        """
        with self._lock:
            self.expire()
            for path in paths:
                if path not in self.shared:
                    self._uploads.pop((client, path), None)
                    self._uploads[client, path] = time.monotonic()
            new = [(client, path) for path in paths]
            own = [entry for entry in self._uploads if entry[0] == client and entry not in new]
            others = [entry for entry in self._uploads if entry[0] != client and not self._pages.get(entry[0])]
            self._shrink(len(own) + len(new) - _MAX_OWN, [*own, *new])
            self._shrink(len(self._uploads) - _MAX_UPLOADS, [*own, *others, *new])

    def _shrink(self, number: int, entries: list[tuple[str, str]]) -> None:
        """Drops a number of uploads, the first of these that neither wait nor run."""
        free = [entry for entry in entries if entry in self._uploads and not self._is_busy(*entry)]
        for entry in free[:max(0, number)]:
            self._drop(*entry)

    def _is_busy(self, client: str, path: str) -> bool:
        return (client, path) in self._running or any(
            owner == client and path in paths for owner, paths in self.waiting())

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

        The upload is removed after an InputError, and at any end if the client has no page open, on which it is shown.
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
        if self._uploads.pop((client, path), None) is None or path in self.shared or any(
                other == path for _, other in self._uploads):
            return  # an example, or uploaded by another client, too
        with suppress(OSError):
            os.remove(path)
            os.rmdir(os.path.dirname(path))  # if it is empty

    def _remove_results(self, client: str) -> None:
        shutil.rmtree(self._results.pop(client, (None, 0))[0] or '', ignore_errors=True)

    def expire(self) -> None:
        """Removes the old files of clients without an open page."""
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
        """Removes old files from time to time, also while no client asks for anything."""
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
    """The client that a request is from, by its cookie; cookies of other pages may have any form."""
    for cookie in (headers.get('cookie') or '').split(';'):
        name, _, value = cookie.strip().partition('=')
        if name == COOKIE and 32 <= len(value) <= 64 and value.isascii() and value.isalnum():
            return value
    return None


class Gate:
    """Lets through to Gradio what the page asks for, and of files only those of the client.

    Args:
        app: Gradio's, by ASGI.
        clients: Who may name and read what.
        run_index: Number of the function whose first two inputs are files.
        inputs: For each input of a function, by its number, the values that it may have; None: it is not checked.
        max_upload: Bytes of a file.
        max_waiting: At most so many runs of a client wait.
    """

    def __init__(self, app: Callable, clients: Clients, run_index: int, inputs: Mapping[int, Sequence[Sequence | None]],
                 max_upload: int, max_waiting: int):
        self.app, self.clients, self.run_index, self.inputs = app, clients, run_index, inputs
        self.max_upload, self.max_waiting = max_upload, max_waiting
        self._receiving: list[str] = []  # clients whose uploads are on their way
        self._joining: list[str] = []  # clients whose requests Gradio has not put into its queue yet

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        """Answers a request, or has Gradio answer it."""
        if scope['type'] != 'http':
            if scope['type'] == 'lifespan':
                await self.app(scope, receive, send)
            return
        cookies = [value.decode('latin-1') for name, value in scope['headers'] if name.lower() == b'cookie']
        client = client_of(dict(cookie='; '.join(cookies)))
        if client is None:
            client = secrets.token_hex(16)
            send = _with_cookie(send, client)
        headers = [header for header in scope['headers'] if header[0].lower() != b'cookie']
        scope = {**scope, 'headers': [*headers, (b'cookie', f'{COOKIE}={client}'.encode())]}
        path = scope['path']
        if scope['method'] in ('GET', 'HEAD'):
            await self._read(client, path, scope, receive, send)
        elif scope['method'] == 'OPTIONS':
            await self.app(scope, receive, send)
        elif scope['method'] == 'POST' and path.rstrip('/') == f'{_API}upload':
            await self._upload(client, scope, receive, send)
        elif scope['method'] == 'POST':
            await self._post(client, path.rstrip('/'), scope, receive, send)
        else:
            await _refuse(send)

    async def _read(self, client: str, path: str, scope: dict, receive: Callable, send: Callable) -> None:
        name = path.removeprefix(_API) if path.startswith(_API) else None
        if name is None:
            # Gradio's own pages and files; what is outside of them is 404 there.
            allowed = not path.lstrip('/').startswith(('monitoring', 'file', 'proxy', 'stream', 'call', 'run', 'login'))
            allowed = allowed and _is_plain(scope)
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
            allowed = name.rstrip('/') in _READS and _is_plain(scope)
        await (self.app(scope, receive, send) if allowed else _refuse(send))

    async def _post(self, client: str, path: str, scope: dict, receive: Callable, send: Callable) -> None:
        try:
            content = parse_json(await _body(receive))
            posted = self._checked(client, path, content)
        except ValueError:
            await _refuse(send)
            return
        if path == f'{_API}queue/join' and posted['fn_index'] == self.run_index:
            waiting = sum(owner == client for owner, _ in self.clients.waiting()) + self._joining.count(client)
            if waiting >= self.max_waiting:
                # The page has its own text for 503.
                await _answer(send, 429, f'{waiting} of your runs wait, which is the most for one client; run this '
                              'when one of them is done')
                return
            self._joining.append(client)
            try:
                await self._hand_on(client, path, posted, scope, receive, send)
            finally:
                self._joining.remove(client)
            return
        await self._hand_on(client, path, posted, scope, receive, send)

    async def _hand_on(self, client: str, path: str, posted: dict, scope: dict, receive: Callable, send: Callable
                       ) -> None:
        """Gives Gradio what was checked of a request."""
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
            # Values of other types may stand for the same number.
            if type(index) is not int or not isinstance(data, list) or not self._may_be_inputs(index, data):
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

    def _may_be_inputs(self, index: int, data: list) -> bool:
        """Whether a function can have these inputs; Gradio prints a traceback where it cannot."""
        offered = self.inputs.get(index)
        return offered is not None and len(data) == len(offered) and all(
            values is None or any(type(given) is type(value) and given == value for value in values)
            for given, values in zip(data, offered, strict=True))

    def _own_files(self, client: str, value: Any, depth: int = 0) -> Any:
        """The value, with nothing but the path in what stands for a file of the client."""
        if depth > _MAX_DEPTH:
            raise ValueError(REFUSED)
        if isinstance(value, list):
            return [self._own_files(client, item, depth + 1) for item in value]
        if not isinstance(value, dict):
            return value
        if 'path' not in value:
            return {name: self._own_files(client, item, depth + 1) for name, item in value.items()}
        if not self.clients.owns(client, value['path']):
            raise ValueError(REFUSED)
        return dict(path=value['path'], meta={'_type': 'gradio.FileData'})

    async def _upload(self, client: str, scope: dict, receive: Callable, send: Callable) -> None:
        """Receives one file into a folder of its own; of a request that does not end well nothing stays.

        Gradio would keep what it received of such a request, and give two clients one file for the same content.
        """
        from starlette.exceptions import HTTPException
        from starlette.formparsers import MultiPartException
        from starlette.requests import ClientDisconnect, Request
        if len(self._receiving) >= _MAX_AT_ONCE or self._receiving.count(client) >= _MAX_AT_ONCE // 2:
            await _answer(send, 503, 'too many files are being uploaded; try again in a minute')
            return
        self._receiving.append(client)
        try:
            request = Request(scope, _limited(receive, self.max_upload + _MAX_BODY))
            if not request.headers.get('content-type', '').startswith('multipart/form-data'):
                raise ValueError(REFUSED)
            form = await asyncio.wait_for(request.form(max_files=1, max_fields=0), _UPLOAD_TIME)
            try:
                path = await asyncio.to_thread(self._save, form.get('files'))
            finally:
                await form.close()
            self.clients.receive(client, [path])
            if self.clients.owns(client, path):
                await _send(send, 200, [path])
            else:
                await _answer(send, 503, 'the page has no room for other files; try again in a minute')
        except _TooLarge:
            await _answer(send, 413, f'the size of the file is more than {self.max_upload >> 20} MB; take a smaller '
                          'one, or start the page with a larger --max-upload')
        except (HTTPException, MultiPartException, ValueError):
            await _answer(send, 400, 'an upload is one file, sent whole; send it again')
        except asyncio.TimeoutError:
            await _answer(send, 408, f'the upload took more than {_UPLOAD_TIME} s; try again')
        except ClientDisconnect:
            pass  # no one waits for an answer
        finally:
            self._receiving.remove(client)

    def _save(self, upload: Any) -> str:
        """The path of the file that a form has."""
        if upload is None or isinstance(upload, str):
            raise ValueError(REFUSED)
        if upload.size > self.max_upload:
            raise _TooLarge
        name = ''.join(char for char in os.path.basename(upload.filename or '') if char.isalnum() or char in '._- ')
        folder = tempfile.mkdtemp(prefix='upload_', dir=self.clients.folder)
        try:
            path = os.path.join(folder, f'{name[-100:].strip(". ") or "file"}')
            with open(path, 'wb') as file:
                shutil.copyfileobj(upload.file, file)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return path


class _TooLarge(Exception):
    """An upload has too many bytes."""


def _limited(receive: Callable, most: int) -> Callable:
    """Receives no more bytes than these."""
    left = most

    async def limited() -> dict:
        nonlocal left
        message = await receive()
        left -= len(message.get('body', b''))
        if left < 0:
            raise _TooLarge
        return message

    return limited


def _is_plain(scope: dict) -> bool:
    """Whether a request names no other page than the one that there is, and no saved state of one."""
    asked = parse_qs(scope['query_string'].decode('latin-1'))
    return not {'page', 'deep_link'} & set(asked)


def _to_bytes(content: Any) -> bytes:
    """A request or an answer as JSON."""
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
    await _answer(send, 403, REFUSED)


async def _answer(send: Callable, status: int, text: str) -> None:
    await _send(send, status, dict(detail=text))


async def _send(send: Callable, status: int, content: Any) -> None:
    body = _to_bytes(content)
    await send(dict(type='http.response.start', status=status, headers=[
        (b'content-type', b'application/json'), (b'content-length', str(len(body)).encode())]))
    await send(dict(type='http.response.body', body=body))
