"""Tests of image sources for pretraining."""
import collections
import http.server
import threading
import tracemalloc

import numpy as np
import pytest

import sapiens_mm.pretrain.sources
from sapiens_mm.pretrain.sources import build_source, permutation
from sapiens_mm.utils.tar_files import SourceError

from .conftest import tar_bytes


def members(shard, num=6):
    """Image, caption and metadata of each sample, like img2dataset's; the payload is not an image."""
    return {f'{shard:05}{i:04}.{kind}': f'{kind} {shard} {i} '.encode() * 100
            for i in range(num) for kind in ('jpg', 'txt', 'json')}


@pytest.fixture
def shards(tmp_path):
    for shard in range(3):
        (tmp_path / f'{shard:05}.tar').write_bytes(tar_bytes(members(shard)))
    return tmp_path


@pytest.fixture
def folder(tmp_path):
    for i in range(10):
        path = tmp_path / f'{i % 3}/{i}.JPG'
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(str(i).encode())
    (tmp_path / 'notes.txt').touch()
    (tmp_path / '._1.jpg').touch()
    return tmp_path


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves ``server.files``, cut to the next length in ``server.cut``."""

    def do_GET(self):
        self.server.paths.append(self.path)
        status, body = self.server.files.get(self.path, (404, b''))
        self.send_response(status)
        self.send_header('Content-Length', len(body))
        self.end_headers()
        cut = self.server.cut[self.path]
        self.wfile.write(body[:cut.pop(0)] if cut else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr('sapiens_mm.utils.tar_files._WAIT', 0)
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.files, server.cut, server.paths = {}, collections.defaultdict(list), []
    server.url = f'http://127.0.0.1:{server.server_port}'
    threading.Thread(target=server.serve_forever, args=(.01, ), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def read(source, shard, epoch=0, seed=0):
    return [(name, reader()) for name, reader in source.read(shard, epoch, seed)]


@pytest.mark.parametrize(('source', 'message'), [
    (dict(type='folder', path='nowhere'), 'nowhere'),
    (dict(type='folder', path='.'), r'folder \.: '),
    (dict(type='list', path='nowhere.txt'), 'nowhere.txt'),
    (dict(type='list', path='empty.txt'), 'empty.txt'),
    (dict(type='shards', urls='.'), r' in \.,'),
    (dict(type='shards', urls=[]), r'\[\]'),
    (dict(type='shards', urls='x-{0..3}.tar'), '4 of 4 .*x-0.tar'),
    (dict(type='shards', urls=['http://a/0.tar', 'http://a/0.tar']), 'twice.*http://a/0'),
    (dict(type='shards', urls='http://a/0.tar.gz'), 'http://a/0.tar.gz'),
])
def test_refuses_sources_without_images(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty.txt').write_text('\n')
    with pytest.raises(SourceError, match=f'^[^\n]*{message}[^\n]*$'):
        build_source(source)


def test_refuses_other_types_and_sizes(shards):
    with pytest.raises(ValueError, match="'tar'"):
        build_source(dict(type='tar'))
    with pytest.raises(ValueError, match='buffer: got 0'):
        build_source(dict(type='shards', urls=str(shards), buffer=0))
    with pytest.raises(ValueError, match='chunk: got 0'):
        sapiens_mm.pretrain.sources.FileSource('.', ['a.png'], chunk=0)


def whole(num=6):
    return tar_bytes(members(0, num))


@pytest.mark.parametrize(('data', 'reason', 'images'), [
    (whole()[:3000], 'ReadError', 1),
    # Up to the header of the third image: Python's tarfile takes this for a complete file.
    (whole()[:whole().index(b'000000002.jpg')], 'ReadError', 2),
    (whole()[:whole().index(b'000000002.jpg') + 100], 'ReadError', 2),
    (b'', 'ReadError', 0),
    (b'<html>' * 1000, 'ReadError', 0),
    # Archives of zeros, without members, and with the zeros of a larger one whose rest was lost.
    (bytes(1 << 16), 'zeros', 0),
    (tar_bytes({}), 'zeros', 0),
    (whole() + bytes(2 << 20), 'zeros', 6),
    (tar_bytes({'a.txt': b'a'}), 'no image', None),
])
def test_refuses_damaged_tar_files(tmp_path, data, reason, images):
    path = tmp_path / '0.tar'
    path.write_bytes(data)
    with pytest.raises(SourceError, match=f'{path}.*{reason}.*{"" if images is None else f"after {images} files"}'):
        read(build_source(dict(type='shards', urls=str(path))), 0)


def test_an_address_that_answers_404_is_asked_once(server):
    with pytest.raises(SourceError, match='/0.tar.* 404'):
        read(build_source(dict(type='shards', urls=f'{server.url}/0.tar')), 0)
    assert len(server.paths) == 1


def test_a_connection_that_keeps_breaking(server):
    server.files['/0.tar'] = 200, whole()
    server.cut['/0.tar'] = [3000] * 9
    with pytest.raises(SourceError, match='/0.tar.* after 1 files'):
        read(build_source(dict(type='shards', urls=f'{server.url}/0.tar', retries=2)), 0)
    assert len(server.paths) == 3


def test_continues_after_a_broken_connection(server):
    server.files['/0.tar'] = 200, whole()
    server.cut['/0.tar'] = [3000, whole().index(b'000000004.jpg')]
    source = build_source(dict(type='shards', urls=f'{server.url}/0.tar', buffer=2))
    images = read(source, 0)
    assert len(server.paths) == 3
    assert sorted(images) == [(f'0.tar/{name}', data) for name, data in sorted(members(0).items()) if 'jpg' in name]
    assert read(source, 0) == images  # in the same order as without a break


@pytest.mark.parametrize('kind', ['folder', 'braces', 'list', 'http'])
def test_shards(shards, server, kind):
    server.files.update({f'/{path.name}': (200, path.read_bytes()) for path in shards.iterdir()})
    urls = dict(folder=str(shards), braces=f'{shards}/{{00000..00002}}.tar',
                list=[str(shards / '00000.tar'), f'{shards}/{{00001..00002}}.tar'],
                http=f'{server.url}/{{00000..00002}}.tar')[kind]
    source = build_source(dict(type='shards', urls=urls, buffer=3))
    assert len(source) == 3
    # The order is the same, since names do not have the common part of the addresses.
    assert source.fingerprint == build_source(dict(type='shards', urls=str(shards), buffer=3)).fingerprint
    for shard in range(3):
        images = dict(read(source, shard))
        assert images == {f'{shard:05}.tar/{name}': data for name, data in members(shard).items() if 'jpg' in name}


def test_shards_of_the_same_name_in_two_folders(tmp_path):
    for folder in 'ab':
        (tmp_path / folder).mkdir()
        (tmp_path / folder / '0.tar').write_bytes(tar_bytes({'x.png': b'x'}))
    source = build_source(dict(type='shards', urls=[str(tmp_path / 'a'), str(tmp_path / 'b')]))
    assert source.names == ['a/0.tar', 'b/0.tar']


def test_all_extensions_and_names_with_dots(tmp_path):
    names = ['a/b.1.jpg', 'a/b.2.jpeg', 'c.PNG', 'd.webp', 'e.bmp', '._c.png']
    (tmp_path / '0.tar').write_bytes(tar_bytes(dict.fromkeys(names, b'x')))
    source = build_source(dict(type='shards', urls=str(tmp_path)))
    assert sorted(name for name, _ in read(source, 0)) == [f'0.tar/{name}' for name in names[:4]]


def test_buffer_bounds_how_far_an_image_comes_forward(tmp_path):
    (tmp_path / '0.tar').write_bytes(tar_bytes({f'{i:03}.jpg': b'' for i in range(200)}))
    order = [int(name[-7:-4]) for name, _ in read(build_source(dict(type='shards', urls=str(tmp_path), buffer=20)), 0)]
    assert sorted(order) == list(range(200))
    assert order[:20] != list(range(20))
    assert all(index < place + 20 for place, index in enumerate(order))
    assert max(index - place for place, index in enumerate(order)) > 10


def test_folder(folder):
    source = build_source(dict(type='folder', path=folder, chunk=4))
    assert len(source) == 3
    images = [read(source, shard) for shard in range(3)]
    assert [len(shard) for shard in images] == [4, 4, 2]
    assert sorted(sum(images, [])) == sorted((f'{i % 3}/{i}.JPG', str(i).encode()) for i in range(10))


def test_list(folder):
    path = folder / 'list.txt'
    path.write_text(f'1/1.JPG\n\n 2/2.JPG\n{folder}/0/3.JPG\n')
    assert sorted(read(build_source(dict(type='list', path=path)), 0)) == [
        (f'{folder}/0/3.JPG', b'3'), ('1/1.JPG', b'1'), ('2/2.JPG', b'2')]
    (folder / '1/list.txt').write_text('1.JPG')
    assert read(build_source(dict(type='list', path=folder / '1/list.txt', root=folder / '1')), 0) == [('1.JPG', b'1')]


def test_a_listed_file_that_is_missing_fails_alone(folder):
    (folder / 'list.txt').write_text('nowhere.jpg')
    (name, reader), = build_source(dict(type='list', path=folder / 'list.txt')).read(0, 0, 0)
    with pytest.raises(FileNotFoundError, match=name):
        reader()


@pytest.mark.parametrize('kind', ['folder', 'shards'])
def test_order_depends_on_seed_epoch_and_shard_only(kind, folder):
    if kind == 'folder':
        cfg = dict(type='folder', path=str(folder), chunk=5)
    else:
        (folder / '0.tar').write_bytes(tar_bytes(members(0, 20)))
        cfg = dict(type='shards', urls=str(folder), buffer=10)
    order = read(build_source(cfg), 0, epoch=3, seed=5)
    other = build_source(cfg)
    read(other, 0, epoch=2, seed=5)
    assert read(other, 0, epoch=3, seed=5) == order
    assert read(other, 0, epoch=4, seed=5) != order
    assert read(other, 0, epoch=3, seed=6) != order


def test_fingerprint(folder, shards):
    for cfg, changed in ((dict(type='folder', path=str(folder)), dict(chunk=7)),
                         (dict(type='shards', urls=str(shards)), dict(buffer=7)),
                         (dict(type='shards', urls=str(shards)), dict(urls=str(shards / '00001.tar')))):
        assert build_source(cfg).fingerprint == build_source(cfg).fingerprint
        assert build_source({**cfg, **changed}).fingerprint != build_source(cfg).fingerprint


@pytest.mark.parametrize('url', ['pipe:touch ran', 'gs://a/0.tar', 'hf://a/0.tar', 'ais://a/0.tar', 's3://a/0.tar',
                                 'scp://a/0.tar', 'file:///0.tar'])
def test_commands_need_a_switch(tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=f'{url}.*allow_pipes'):
        build_source(dict(type='shards', urls=url))
    assert len(build_source(dict(type='shards', urls=url, allow_pipes=True))) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('length', [0, 1, 2, 1000, 100_003])
@pytest.mark.parametrize('numbers', [(0, 0), (0, 3, 1), (2**31, 5)])
def test_the_order_is_that_of_checkpoints(length, numbers):
    np.testing.assert_array_equal(permutation(length, *numbers), np.random.RandomState(numbers).permutation(length))


def test_memory_of_an_order():
    """At most 80 MB for ten million names, also at the end of an epoch."""
    names = ['x'] * 1_000_000
    source = sapiens_mm.pretrain.sources.FileSource('.', names)
    permutation.cache_clear()
    tracemalloc.start()
    for epoch in range(4):
        permutation(len(source), 0, epoch)  # as the stream asks for the shards
        for shard in (0, 1):
            list(source.read(shard, epoch, 0))
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 4.3 * len(names)
    assert peak < 8.3 * len(names)
