"""tools/curate_humans.py: what it writes, in one process, in an array's jobs, on Ray, and after it was killed."""
import json
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from ..test_pretrain.conftest import gray_png, write_tar

SHARDS, IMAGES = 4, 5


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Shards as img2dataset writes them, and the boxes: image i of a shard has i people, of 400 pixels."""
    folder = tmp_path_factory.mktemp('data')
    boxes = []
    for shard in range(SHARDS):
        members = {}
        for i in range(IMAGES):
            key = f'{shard:05}{i:04}'
            members |= {f'{key}.png': gray_png(50 * i), f'{key}.json': json.dumps(dict(pwatermark=i / 5)).encode()}
            boxes.append(json.dumps(dict(key=key, boxes=[[50, 50, 450, 450, .99 - j / 100] for j in range(i)])))
        write_tar(folder / f'{shard:05}.tar', members)
    (folder / 'boxes.jsonl').write_text('\n'.join(boxes))
    return folder


@pytest.fixture
def run(run_main):
    return partial(run_main, 'tools/curate_humans.py')


@pytest.fixture
def whole(run, data, tmp_path):
    assert run(data, '--out', tmp_path / 'whole', '--boxes', data / 'boxes.jsonl')[0] == 0
    return tmp_path / 'whole'


def contents(folder):
    """Tar files as they are, reports without times."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return files | {name: {**json.loads(data), 'seconds': None}
                    for name, data in files.items() if name.endswith('.json')}


# Bad input


@pytest.mark.parametrize(('arguments', 'message'), [
    (['--boxes', 'b.jsonl'], '--out'),
    (['{data}', '--out', 'o'], '--detector'),
    (['{data}', '--out', 'o', '--boxes', 'b', '--detector', 'c', 'd'], '--detector'),
    (['{data}', '--out', 'o', '--boxes', 'b', '--max-score', 'text'], 'text'),
    (['{data}', '--out', 'o', '--boxes', 'b', '--max-score', 'text=low'], 'text=low'),
    (['{data}', '--out', 'o', '--boxes', 'b', '--shard', '4/4'], '--shard: got 4/4'),
    (['{data}', '--out', 'o', '--boxes', 'b', '--shard', 'x'], "--shard: got 'x'"),
    (['{data}', '--out', 'o', '--boxes', 'b', '--batch', '0'], '--batch'),
    (['{data}', '--out', 'o', '--boxes', 'b', '--workers', '2'], '--ray'),
    (['{data}', '--out', 'o', '--boxes', 'nowhere.jsonl'], 'nowhere.jsonl'),
    (['{data}', '--out', 'o', '--boxes', 'b.jsonl', '--min-score', '1'], 'min_score: got 1.0'),
    (['{data}', '--out', '{data}', '--boxes', 'b.jsonl'], '00000.tar'),
    (['nowhere-{{0..3}}.tar', '--out', 'o', '--boxes', 'b.jsonl'], 'nowhere-0.tar'),
    (['{data}', '--out', 'o', '--detector', 'nowhere.py', 'nowhere.pth'], 'nowhere.py'),
    (['--out', 'o'], 'o has no report'),
])
def test_bad_arguments_are_told_in_one_line(run, data, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'b.jsonl').touch()
    status, _, errors = run(*(argument.format(data=data) for argument in arguments))
    assert status not in (0, None)
    assert message in errors.splitlines()[-1]
    assert 'Traceback' not in errors
    assert not (tmp_path / 'o').exists()


def test_other_settings_are_refused(run, data, whole):
    before = contents(whole)
    status, _, errors = run(data, '--out', whole, '--boxes', data / 'boxes.jsonl', '--min-side', 200)
    assert status == 1
    assert '00000.json: got a report with min_side 300.0 instead of 200.0' in errors.splitlines()[-1]
    assert contents(whole) == before


def test_a_damaged_shard_fails_and_the_others_go_on(run, data, whole, tmp_path):
    for shard in range(SHARDS):
        content = (data / f'{shard:05}.tar').read_bytes()
        (tmp_path / f'{shard:05}.tar').write_bytes(content[:4000 if shard == 1 else None])
    arguments = [str(tmp_path / '{00000..00003}.tar'), '--out', tmp_path / 'out', '--boxes', data / 'boxes.jsonl']
    status, out, errors = run(*arguments)
    assert status == 1
    assert errors.splitlines()[-2].startswith('1 shards failed')
    assert f'{tmp_path}/00001.tar' in errors.splitlines()[-1]
    assert sorted(path.name for path in (tmp_path / 'out').glob('*.tar')) == ['00000.tar', '00002.tar', '00003.tar']
    assert list(json.loads((tmp_path / 'out/report.json').read_text())['failed']) == ['00001']
    (tmp_path / '00001.tar').write_bytes((data / '00001.tar').read_bytes())
    status, out, _ = run(*arguments)
    assert status == 0
    assert '1 shards curated, 3 were finished before; 4 of 5 images kept' in out
    for shard in range(SHARDS):
        assert (tmp_path / f'out/{shard:05}.tar').read_bytes() == (whole / f'{shard:05}.tar').read_bytes()


def test_without_ray(run, data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    status, _, errors = run(data, '--out', tmp_path / 'out', '--boxes', data / 'boxes.jsonl', '--ray', 'local')
    assert status == 1
    assert 'sapiens_mm[ray]' in errors.splitlines()[-1]


# What it writes


def test_what_is_written(whole):
    report = json.loads((whole / 'report.json').read_text())
    assert (report['shards'], report['images'], report['kept'], report['failed']) == (4, 20, 16, {})
    assert report['persons'] == {'1': 4, '2': 4, '3': 4, '4': 4}
    assert report['dropped']['no person'] == 4
    assert sorted(path.name for path in whole.iterdir()) == sorted(
        ['report.json', 'report.png'] + [f'{shard:05}.{kind}' for shard in range(SHARDS) for kind in ('tar', 'json')])


def test_pretraining_reads_it(whole):
    from sapiens_mm.pretrain.images import SapiensImages
    images = SapiensImages(dict(type='shards', urls=str(whole)), size=(8, 8))
    sample = next(iter(images))
    assert sample['inputs'].shape == (3, 8, 8)
    assert sample['data_samples']['bad'] == ''


def test_score_columns(run, data, tmp_path):
    status, _, _ = run(data, '--out', tmp_path / 'out', '--boxes', data / 'boxes.jsonl', '--max-score',
                       'pwatermark=.5', '--max-score', 'pwatermark=.4')
    assert status == 0
    report = json.loads((tmp_path / 'out/report.json').read_text())
    assert (report['kept'], report['dropped']['pwatermark'], report['settings']['max_scores']) == (
        8, 8, dict(pwatermark=.4))


def test_jobs_of_an_array_make_the_same(run, data, whole, tmp_path):
    for job in (2, 0, 1):
        status, _, _ = run(data, '--out', tmp_path / 'out', '--boxes', data / 'boxes.jsonl', '--shard', f'{job}/3')
        assert status == 0
        assert not (tmp_path / 'out/report.json').exists()
    assert run('--out', tmp_path / 'out')[0] == 0
    assert contents(tmp_path / 'out') == contents(whole)


def test_killed_and_started_again(root, run, data, whole, tmp_path):
    """Killed as soon as the first shard is done, wherever the second is then."""
    command = [sys.executable, root / 'tools/curate_humans.py', data, '--out', tmp_path / 'out', '--boxes',
               data / 'boxes.jsonl', '--batch', '1']
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 100
    while not (tmp_path / 'out/00000.json').exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = {path.stem: path.stat().st_mtime_ns for path in (tmp_path / 'out').glob('*.json')}
    assert not (tmp_path / 'out/report.json').exists(), 'it was through before it could be killed'
    status, out, _ = run(*command[2:-2])
    assert status == 0
    assert f'{SHARDS - len(done)} shards curated, {len(done)} were finished before' in out
    assert all((tmp_path / f'out/{name}.json').stat().st_mtime_ns == then for name, then in done.items())
    assert contents(tmp_path / 'out') == contents(whole)


def test_ray_makes_the_same(run, data, whole, tmp_path):
    pytest.importorskip('ray.data', reason='Ray is not installed: pip install -r requirements/ray.txt (490 MB)',
                        exc_type=ImportError)
    arguments = [data, '--out', tmp_path / 'out', '--boxes', data / 'boxes.jsonl', '--ray', 'local']
    status, out, errors = run(*arguments, '--workers', 2)
    assert status == 0, errors
    assert '4 shards curated' in out
    assert contents(tmp_path / 'out') == contents(whole)
    assert '0 shards curated, 4 were finished before' in run(*arguments)[1]
