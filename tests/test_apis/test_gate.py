"""Requests that the web page does not send."""
import asyncio
import json
import os

import pytest

pytest.importorskip('starlette')
from sapiens_mm.apis import gate as module  # noqa: E402
from sapiens_mm.apis.clients import COOKIE, Clients  # noqa: E402
from sapiens_mm.apis.gate import REFUSED, Gate  # noqa: E402

A, B = 'a' * 32, 'b' * 32


def ask(gate, method, path, messages=(), query='', kind='application/json', client=A):
    """Status and content of a gate's answer to what it receives."""
    sent, messages = [], list(messages)

    async def receive():
        return messages.pop(0) if messages else dict(type='http.disconnect')

    async def send(message):
        sent.append(message)

    scope = dict(type='http', method=method, path=path, query_string=query.encode(), headers=[
        (b'content-type', kind.encode()), (b'cookie', f'{COOKIE}={client}'.encode())])
    asyncio.run(gate(scope, receive, send))
    return (sent[0]['status'], json.loads(sent[1]['body'])) if sent else None


def body_of(*parts, more=False):
    return [dict(type='http.request', body=part, more_body=more or part is not parts[-1]) for part in parts]


@pytest.fixture
def clients(tmp_path):
    return Clients(tmp_path)


@pytest.fixture
def gate(clients):
    return Gate(lambda *args: pytest.fail('it was let through'), clients, 1, {0: [], 1: [None, None], 2: [range(3)]},
                100, 4)


def part(name, content):
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b'\r\n'


def send_file(gate, *parts, more=False, client=A):
    return ask(gate, 'POST', '/gradio_api/upload', body_of(*parts, more=more), kind='multipart/form-data; boundary=x',
               client=client)


@pytest.mark.parametrize(('parts', 'more', 'status'), [
    ((part('a.png', b'1')[:-2], ), True, None), ((part('a.png', b'1'), part('b.png', b'2')), True, 400),
    ((part('a.png', b'1')[:-2], ), False, 400), ((part('a.png', b'1'), part('b.png', b'2'), b'--x--'), False, 400),
    ((part('a.png', b'1'), part('b.png', b'2' * 101), b'--x--'), False, 400),
    ((part('a.png', b'2' * 101), b'--x--'), False, 413), ((part('a.png', b'2' * 2**21), ), True, 413),
    ((b'--x--', ), False, 400), ((b'', ), False, 400), ((b'nothing', ), False, 400),
    ((b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\nabc\r\n--x--', ), False, 400),
    ((b'--x\r\nContent-Disposition: form-data\r\n\r\nabc\r\n--x--', ), False, 400)])
def test_of_uploads_that_do_not_end_well_nothing_stays(gate, tmp_path, parts, more, status):
    answer = send_file(gate, *parts, more=more)
    assert (answer and answer[0]) == status
    assert not list(tmp_path.iterdir())
    assert not gate._receiving


@pytest.mark.parametrize('name', ['a.png', '../../a.png', '/etc/a.png', '..', '.', '', 'a/..', '\x00',
                                  'x' * 300 + '.png'])
def test_uploads_lie_in_folders_of_their_own(gate, clients, tmp_path, name):
    paths = []
    for client in (A, B, A):
        status, (path, ) = send_file(gate, part(name, b'123'), b'--x--\r\n', client=client)
        assert status == 200
        assert clients.owns(client, path)
        paths.append(path)
    assert len({os.path.dirname(path) for path in paths}) == 3
    for path in paths:
        assert os.path.dirname(os.path.dirname(path)) == str(tmp_path)
        with open(path, 'rb') as file:
            assert file.read() == b'123'


def test_uploads_at_once_are_bounded(gate, tmp_path):
    gate._receiving = [A] * (module._MAX_AT_ONCE // 2)
    assert send_file(gate, part('a.png', b'1'), b'--x--')[0] == 503
    assert send_file(gate, part('a.png', b'1'), b'--x--', client=B)[0] == 200
    gate._receiving = list(map(str, range(module._MAX_AT_ONCE)))
    assert send_file(gate, part('a.png', b'1'), b'--x--')[0] == 503


@pytest.mark.parametrize('depth', [17, 100, 600, 900, 5000, 100_000])
def test_json_that_is_nested_deeply(gate, depth):
    for opening, closing in (('[', ']'), ('{"a":', '}')):
        data = '0,' + opening * depth + '0' + closing * depth
        body = f'{{"session_hash": "s", "fn_index": 1, "data": [{data}]}}'.encode()
        for content in (body, body.replace(b'"fn_index": 1, "data"', b'"fn_index": 0, "data"')):
            assert ask(gate, 'POST', '/gradio_api/queue/join', body_of(content)) == (403, dict(detail=REFUSED))


@pytest.mark.parametrize(('index', 'data'), [(1, []), (1, [None]), (1, [None] * 3), (0, [None]), (7, []), (-1, []),
                                             (2, [3]), (2, [-1]), (2, ['1']), (2, [True]), (2, [1.]), (2, [{}]),
                                             (2, [[]])])
def test_inputs_that_cannot_be(gate, index, data):
    for way in ('queue/join', 'run/predict'):
        body = json.dumps(dict(session_hash='s', fn_index=index, data=data)).encode()
        assert ask(gate, 'POST', f'/gradio_api/{way}', body_of(body)) == (403, dict(detail=REFUSED))


@pytest.mark.parametrize('path', ['/', '/config', '/gradio_api/info'])
@pytest.mark.parametrize('query', ['page=zz', 'a=1&page=zz', 'deep_link=zz', 'p%61ge=zz'])
def test_other_pages_and_saved_states(gate, path, query):
    assert ask(gate, 'GET', path, query=query) == (403, dict(detail=REFUSED))


def test_one_client_does_not_take_all_places(gate, clients):
    body = json.dumps(dict(session_hash='s', fn_index=1, data=[None, None])).encode()
    clients.waiting = lambda: [(A, [])] * 4 + [(B, [])] * 3
    status, content = ask(gate, 'POST', '/gradio_api/queue/join', body_of(body))
    assert status == 429
    assert '4 of your runs wait' in content['detail']
    gate._joining = [B]
    body = body.replace(b'"s"', b'"t"')
    assert ask(gate, 'POST', '/gradio_api/queue/join', body_of(body), client=B)[0] == 429


@pytest.mark.parametrize(('method', 'path'), [
    ('PUT', '/gradio_api/upload'), ('DELETE', '/'), ('POST', '/gradio_api/upload/x'), ('POST', '/login'),
    ('GET', '/gradio_api/stream/x'), ('GET', '/gradio_api/run-history/records'), ('GET', '/monitoring/summary'),
    ('HEAD', '/gradio_api/file=/etc/passwd'), ('GET', '/gradio_api/heartbeat/')])
def test_what_the_page_does_not_ask_for_is_refused(gate, method, path):
    assert ask(gate, method, path, body_of(b'{}')) == (403, dict(detail=REFUSED))
