import asyncio
import json
import os
import threading

import pytest

from sapiens_mm.apis import clients as module
from sapiens_mm.apis.clients import COOKIE, REFUSED, Clients, Gate, client_of
from sapiens_mm.apis.reading import InputError

A, B = 'a' * 32, 'b' * 32


@pytest.fixture
def clients(tmp_path):
    return Clients(tmp_path, [str(tmp_path / 'example.png')])


@pytest.fixture
def upload(clients, tmp_path):
    def upload(client, name):
        path = tmp_path / f'of_{name}' / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        clients.receive(client, [str(path)])
        return str(path)

    return upload


@pytest.mark.parametrize('cookie', ['', COOKIE, f'{COOKIE}=', f'{COOKIE}=short', f'{COOKIE}={"a" * 31}', f'x={A}',
                                    f'{COOKIE}="../{A}"', f'{COOKIE}={"a" * 65}', ';;=;'])
def test_cookies_that_name_no_client(cookie):
    assert client_of(dict(cookie=cookie)) is None


@pytest.mark.parametrize('other', ['foo={"a":1}', 'a[b]=1', 'a=b c', 'a=\xe9', 'a="', 'expires=Thu, 01 Jan 1970', '=',
                                   'a', 'path=/', '{}', '@=1', f'x{COOKIE}=1', f'{COOKIE}=short', '\t'])
def test_cookies_of_other_pages_do_not_matter(other):
    for cookie in (f'{other}; {COOKIE}={A}', f'{COOKIE}={A}; {other}', f'{other};{COOKIE}={A};{other}'):
        assert client_of(dict(cookie=cookie)) == A


def test_a_client_is_told_by_its_cookie():
    assert client_of(dict(cookie=f'x=1; {COOKIE}={A}')) == A
    assert client_of({}) is None


@pytest.mark.parametrize('path', [None, 0, True, [], {}, '', 'a.png', '..', '/etc/passwd'])
def test_no_one_owns_what_was_not_uploaded(clients, upload, path):
    upload(A, 'a.png')
    assert not clients.owns(A, path)


def test_an_upload_is_its_clients(clients, upload, tmp_path):
    path = upload(A, 'a.png')
    assert clients.owns(A, path)
    assert not clients.owns(B, path)
    assert not clients.owns(None, path)
    assert all(clients.owns(client, str(tmp_path / 'example.png')) for client in (A, B, None))


def test_results_are_those_of_the_last_run_of_the_client(clients, upload):
    with clients.run(A, upload(A, 'a.png')) as first:
        open(f'{first}/x', 'w').close()
        assert clients.may_read(A, f'{first}/x')
    for client, path in ((B, f'{first}/x'), (A, first), (A, f'{first}/'), (A, f'{first}/..'), (A, f'{first}/../x'),
                         (A, f'{first}/./x'), (None, f'{first}/x')):
        assert not clients.may_read(client, path)
    with clients.run(A, upload(A, 'b.png')) as second:
        assert not os.path.exists(first)
        assert not clients.may_read(A, f'{first}/x')
        assert clients.may_read(A, f'{second}/x')


@pytest.mark.parametrize(('error', 'opened'), [(InputError, True), (InputError, False), (ValueError, False),
                                               (KeyboardInterrupt, False)])
def test_a_run_that_fails_leaves_nothing(clients, upload, error, opened):
    if opened:
        clients.opened(A)
    path = upload(A, 'a.png')
    with pytest.raises(error), clients.run(A, path) as folder:
        raise error
    assert not os.path.exists(path)
    assert not os.path.exists(folder)
    assert not clients.owns(A, path)


@pytest.mark.parametrize('error', [ValueError, OSError, KeyboardInterrupt])
def test_a_file_that_is_not_at_fault_stays_on_the_open_page(clients, upload, error):
    clients.opened(A)
    path = upload(A, 'a.png')
    with pytest.raises(error), clients.run(A, path) as folder:
        raise error
    assert clients.owns(A, path)
    assert os.path.exists(path)
    assert not os.path.exists(folder)


@pytest.mark.parametrize('way', ['fails', 'ends', 'closes', 'leaves', 'too many', 'expires'])
def test_examples_are_never_removed(clients, tmp_path, monkeypatch, way):
    example = tmp_path / 'example.png'
    example.touch()
    clients.opened(A)
    clients.receive(A, [str(example)])
    if way in ('fails', 'ends'):
        with pytest.raises(InputError), clients.run(A, str(example)):
            raise InputError
    if way == 'leaves':
        clients.asked('session', [str(example)])
    if way == 'too many':
        monkeypatch.setattr(module, '_MAX_OWN', 0)
        clients.receive(A, [str(example)])
    if way != 'fails':
        clients.closed(A)
    if way == 'leaves':
        clients.left(A, 'session')
    if way == 'expires':
        monkeypatch.setattr(module, '_KEPT', -1)
        clients.expire()
    assert example.exists()
    assert clients.owns(B, str(example))


def test_a_page_that_is_open_keeps_its_files_until_it_closes(clients, upload):
    clients.opened(A)
    clients.opened(A)
    path = upload(A, 'a.png')
    for _ in range(2):
        with clients.run(A, path) as folder:
            pass
        assert os.path.exists(path)
        assert os.path.exists(folder)
        clients.closed(A)
        clients.opened(A)
    clients.closed(A)
    assert os.path.exists(path)
    clients.closed(A)
    assert not os.path.exists(path)
    assert not os.path.exists(folder)


def test_without_an_open_page_an_upload_is_for_one_run(clients, upload, tmp_path):
    path, other = upload(A, 'a.png'), upload(A, 'b.png')
    with clients.run(A, path) as folder:
        assert os.path.exists(path)
    assert os.path.exists(folder)
    assert not os.path.exists(path)
    assert clients.owns(A, other)
    (tmp_path / 'example.png').touch()
    with clients.run(A, str(tmp_path / 'example.png')):
        pass
    assert (tmp_path / 'example.png').exists()


def test_files_of_a_run_that_is_not_waited_for_go(clients, upload):
    path, running = upload(A, 'a.png'), upload(A, 'b.png')
    clients.asked('session', [path, running])
    with clients.run(A, running):
        clients.left(A, 'session')
        assert not os.path.exists(path)
        assert os.path.exists(running)
    assert not os.path.exists(running)


def test_the_same_content_of_two_clients_stays_for_the_other(clients, upload):
    path = upload(A, 'a.png')
    assert upload(B, 'a.png') == path
    with clients.run(A, path):
        pass
    assert not clients.owns(A, path)
    assert clients.owns(B, path)
    assert os.path.exists(path)


def test_uploads_are_bounded_in_number_and_time(clients, upload, monkeypatch):
    paths = [upload(f'{i:032}', f'{i}.png') for i in range(module._MAX_UPLOADS + 3)]
    assert [os.path.exists(path) for path in paths] == [False] * 3 + [True] * module._MAX_UPLOADS
    monkeypatch.setattr(module, '_KEPT', -1)
    clients.opened(f'{5:032}')
    last = upload(A, 'last.png')
    assert [path for path in (*paths, last) if os.path.exists(path)] == [paths[5], last]


def test_a_client_with_many_uploads_loses_its_own(clients, upload):
    clients.opened(A)
    other, running, waiting = upload(B, 'b.png'), upload(A, 'running.png'), upload(A, 'waiting.png')
    clients.waiting = lambda: [(A, [waiting])]
    with clients.run(A, running):
        paths = [upload(A, f'{i}.png') for i in range(module._MAX_UPLOADS + 1)]
    assert all(map(os.path.exists, (other, running, waiting)))
    assert [path for path in paths if os.path.exists(path)] == paths[-(module._MAX_OWN - 2):]


def test_clients_without_a_page_take_no_place_of_those_with_one(clients, upload):
    paths = []
    for i in range(module._MAX_UPLOADS):
        clients.opened(f'{i:032}')
        paths.append(upload(f'{i:032}', f'{i}.png'))
    last = upload(A, 'last.png')
    assert all(map(os.path.exists, paths))
    assert not os.path.exists(last)
    assert not clients.owns(A, last)


def test_results_are_bounded_in_number(clients, upload, monkeypatch):
    monkeypatch.setattr(module, '_MAX_RESULTS', 3)
    folders = []
    clients.opened(f'{0:032}')
    for i in range(6):
        with clients.run(f'{i:032}', upload(f'{i:032}', f'{i}.png')) as folder:
            folders.append(folder)
    assert [os.path.exists(folder) for folder in folders] == [True, False, False, False, True, True]


def test_old_files_go_while_no_one_asks_for_anything(clients, monkeypatch):
    expired = threading.Event()
    monkeypatch.setattr(module, '_EVERY', 0)
    monkeypatch.setattr(clients, 'expire', expired.set)
    with clients.expiring():
        assert expired.wait(60)


def test_files_of_runs_that_wait_do_not_expire(clients, upload, monkeypatch):
    waiting, path = upload(A, 'waiting.png'), upload(A, 'a.png')
    clients.waiting = lambda: [(A, [waiting])]
    monkeypatch.setattr(module, '_KEPT', -1)
    clients.expire()
    assert (os.path.exists(waiting), os.path.exists(path)) == (True, False)


@pytest.mark.parametrize('session', [None, 5, '', 'x' * 101, []])
def test_sessions_that_are_none(clients, session):
    assert not clients.may_use(A, session)


def test_a_session_belongs_to_who_names_it_first(clients):
    assert clients.may_use(A, 's')
    assert clients.may_use(A, 's')
    assert not clients.may_use(B, 's')


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
def gate(clients):
    return Gate(lambda *args: pytest.fail('it was let through'), clients, 1, {0: [], 1: [None, None], 2: [range(3)]},
                100, 4)


def part(name, content):
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b'\r\n'


def send_file(gate, *parts, more=False, client=A):
    pytest.importorskip('starlette')
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
