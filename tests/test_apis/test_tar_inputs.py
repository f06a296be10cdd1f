"""Tests of tar files and stores as inputs."""
import http.server
import io
import json
import pickle
import tarfile
import threading
from functools import partial

import numpy as np
import pytest
from PIL import Image

from sapiens_mm.apis import Result
from sapiens_mm.apis.collect import Ended
from sapiens_mm.apis.frames import InputError
from sapiens_mm.apis.job import chunks, process
from sapiens_mm.apis.result_files import ResultFiles
from sapiens_mm.apis.sources import find_sources, frames_of
from sapiens_mm.apis.writer import ResultWriter

pytest.importorskip('webdataset')


def png(value):
    file = io.BytesIO()
    Image.new('RGB', (30, 40), (value, ) * 3).save(file, 'PNG')
    return file.getvalue()


def write_tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, 'w') as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def shards(tmp_path):
    """Two tar files of two images each, with captions."""
    for shard in range(2):
        write_tar(tmp_path / f'in/{shard:05d}.tar', [
            member for number in range(2) for member in (
                (f'{number}.png', png(10 * shard + number)), (f'{number}.txt', b'a caption'))])
    return tmp_path / 'in'


def test_braces_patterns_and_folders(shards):
    names = ['00000.tar', '00001.tar']
    for entries in ([f'{shards}/{{00000..00001}}.tar'], [f'{shards}/*.tar'], sorted(shards.glob('*'))):
        sources = find_sources(entries)
        assert [(source.name, source.kind) for source in sources] == [(name, 'tar') for name in names]
    assert len(list(chunks(sources, 4))) == 2
    with pytest.raises(InputError):
        find_sources([shards])  # a folder of other files, such as those of results
    with pytest.raises(InputError, match='00002'):
        find_sources([f'{shards}/{{00000..00002}}.tar'])


def test_images_of_a_tar_file(shards):
    frames = list(frames_of(find_sources([f'{shards}/*.tar'])))
    assert [frame.source.name for frame in frames] == [f'0000{i}.tar/{j}.png' for i in range(2) for j in range(2)]
    assert frames[3].source.path == f'{shards}/00001.tar/1.png'
    assert [frame.image[0, 0, 0] for frame in frames] == [0, 1, 10, 11]
    assert all(frame.index is None for frame in frames)


def test_odd_members(tmp_path):
    path = write_tar(tmp_path / 'a b ü.tar', [
        ('../../out.png', png(1)), ('/etc/abs.png', png(2)), ('./x/ü b.png', png(3)), ('broken.png', b'no'),
        ('._hidden.png', png(4)), ('x/ü b.png', png(5)), ('UPPER.PNG', png(6))])
    errors = []
    frames = list(frames_of(find_sources([path]), lambda source, error: errors.append((source.name, str(error)))))
    start = 'a b ü.tar/'
    assert [frame.source.name for frame in frames] == [
        f'{start}{name}' for name in ('out.png', 'etc/abs.png', 'x/ü b.png', 'UPPER.PNG')]
    assert [name for name, _ in errors] == [f'{start}broken.png', f'{start}x/ü b.png (2)']
    assert 'x/ü b.png' in errors[1][1]


def test_each_member_has_one_row(tmp_path):
    parquet = pytest.importorskip('pyarrow.parquet')
    path = write_tar(tmp_path / 'a.tar', [(name, png(1)) for name in ('x.png', './x.png', 'y.png', 'x.png')])
    _, summary = job([path], tmp_path / 'out', ['parquet'])
    assert (summary.done['image'], len(summary.unread)) == (2, 2)
    rows = parquet.read_table(tmp_path / 'out/images.parquet').to_pylist()
    assert [(row['image'], row['error'] is None) for row in rows] == [
        ('a.tar/x.png (2)', False), ('a.tar/x.png (3)', False), ('a.tar/x.png', True), ('a.tar/y.png', True)]


@pytest.mark.parametrize('content', [b'', b'no tar', bytes(10240), None, 'cut'])
def test_damaged_tar_files(tmp_path, content):
    path = write_tar(tmp_path / 'a.tar', [('a.png' if content == 'cut' else 'a.txt', png(1))])
    if content is not None:
        path.write_bytes(path.read_bytes()[:560] if content == 'cut' else content)
    with pytest.raises(InputError, match=r'a\.tar'):
        list(frames_of(find_sources([path])))


class Drawn:
    """An inferencer that finds a person in each image, whose score tells its color."""
    batch_size, tasks = 1, ()

    def __init__(self, fail_at=None):
        self.read, self.fail_at = [], fail_at

    def stream(self, sources, boxes, on_error, stop):
        for frame in frames_of(sources, on_error):
            if len(self.read) == self.fail_at:
                raise KeyboardInterrupt
            self.read.append(frame.source.name)
            box = np.float32([[1, 2, 20, 30, frame.image[0, 0, 0] / 100]])
            yield Result(frame.source, frame.image, boxes=box)


def job(inputs, out, save, resume=False, fail_at=None):
    inferencer, sources = Drawn(fail_at), find_sources(inputs)
    writer = ResultWriter(out, save, resume=resume)
    done = [source for source in sources if resume and writer.is_done(source)]
    writer.ended += [Ended(source) for source in done if writer.files.is_staged(source)]
    todo = [source for source in sources if source not in done]
    summary = process(inferencer, todo, None, writer, threading.Event())
    return inferencer.read, summary


@pytest.mark.parametrize('save', [['json'], ['parquet'], ['tar'], ['parquet', 'tar', 'coco', 'json']])
def test_a_killed_run_over_tar_files_is_resumed(shards, tmp_path, save):
    if 'parquet' in save:
        parquet = pytest.importorskip('pyarrow.parquet')
    out, inputs = tmp_path / 'out', [f'{shards}/*.tar']
    with pytest.raises(KeyboardInterrupt):
        job(inputs, out, save, fail_at=3)
    read, summary = job(inputs, out, save, resume=True)
    assert set(read) <= {'00001.tar/0.png', '00001.tar/1.png'}
    assert summary.unread == []
    assert job(inputs, out, save, resume=True)[0] == []
    names = [f'0000{i}.tar/{j}.png' for i in range(2) for j in range(2)]
    if save == ['json']:
        assert all((out / f'{name}.json').exists() for name in names)
        assert job(inputs, out, ['json', 'npz'], resume=True)[0] == names
    if 'parquet' in save:
        for table in ('people', 'images'):
            assert parquet.read_table(out / f'{table}.parquet')['image'].to_pylist() == names
    if 'tar' in save:
        with tarfile.open(out / 'samples-00000.tar') as archive:
            assert archive.getnames() == [f'{name[:-4]}.json' for name in names]
    assert not (out / '.unfinished').exists()


def test_a_worker_tells_its_parent_what_ended(shards, tmp_path):
    (shards / '00000.tar').write_bytes(b'')
    worker = ResultWriter(tmp_path / 'out', ['tar']).for_worker()
    summary = process(Drawn(), find_sources([f'{shards}/*.tar']), None, worker, threading.Event())
    ended = pickle.loads(pickle.dumps(summary)).ended
    assert [(entry.source.name, bool(entry.error)) for entry in ended] == [('00000.tar', True), ('00001.tar', False)]


def test_a_truncated_tar_file_and_the_repaired_one(tmp_path):
    parquet = pytest.importorskip('pyarrow.parquet')
    path = write_tar(tmp_path / 'a.tar', [('0.png', png(1)), ('1.png', b'no'), ('2.png', png(2))])
    whole, out = path.read_bytes(), tmp_path / 'out'
    path.write_bytes(whole[:2600])
    _, summary = job([path], out, ['parquet', 'tar'])
    assert len(summary.unread) == 2
    rows = parquet.read_table(out / 'images.parquet').to_pylist()
    assert {(row['image'], bool(row['error'])) for row in rows} == {
        ('a.tar/0.png', False), ('a.tar/1.png', True), ('a.tar', True)}
    assert not list(out.glob('*.tar'))
    path.write_bytes(whole)
    _, summary = job([path], out, ['parquet', 'tar'], resume=True)
    rows = parquet.read_table(out / 'images.parquet').to_pylist()
    assert sorted((row['image'], bool(row['error'])) for row in rows) == [
        ('a.tar/0.png', False), ('a.tar/1.png', True), ('a.tar/2.png', False)]
    lines = [json.loads(line) for line in (out / 'samples-00000.jsonl').read_text().splitlines()]
    assert [line['key'] for line in lines] == ['a.tar/0', 'a.tar/2']
    assert job([path], out, ['parquet', 'tar'], resume=True)[0] == []


@pytest.mark.parametrize('save', [['json'], ['tar'], ['parquet', 'tar', 'coco']])
def test_an_image_that_cannot_be_written_is_done_by_the_resumed_run(shards, tmp_path, save, monkeypatch):
    if 'parquet' in save:
        parquet = pytest.importorskip('pyarrow.parquet')
    out, write, inputs = tmp_path / 'out', ResultFiles._write_to, [f'{shards}/*.tar']

    def fail(path, *values):
        if path.endswith('00000.tar/1.png.json'):
            raise OSError(5, 'Input/output error')
        write(path, *values)

    with monkeypatch.context() as patch:
        patch.setattr(ResultFiles, '_write_to', staticmethod(fail))
        _, summary = job(inputs, out, save)
    assert list(summary.unwritten) == ['00000.tar/1.png']
    assert job(inputs, out, save, resume=True)[1].done['image'] == 1
    if 'parquet' in save:
        rows = parquet.read_table(out / 'images.parquet').to_pylist()
        assert sorted((row['image'], row['error']) for row in rows) == [
            (f'0000{i}.tar/{j}.png', None) for i in range(2) for j in range(2)]
    assert job(inputs, out, save, resume=True)[0] == []


def test_web(shards):
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=shards)
    handler.log_message = lambda *args: None
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f'http://127.0.0.1:{server.server_port}'
        with pytest.raises(InputError, match='allow-urls'):
            find_sources([f'{address}/00000.tar'])
        sources = find_sources([f'{address}/{{00000..00001}}.tar'], allow_urls=True)
        assert [frame.image[0, 0, 0] for frame in frames_of(sources)] == [0, 1, 10, 11]
        with pytest.raises(InputError, match='404'):
            list(frames_of(find_sources([f'{address}/none.tar'], allow_urls=True)))
    finally:
        server.shutdown()
        server.server_close()


def test_stores(shards, monkeypatch):
    fsspec = pytest.importorskip('fsspec')
    store = fsspec.filesystem('memory')
    store.pipe({'/bucket/a.png': png(7), '/bucket/sub/b.png': png(8), '/bucket/c.txt': b'',
                '/bucket/0.tar': (shards / '00000.tar').read_bytes()})
    bucket = 'memory://bucket'
    for entry, expected in ((f'{bucket}/a.png', [7]), (f'{bucket}/', [7, 8]), (f'{bucket}/*.png', [7]),
                            (f'{bucket}/0.tar', [0, 1]), (f'{bucket}/*.tar', [0, 1]),
                            (f'file://{shards}/00001.tar', [10, 11])):
        with pytest.raises(InputError, match='allow-urls'):
            find_sources([entry])
        frames = list(frames_of(find_sources([entry], allow_urls=True)))
        assert [frame.image[0, 0, 0] for frame in frames] == expected, entry
    store.pipe({f'/odd/a{mark}1.png': png(9) for mark in '#?'})
    sources = find_sources(['memory://odd/'], allow_urls=True)
    assert [source.name for source in sources] == ['odd/a#1.png', 'odd/a?1.png']
    assert [frame.image[0, 0, 0] for frame in frames_of(sources)] == [9, 9]
    store.pipe({f'/magic/{name}': png(3) for name in ('a[1].png', 'a1.png', 'b*.png', 'b2.png')})
    for entry, names in (('a[1].png', ['a[1].png']), ('b*.png', ['b*.png']), ('a[1]*', ['a1.png']),
                         ('b?.png', ['b*.png', 'b2.png'])):
        sources = find_sources([f'memory://magic/{entry}'], allow_urls=True)
        assert [source.name for source in sources] == [f'magic/{name}' for name in names]
        assert len(list(frames_of(sources))) == len(names)
    for entry in ('memory://bucket/none.png', 'memory://bucket/none.tar', 'nostore://a/a.png', 'memory://bucket/*.gif'):
        with pytest.raises(InputError, match=entry.partition('://')[2].replace('*', r'\*')):
            list(frames_of(find_sources([entry], allow_urls=True)))
    monkeypatch.setitem(__import__('sys').modules, 'fsspec', None)
    with pytest.raises(InputError, match='pip install'):
        list(frames_of(find_sources(['memory://bucket/a.png'], allow_urls=True)))
