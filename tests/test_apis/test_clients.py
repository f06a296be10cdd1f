"""Tests of the web page's clients: cookies, uploads, queues."""
import os
import threading

import pytest

from sapiens_mm.apis import clients as module
from sapiens_mm.apis.clients import COOKIE, Clients, client_of
from sapiens_mm.apis.frames import InputError

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
