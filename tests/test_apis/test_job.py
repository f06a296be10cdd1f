"""Tests of runs in several processes."""
import contextlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from sapiens_mm.apis.frames import Source
from sapiens_mm.apis.job import chunks, process_on_devices
from sapiens_mm.apis.run import RunOptions, run
from sapiens_mm.utils.files import locked

NUMBER = 6


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp('photos')
    for number in range(NUMBER):
        image = np.random.default_rng(number).integers(0, 255, (60, 45, 3), np.uint8)
        cv2.imwrite(str(folder / f'{number}.png'), cv2.resize(image, (90, 120)))
    return folder


def options(photos, out, **kwargs):
    return RunOptions([str(photos)], str(out), ['pose-17'], 'tiny', device='cpu', detector='none', batch_size=1,
                      **{'save': ['json'], **kwargs})


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope='module')
def expected(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp('expected')
    assert run(options(photos, out)) == 0
    return contents(out)


def test_chunks():
    sources = [Source(str(i), str(i), 'video' if i in (40, 50) else 'image') for i in range(60)]
    found = list(chunks(sources, 2))
    assert sum(found, []) == sources
    assert [len(chunk) for chunk in found] == [32, 8, 1, 9, 1, 9]
    assert list(chunks([], 2)) == []


def test_two_devices_write_the_same_bytes_as_one_process(photos, tmp_path, expected, monkeypatch, capsys):
    monkeypatch.setattr('sapiens_mm.apis.job._BATCHES', 2)
    (photos / 'broken.png').write_bytes(b'no image')
    try:
        assert run(options(photos, tmp_path, devices=['cpu', 'cpu'])) == 1
    finally:
        (photos / 'broken.png').unlink()
    printed = capsys.readouterr()
    assert f'{NUMBER} images' in printed.out
    assert 'broken.png' in printed.out
    assert 'broken.png' in printed.err
    assert contents(tmp_path) == expected


def test_shards_make_the_whole(photos, tmp_path, expected, capsys):
    for index in range(2):
        assert run(options(photos, tmp_path, shard=(index, 2))) == 0
    found = contents(tmp_path)
    metas = [found.pop(f'meta-0000{index}-of-00002.json') for index in range(2)]
    assert all(json.loads(meta)['inputs'] == [str(photos)] for meta in metas)
    assert found == {name: content for name, content in expected.items() if name != 'meta.json'}
    capsys.readouterr()
    assert run(options(photos, tmp_path, shard=(1, 2), resume=True)) == 0
    assert f'{NUMBER // 2} inputs' in capsys.readouterr().out
    assert run(options(photos, tmp_path, shard=(98, 99))) == 0  # more shards than inputs


def test_a_folder_belongs_to_one_run(photos, tmp_path, capsys):
    with locked(tmp_path):
        for kwargs in ({}, dict(shard=(0, 2))):
            assert run(options(photos, tmp_path, **kwargs)) == 2
            assert str(tmp_path) in capsys.readouterr().err
    with locked(tmp_path, shared=True):
        assert run(options(photos, tmp_path)) == 2
        assert run(options(photos, tmp_path, shard=(0, NUMBER))) == 0
    assert len(contents(tmp_path)) == 2


def test_a_refused_run_leaves_the_lines_of_the_other(photos, tmp_path):
    lines = tmp_path / 'coco.jsonl'
    lines.write_text('{"image": ')  # half of a line, which the other run is writing
    with locked(tmp_path):
        assert run(options(photos, tmp_path, save=['coco'], resume=True)) == 2
    assert lines.read_text() == '{"image": '


def test_settings_of_earlier_runs_are_kept(photos, tmp_path):
    assert run(options(photos, tmp_path)) == 0
    assert run(options(photos, tmp_path, flip_test=True)) == 0
    meta = json.loads((tmp_path / 'meta.json').read_text())
    assert [meta['protocol']['flip_test'], *(old['protocol']['flip_test'] for old in meta['earlier'])] == [True, False]


def table(folder, kind):
    parquet = pytest.importorskip('pyarrow.parquet')
    rows = sum((parquet.read_table(path).to_pylist() for path in folder.glob(f'{kind}*.parquet')), [])
    return sorted(({**row, 'seconds': None} for row in rows), key=lambda row: row['image'])


def members(folder):
    found = {}
    for path in folder.glob('*.tar'):
        with tarfile.open(path) as archive:
            found |= {member.name: archive.extractfile(member).read() for member in archive}
    return found


@pytest.mark.parametrize('ways', [[dict(devices=['cpu', 'cpu'])], [dict(shard=(0, 2)), dict(shard=(1, 2))]])
def test_tables_and_archives_of_several_processes(photos, tmp_path, expected, monkeypatch, ways):
    monkeypatch.setattr('sapiens_mm.apis.job._BATCHES', 2)
    (photos / 'broken.png').write_bytes(b'no image')
    one, several, save = tmp_path / 'one', tmp_path / 'several', ['parquet', 'tar', 'coco', 'json']
    try:
        assert run(options(photos, one, save=save)) == 1
        assert {run(options(photos, several, save=save, **way)) for way in ways} <= {0, 1}
        for way in ways:
            run(options(photos, several, save=save, resume=True, **way))
    finally:
        (photos / 'broken.png').unlink()
    for kind in ('people', 'images'):
        assert table(several, kind) == table(one, kind)
    assert [row['image'] for row in table(one, 'images') if row['error']] == ['broken.png']
    assert [row['image'] for row in table(one, 'people')] == sorted(f'{number}.png' for number in range(NUMBER))
    assert members(several) == members(one) == {
        f'{name[0]}.json': content for name, content in expected.items() if name != 'meta.json'}
    files = [json.loads(path.read_text()) for path in several.glob('coco*.json')]
    assert sorted(image['file_name'] for file in files for image in file['images']) == [
        f'{number}.png' for number in range(NUMBER)]
    assert not list(several.glob('.unfinished*'))
    assert not list(several.glob('*.png.json'))


def test_tables_of_two_runs_into_one_folder(photos, tmp_path, capsys):
    assert run(options(photos / '0.png', tmp_path, save=['parquet'])) == 0
    assert run(options(photos, tmp_path, save=['parquet'])) == 2
    assert '--out' in capsys.readouterr().err
    assert run(options(photos, tmp_path, save=['parquet'], resume=True)) == 0
    assert len(table(tmp_path, 'people')) == NUMBER
    assert run(options(photos, tmp_path, save=['parquet'], resume=True)) == 0
    assert f'all {NUMBER} inputs' in capsys.readouterr().out
    assert run(options(photos, tmp_path, save=['parquet', 'json'], resume=True)) == 0
    assert len(table(tmp_path, 'people')) == NUMBER
    assert len(list(tmp_path.glob('*.png.json'))) == NUMBER


@pytest.mark.parametrize('kwargs', [dict(devices=['cuda:99']), dict(devices=['all', 'cpu']), dict(devices=['tpu9'])])
def test_bad_devices(photos, tmp_path, kwargs, capsys):
    assert run(options(photos, tmp_path / 'out', **kwargs)) == 2
    assert '--devices' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


WORK = '''
import os, signal
from pathlib import Path
from sapiens_mm.apis.job import Summary

class Worker:
    def __init__(self, folder, poison):
        self.folder, self.poison = Path(folder), poison

    def __call__(self, sources):
        for source in sources:
            if source.name == self.poison:
                os.kill(os.getpid(), signal.SIGKILL)
            (self.folder / source.name).touch()
        return sources, Summary(dict(image=len(sources), frame=0))
'''


def test_only_the_source_that_kills_its_process_twice_is_lost(tmp_path, monkeypatch):
    (tmp_path / 'job_work.py').write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    import functools

    import job_work
    out = tmp_path / 'out'
    out.mkdir()
    sources = [Source(f'{i}.png', f'{i}.png') for i in range(20)]  # two chunks
    make = functools.partial(job_work.Worker, out, '3.png')
    done, summaries = zip(*process_on_devices([make], sources, 1, 1, lambda: False))
    assert sorted(source.name for source in sum(done, [])) == sorted(source.name for source in sources)
    assert sum(summary.done['image'] for summary in summaries) == 19
    message, = sum((summary.unread for summary in summaries), [])
    assert '3.png' in message
    assert sorted(path.name for path in out.iterdir()) == sorted(f'{i}.png' for i in range(20) if i != 3)
    assert list(process_on_devices([make], sources, 1, 1, lambda: True)) == []


@pytest.mark.slow
@pytest.mark.parametrize('victim', ['worker', 'parent'])
def test_a_killed_run_is_resumed(photos, tmp_path, expected, victim):
    """SIGKILL at several moments; every file is whole at any time, and none is missing at the end."""
    command = [sys.executable, '-m', 'sapiens_mm', 'run', str(photos), '--out', str(tmp_path), '--size', 'tiny',
               '--tasks', 'pose-17', '--detector', 'none', '--save', 'json,parquet', '--batch-size', '1', '--resume',
               '--devices', 'cpu,cpu']
    for seconds in (6, 10, 14, 18):
        started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        if started.poll() is None:
            children = Path(f'/proc/{started.pid}/task/{started.pid}/children').read_text().split()
            target = started.pid if victim == 'parent' or not children else int(children[-1])
            with contextlib.suppress(ProcessLookupError):
                os.kill(target, signal.SIGKILL)
        started.wait(timeout=120)
        for path in tmp_path.glob('*.json'):
            json.loads(path.read_text())
    assert subprocess.run(command, capture_output=True, text=True).returncode == 0
    assert [row['image'] for row in table(tmp_path, 'people')] == [f'{number}.png' for number in range(NUMBER)]
    found = {name: content for name, content in contents(tmp_path).items() if name.endswith('.png.json')}
    assert found == {name: content for name, content in expected.items() if name != 'meta.json'}
