"""Tests of checkpoint downloads."""
import hashlib
import http.server
import json
import os
import threading

import pytest
import torch
from huggingface_hub import constants
from mmengine.runner import load_checkpoint
from safetensors.torch import save_file

from sapiens_mm.engine import fetch, load_checkpoint_file
from sapiens_mm.engine.fetch import CheckpointError, fetch_file, fetch_with_record, why_no_hub

COMMIT = '0123456789abcdef0123456789abcdef01234567'


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files`` (path -> bytes) plainly and as the Hub does (``/<owner>/<repo>/resolve/<revision>/<file>``)."""

    def __init__(self):
        super().__init__(('127.0.0.1', 0), Handler)
        self.files, self.cut, self.requests = {}, set(), []
        self.lengths, self.raw = True, None  # send Content-Length; bytes that answer every request
        self.etag, self.private = None, False
        self.url = f'http://127.0.0.1:{self.server_port}'


class Handler(http.server.BaseHTTPRequestHandler):

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.server.requests.append((self.command, self.path))
        if self.server.raw is not None:
            self.wfile.write(self.server.raw)
            return
        body = self.server.files.get(self.path)
        self.send_response(401 if self.server.private else 404 if body is None else 200)
        if body is None and '/resolve/' in self.path:
            self.send_header('X-Error-Code', 'RepoNotFound' if self.server.private else 'EntryNotFound')
        body = body or b''
        if self.server.lengths:
            self.send_header('Content-Length', len(body))
        self.send_header('X-Repo-Commit', COMMIT)
        self.send_header('ETag', f'"{self.server.etag or hashlib.sha256(body).hexdigest()}"')
        self.end_headers()
        if self.command == 'GET':
            self.wfile.write(body[:len(body) // 2] if self.path in self.server.cut else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = Server()
    threading.Thread(target=server.serve_forever, args=(.01, ), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def weights(tmp_path):
    """State dict of a linear layer, and a file of it as bytes."""
    state_dict = torch.nn.Linear(2, 2).state_dict()
    torch.save(state_dict, tmp_path / 'source.pth')
    return state_dict, (tmp_path / 'source.pth').read_bytes()


@pytest.fixture
def hub_folder(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    return tmp_path / 'torch' / 'hub' / 'checkpoints'


@pytest.fixture
def hub(server, tmp_path, monkeypatch):
    """``huggingface_hub`` with the server as its Hub and an empty cache."""
    monkeypatch.setattr(constants, 'ENDPOINT', server.url)
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE',
                        server.url + '/{repo_id}/resolve/{revision}/{filename}')
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hf'))
    return server


@pytest.mark.usefixtures('hub_folder')
def test_http_no_server():
    with pytest.raises(CheckpointError, match='check the network, or put the file at .*/w-[0-9a-f]{8}.pth'):
        fetch_file('http://127.0.0.1:9/w.pth')


def test_http_missing(server, hub_folder):
    with pytest.raises(CheckpointError, match='w.pth: the server answered 404'):
        fetch_file(f'{server.url}/w.pth')
    assert not os.listdir(hub_folder)


def test_http_truncated_is_not_kept(server, weights, hub_folder):
    server.files['/w.pth'] = weights[1]
    server.cut.add('/w.pth')
    with pytest.raises(CheckpointError, match=rf'ended after \d+ of {len(weights[1])} bytes'):
        fetch_file(f'{server.url}/w.pth')
    assert not os.listdir(hub_folder)


def of_kind(kind, tmp_path):
    state_dict = torch.nn.Linear(20, 20).state_dict()
    path = tmp_path / f'of_kind.{kind}'
    if kind == 'safetensors':
        save_file(state_dict, path)
    else:
        torch.save(state_dict, path, _use_new_zipfile_serialization=kind == 'pth')
    return path.read_bytes()


@pytest.mark.parametrize('kind', ['pth', 'tar', 'safetensors'])
@pytest.mark.parametrize('chunked', [False, True])
def test_http_cut_without_a_length_is_not_kept(server, hub_folder, tmp_path, kind, chunked):
    content = of_kind(kind, tmp_path)
    for part in (.05, .5, .99):
        cut = content[:int(len(content) * part)]
        if chunked:  # all chunks are whole, and the end mark is there: the server itself lost the rest
            server.raw = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n' % (len(cut), cut)
        else:
            server.raw = b'HTTP/1.0 200 OK\r\n\r\n' + cut
        with pytest.raises(CheckpointError, match=f'w.{kind}') as error:
            fetch_file(f'{server.url}/w.{kind}?sig=1')
        assert '.part' not in str(error.value)
        assert not os.listdir(hub_folder)
    server.raw = b'HTTP/1.0 200 OK\r\n\r\n' + content
    path = fetch_file(f'{server.url}/w.{kind}?sig=1')
    assert load_checkpoint_file(path)['weight'].shape == (20, 20)


@pytest.mark.usefixtures('hub_folder')
@pytest.mark.parametrize('answer', [
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nshort', b'nonsense\r\n\r\n', b'',
    b'HTTP/1.1 200 OK\r\n' * 2,
    b'HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nPK', b'HTTP/1.1 302 Found\r\nLocation: gopher://a\r\n\r\n',
    b'HTTP/1.1 200 OK\r\n' + b'a: b\r\n' * 200 + b'\r\n'])
def test_http_odd_answers_are_one_line(server, answer):
    server.raw = answer
    with pytest.raises(CheckpointError, match='w.pth') as error:
        fetch_file(f'{server.url}/w.pth')
    assert '\n' not in str(error.value)


@pytest.mark.usefixtures('hub_folder')
@pytest.mark.parametrize('url', ['http://127.0.0.1:99999/w.pth', 'http://127.0.0.1:port/w.pth', 'http://a b/w.pth',
                                 'http://127.0.0.1/w\n.pth', 'http://[::1/w.pth', 'http:///w.pth', 'http://a\0b/w.pth',
                                 'https://127.0.0.1:-1/w.pth', f'http://{"a" * 100}.b/w.pth', 'http://.a/w.pth'])
def test_http_invalid_addresses_are_one_line(url):
    with pytest.raises(CheckpointError) as error:
        fetch_file(url)
    assert '\n' not in str(error.value)


def test_http_web_page_is_not_kept(server, hub_folder):
    server.files['/w.pth'] = b'<html>Please log in</html>'
    with pytest.raises(CheckpointError, match='is a web page'):
        fetch_file(f'{server.url}/w.pth')
    assert not os.listdir(hub_folder)


def test_http_is_fetched_once(server, weights, hub_folder):
    state_dict, content = weights
    server.files['/a/w.pth'] = content
    target = torch.nn.Linear(2, 2)
    for _ in range(2):
        load_checkpoint(target, f'{server.url}/a/w.pth', strict=True)
    assert torch.equal(target.weight, state_dict['weight'])
    assert server.requests == [('GET', '/a/w.pth')]
    assert len(os.listdir(hub_folder)) == 1


def test_http_addresses_that_end_alike_are_two_files(server, weights, hub_folder):
    _, content = weights
    server.files['/a/w.pth'] = server.files['/b/w.pth'] = content
    for folder in 'ab':
        load_checkpoint(torch.nn.Linear(2, 2), f'{server.url}/{folder}/w.pth', strict=True)
    assert len(os.listdir(hub_folder)) == 2


# Hub
# ---


@pytest.mark.parametrize('source', ['hf://owner', 'hf://owner/w.pth/', 'hf://owner/repo@/w.pth', 'hf:///repo/w.pth'])
def test_hub_malformed(source):
    with pytest.raises(CheckpointError, match='hf:'):
        load_checkpoint_file(source)


def test_hub_missing_file(hub):
    with pytest.raises(CheckpointError, match="got 'w.pth', which .*owner/repo"):
        fetch_file('hf://owner/repo/w.pth')


def test_hub_missing_repo(hub):
    hub.private = True
    with pytest.raises(CheckpointError, match='no access to .*owner/repo.*HF_TOKEN'):
        fetch_file('hf://owner/repo/w.pth')


def test_hub_offline(hub, weights, monkeypatch):
    hub.files['/owner/repo/resolve/main/w.pth'] = weights[1]
    with monkeypatch.context() as patch:
        patch.setattr(constants, 'HF_HUB_OFFLINE', True)
        with pytest.raises(CheckpointError, match='not in the cache .* and HF_HUB_OFFLINE is set') as info:
            load_checkpoint_file('hf://owner/repo/w.pth')
        assert '\n' not in str(info.value)
    load_checkpoint_file('hf://owner/repo/w.pth')
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    loaded = load_checkpoint_file('hf://owner/repo/w.pth')
    assert torch.equal(loaded['weight'], weights[0]['weight'])


def test_hub_that_cannot_be_reached(hub, weights, monkeypatch, caplog):
    hub.files['/owner/repo/resolve/main/w.pth'] = weights[1]
    path = fetch_file('hf://owner/repo/w.pth')
    monkeypatch.setattr(constants, 'ENDPOINT', 'http://127.0.0.1:9')
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE',
                        'http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}')
    monkeypatch.setattr('time.sleep', lambda seconds: pytest.fail('tried again'))
    assert 'refused' in why_no_hub(3)
    assert fetch_file('hf://owner/repo/w.pth') == path
    with pytest.raises(CheckpointError, match='not in the cache .* and the Hub cannot be reached .*refused.*; fetch it '
                                              'once'):
        fetch_file('hf://owner/repo/other.pth')
    assert not caplog.records


@pytest.mark.parametrize(('source', 'path'), [
    ('hf://owner/repo/w.pth', '/owner/repo/resolve/main/w.pth'),
    ('hf://owner/repo@v1.0/sub/w.pth', '/owner/repo/resolve/v1.0/sub/w.pth'),
    ('hf://owner/repo@refs%2Fpr%2F1/w.pth', '/owner/repo/resolve/refs%2Fpr%2F1/w.pth'),
])
def test_hub(hub, weights, source, path):
    hub.files[path] = weights[1]
    target = torch.nn.Linear(2, 2)
    load_checkpoint(target, source, strict=True)
    assert torch.equal(target.weight, weights[0]['weight'])


SOURCE = 'hf://owner/repo/w.pth'


@pytest.fixture
def fetched(hub, weights, tmp_path):
    hub.files['/owner/repo/resolve/main/w.pth'] = weights[1]
    return fetch_with_record(SOURCE, str(tmp_path / 'out'))


def test_record(fetched, weights):
    with open(fetched, 'rb') as file:
        assert file.read() == weights[1]
    with open(f'{fetched}.json') as file:
        assert json.load(file) == {'source': SOURCE, 'commit': COMMIT, 'size': len(weights[1]),
                                   'sha256': hashlib.sha256(weights[1]).hexdigest()}


def test_record_saves_the_network(fetched, hub):
    hub.requests.clear()
    assert fetch_with_record(SOURCE, os.path.dirname(fetched)) == fetched
    assert hub.requests == []


@pytest.mark.parametrize('damage', [lambda content: content[:-1], lambda content: b'X' + content[1:]])
def test_damaged_file_is_fetched_again(fetched, weights, damage):
    with open(fetched, 'wb') as file:
        file.write(damage(weights[1]))
    fetch_with_record(SOURCE, os.path.dirname(fetched))
    with open(fetched, 'rb') as file:
        assert file.read() == weights[1]


def test_file_that_the_hub_does_not_have(hub, weights, tmp_path):
    hub.files['/owner/repo/resolve/main/w.pth'] = weights[1]
    hub.etag = '0' * 64
    with pytest.raises(CheckpointError, match='but the Hub has 0000'):
        fetch_with_record(SOURCE, str(tmp_path))
    assert not (tmp_path / 'w.pth').exists()


def test_truncated_from_hub_looks_incomplete(hub, weights, tmp_path, monkeypatch):
    monkeypatch.setattr('time.sleep', lambda seconds: None)  # between the attempts
    hub.files['/owner/repo/resolve/main/w.pth'] = weights[1]
    hub.cut.add('/owner/repo/resolve/main/w.pth')
    with pytest.raises(CheckpointError):
        fetch_with_record(SOURCE, str(tmp_path))
    assert not (tmp_path / 'w.pth').exists()
    assert not (tmp_path / 'w.pth.json').exists()


@pytest.mark.parametrize('begin', [b'HTTP/1.0 200 OK\r\n\r\nPK', b'HTTP/1.1 100 Continue\r\n\r\n',
                                   b'HTTP/1.1 200 OK\r\na: '])
def test_http_that_brings_too_little_fails(server, hub_folder, monkeypatch, begin):
    monkeypatch.setattr(fetch, 'STALL_SECONDS', .2)
    ended = threading.Event()
    monkeypatch.setattr(Handler, 'do_GET', lambda handler: (handler.wfile.write(begin), ended.wait(20)))
    try:
        with pytest.raises(CheckpointError, match='w.pth.*expected at least'):
            fetch_file(f'{server.url}/w.pth')
        assert not os.listdir(hub_folder)
    finally:
        ended.set()


def test_http_leftovers_are_removed_but_not_those_of_others_at_work(server, weights, hub_folder):
    server.files['/w.pth'] = weights[1]
    path = fetch_file(f'{server.url}/w.pth')
    os.remove(path)
    for name, age in (('old', 10_000), ('new', 0)):
        partial = f'{path}.part-{name}'
        with open(partial, 'wb') as file:
            file.write(b'PK')
        os.utime(partial, (os.path.getmtime(partial) - age, ) * 2)
    fetch_file(f'{server.url}/w.pth')
    assert sorted(os.listdir(hub_folder)) == [os.path.basename(path), f'{os.path.basename(path)}.part-new']
