import asyncio
import os

import pytest

from sapiens_mm.apis import clients as module
from sapiens_mm.apis.clients import COOKIE, REFUSED, Clients, Gate, client_of

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


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_a_run_that_fails_leaves_nothing(clients, upload, error):
    clients.opened(A)
    path = upload(A, 'a.png')
    with pytest.raises(error), clients.run(A, path) as folder:
        raise error
    assert not os.path.exists(path)
    assert not os.path.exists(folder)
    assert not clients.owns(A, path)


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


@pytest.mark.parametrize('session', [None, 5, '', 'x' * 101, []])
def test_sessions_that_are_none(clients, session):
    assert not clients.may_use(A, session)


def test_a_session_belongs_to_who_names_it_first(clients):
    assert clients.may_use(A, 's')
    assert clients.may_use(A, 's')
    assert not clients.may_use(B, 's')


@pytest.mark.parametrize(('method', 'path'), [
    ('PUT', '/gradio_api/upload'), ('DELETE', '/'), ('POST', '/gradio_api/upload/x'), ('POST', '/login'),
    ('GET', '/gradio_api/stream/x'), ('GET', '/gradio_api/run-history/records'), ('GET', '/monitoring/summary'),
    ('HEAD', '/gradio_api/file=/etc/passwd'), ('GET', '/gradio_api/heartbeat/')])
def test_what_the_page_does_not_ask_for_is_refused(clients, method, path):
    sent = []

    async def receive():
        return dict(type='http.request', body=b'{}')

    async def send(message):
        sent.append(message)

    gate = Gate(lambda *args: pytest.fail('it was let through'), clients, 0)
    asyncio.run(gate(dict(type='http', method=method, path=path, headers=[], query_string=b''), receive, send))
    assert sent[0]['status'] == 403
    assert REFUSED.encode() in sent[1]['body']
