"""Gate before Gradio's server: forwards only requests of the page, with files of the requesting client only."""
import asyncio
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from ..utils.files import parse_json
from .clients import COOKIE, Clients, client_of

#: Answer about every file that a client may not use, whether it exists or not.
REFUSED = 'this file was not received from this page, or is no longer kept; upload it again'
_API = '/gradio_api/'
_MAX_BODY = 2**20  # bytes
_MAX_DEPTH = 16  # nesting of a request's JSON; the page sends less
_MAX_AT_ONCE = 8  # concurrent uploads
_UPLOAD_TIME = 600  # seconds
# The page's reads; Gradio has more ways to reach files.
_READS = ('info', 'startup-events', 'app_id', 'theme.css', 'queue/status', 'user', 'login_check')
# Paths of Gradio's outside of its API.
_CLOSED = ('monitoring', 'file', 'proxy', 'stream', 'call', 'run', 'login')


class Gate:
    """ASGI middleware of Gradio's app.

    ``max_upload`` limits the bytes of a file, ``max_waiting`` the queued runs of a client. The first two inputs of
    function ``run_index`` are files; ``inputs`` has the allowed values of the inputs by function (None: any).
    """

    def __init__(self, app: Callable, clients: Clients, run_index: int, inputs: Mapping[int, Sequence[Sequence | None]],
                 max_upload: int, max_waiting: int):
        self.app, self.clients, self.run_index, self.inputs = app, clients, run_index, inputs
        self.max_upload, self.max_waiting = max_upload, max_waiting
        self._receiving: list[str] = []  # client of each upload in progress
        self._joining: list[str] = []  # client of each request that Gradio has not queued yet

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope['type'] == 'lifespan':
            await self.app(scope, receive, send)
        if scope['type'] != 'http':
            return
        scope = {**scope, 'headers': list(scope['headers'])}
        headers = MutableHeaders(scope=scope)
        client = client_of(dict(cookie='; '.join(headers.getlist('cookie'))))
        if client is None:
            client = secrets.token_hex(16)
            send = _with_cookie(send, client)
        headers['cookie'] = f'{COOKIE}={client}'
        method, path = scope['method'], scope['path'].rstrip('/')
        if method in ('GET', 'HEAD'):
            await self._read(client, scope, receive, send)
        elif method == 'OPTIONS':
            await self.app(scope, receive, send)
        elif method == 'POST' and path == f'{_API}upload':
            if (answer := await self._upload(client, scope, receive)) is not None:
                await answer(scope, receive, send)
        elif method == 'POST':
            await self._post(client, path, scope, receive, send)
        else:
            await _answer(403, REFUSED)(scope, receive, send)

    async def _read(self, client: str, scope: dict, receive: Callable, send: Callable) -> None:
        path, query = scope['path'], parse_qs(scope['query_string'].decode('latin-1'))
        name, clients, end = path.removeprefix(_API) if path.startswith(_API) else None, self.clients, None
        plain = not {'page', 'deep_link'} & set(query)  # no other page, no saved state
        if name is None:
            allowed = plain and not path.lstrip('/').startswith(_CLOSED)
        elif name.startswith('file='):
            allowed = clients.may_read(client, name.removeprefix('file='))
        elif name.startswith('heartbeat/'):
            if allowed := clients.may_use(client, name.removeprefix('heartbeat/')):
                clients.opened(client)
                end = clients.closed, (client, )
        elif name == 'queue/data':
            session = query.get('session_hash', [''])
            if allowed := len(session) == 1 and clients.may_use(client, session[0]):
                end = clients.left, (client, session[0])
        else:
            allowed = plain and name.rstrip('/') in _READS
        try:
            await (self.app if allowed else _answer(403, REFUSED))(scope, receive, send)
        finally:  # also where the client has left
            if end:
                end[0](*end[1])

    async def _post(self, client: str, path: str, scope: dict, receive: Callable, send: Callable) -> None:
        try:
            content = self._checked(client, path, parse_json(await _body(Request(scope, receive))))
        except (ValueError, ClientDisconnect):
            await _answer(403, REFUSED)(scope, receive, send)
            return
        run = path == f'{_API}queue/join' and content['fn_index'] == self.run_index
        waiting = sum(owner == client for owner, _ in self.clients.waiting()) + self._joining.count(client)
        if run and waiting >= self.max_waiting:
            # The page has its own text for 503.
            await _answer(429, f'{waiting} of your runs wait, the most for one client; run this when one of them is '
                          'done')(scope, receive, send)
            return
        self._joining += [client] * run
        try:
            await self._forward(content, scope, receive, send)
        finally:
            if run:
                self._joining.remove(client)
        if path == f'{_API}cancel':
            self.clients.left(client, content['session_hash'])

    async def _forward(self, content: dict, scope: dict, receive: Callable, send: Callable) -> None:
        body = json.dumps(content).encode()
        headers = MutableHeaders(scope=scope)
        del headers['transfer-encoding']
        headers['content-length'], headers['content-type'] = str(len(body)), 'application/json'
        messages = [dict(type='http.request', body=body, more_body=False)]

        async def receive_checked() -> dict:
            return messages.pop() if messages else await receive()

        await self.app(scope, receive_checked, send)

    def _checked(self, client: str, path: str, content: Any) -> dict:
        name = path.removeprefix(_API)
        run = name == 'queue/join'
        if not isinstance(content, dict) or not path.startswith(_API) or not self.clients.may_use(
                client, content.get('session_hash')):
            raise ValueError(REFUSED)
        if name in ('cancel', 'reset'):
            fields = 'session_hash', 'fn_index', 'event_id'
        elif run or name.startswith('run/'):
            fields = 'session_hash', 'fn_index', 'trigger_id', 'data'
            index, data = content.get('fn_index'), content.get('data')
            # Values of other types may equal the same number.
            if type(index) is not int or not isinstance(data, list) or not self._are_allowed(index, data):
                raise ValueError(REFUSED)
            if index == self.run_index and not (run and all(
                    file is None or isinstance(file, dict) and 'path' in file for file in data[:2])):
                raise ValueError(REFUSED)
        else:
            raise ValueError(REFUSED)
        content = {field: self._own_files(client, content[field]) for field in fields if field in content}
        if run:
            self.clients.asked(content['session_hash'], [
                file['path'] for file in content['data'] if isinstance(file, dict) and 'path' in file])
        return content

    def _are_allowed(self, index: int, data: list) -> bool:
        """Returns whether a function accepts these inputs; for others Gradio would print a traceback."""
        offered = self.inputs.get(index)
        return offered is not None and len(data) == len(offered) and all(
            values is None or any(type(given) is type(value) and given == value for value in values)
            for given, values in zip(data, offered, strict=True))

    def _own_files(self, client: str, value: Any, depth: int = 0) -> Any:
        """Returns the value with each file reduced to its path; raises for files that are not the client's."""
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

    async def _upload(self, client: str, scope: dict, receive: Callable) -> JSONResponse | None:
        """Receives one file into a new folder, and removes everything if the request does not end well.

        Gradio's own route keeps parts of broken requests, and gives two clients the same file for the same content.
        """
        if len(self._receiving) >= _MAX_AT_ONCE or self._receiving.count(client) >= _MAX_AT_ONCE // 2:
            return _answer(503, 'too many files are being uploaded; try again in a minute')
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
                return JSONResponse([path])
            return _answer(503, 'the page has no room for other files; try again in a minute')
        except _TooLarge:
            return _answer(413, f'the size of the file is more than {self.max_upload >> 20} MB; upload a smaller '
                           'one, or start the page with a larger --max-upload')
        except (HTTPException, MultiPartException, ValueError):
            return _answer(400, 'an upload is one file, sent whole; send it again')
        except asyncio.TimeoutError:
            return _answer(408, f'the upload took more than {_UPLOAD_TIME} s; try again')
        except ClientDisconnect:
            return None
        finally:
            self._receiving.remove(client)

    def _save(self, upload: Any) -> str:
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
    pass


def _limited(receive: Callable, most: int) -> Callable:
    size = 0

    async def limited() -> dict:
        nonlocal size
        message = await receive()
        size += len(message.get('body', b''))
        if size > most:
            raise _TooLarge
        return message

    return limited


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY:
            raise ValueError('the request is too large')
    return bytes(body)


def _with_cookie(send: Callable, client: str) -> Callable:
    async def send_with_cookie(message: dict) -> None:
        if message['type'] == 'http.response.start':
            message.setdefault('headers', [])
            MutableHeaders(scope=message).append('set-cookie', f'{COOKIE}={client}; Path=/; HttpOnly; SameSite=Strict')
        await send(message)

    return send_with_cookie


def _answer(status: int, text: str) -> JSONResponse:
    return JSONResponse(dict(detail=text), status)
