"""Tests of running a function over shards."""
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from sapiens_mm.utils.shards import parse_shard, run_on_ray

WORK = '''
import functools, os, signal, sys, time
from pathlib import Path
from sapiens_mm.utils.shards import run_in_processes

def make(kind):
    if kind == 'fail':
        raise KeyError('weights')
    return dict(die=lambda item: os._exit(1), once=die_once, invert=lambda item: 1 / item,
                stay=lambda item: print(os.getpid(), flush=True) or time.sleep(100),
                ask=lambda item: (item, os.getpid(), os.environ['OMP_NUM_THREADS'],
                                  signal.getsignal(signal.SIGINT) == signal.SIG_IGN))[kind]

def die_once(path):
    """Dies at the first call for a path, without a chance to clean up."""
    try:
        Path(path).touch(exist_ok=False)
    except FileExistsError:
        return path, os.getpid()
    os.kill(os.getpid(), signal.SIGKILL)

def run(kind, items, workers=1, **kwargs):
    return list(run_in_processes(functools.partial(make, kind), items, workers, **kwargs))

def run_each(kinds, items):
    return list(run_in_processes([functools.partial(make, kind) for kind in kinds], items))
'''


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a function of a module that new processes can import."""
    (tmp_path / 'shards_work.py').write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    import shards_work
    yield shards_work.run
    del sys.modules['shards_work']


@pytest.mark.parametrize('text', ['4/4', '-1/2', '1/0', 'x', '1', '1/2/3', ''])
def test_a_shard_is_two_numbers(text):
    with pytest.raises(ValueError, match=f"got '?{text}"):
        parse_shard(text)
    assert parse_shard('3/4') == (3, 4)


@pytest.mark.parametrize(('kind', 'error'), [('die', ChildProcessError), ('invert', ZeroDivisionError),
                                             ('fail', KeyError)])
def test_errors_of_workers(run, kind, error):
    with pytest.raises(error):
        run(kind, [1, 0])
    assert not multiprocessing.active_children()


def test_unreachable_cluster_fails_at_once():
    pytest.importorskip('ray', reason="needs the optional extra ray: pip install 'sapiens_mm[ray]'")
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        address = f'127.0.0.1:{free.getsockname()[1]}'
        with pytest.raises(RuntimeError, match=address):
            list(run_on_ray(int, ['a'], address))


def test_ray_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    assert list(run_on_ray(int, [])) == []
    with pytest.raises(ImportError, match=r'sapiens_mm\[ray\]'):
        list(run_on_ray(int, ['a']))


def test_results_of_processes(run, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '7')
    items, processes, threads, ignored = zip(*run('ask', [1, 2, 4], 2))
    assert sorted(items) == [1, 2, 4]
    assert os.getpid() not in processes
    assert len(set(processes)) <= 2
    assert set(threads) == {'1'}
    assert all(ignored)
    assert os.environ['OMP_NUM_THREADS'] == '7'
    assert signal.getsignal(signal.SIGINT) != signal.SIG_IGN


def test_the_item_of_a_killed_worker_is_repeated_once(run, tmp_path):
    path = str(tmp_path / 'a')
    (item, process), = run('once', [path])
    assert item == path
    assert process != os.getpid()
    (tmp_path / 'a').unlink()
    assert run('once', [path], died=lambda item: f'lost {item}') == [f'lost {path}']


def test_each_worker_has_its_function_and_items_may_come_from_a_generator(run):
    import shards_work
    found = shards_work.run_each(['ask', 'invert'], iter([1, 2, 4, 5]))
    assert len(found) == 4
    assert sum(isinstance(result, tuple) for result in found) >= 1
    assert run('ask', []) == []
    assert run('ask', [1], 1, threads=3)[0][2] == '3'


def test_workers_end_with_a_killed_parent(run, tmp_path):
    parent = subprocess.Popen([sys.executable, '-c', 'import shards_work; shards_work.run("stay", [0])'],
                              stdout=subprocess.PIPE, env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)})
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 20
    while os.path.exists(f'/proc/{worker}'):
        assert time.monotonic() < deadline
        time.sleep(.01)
