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
from sapiens_mm.utils.shards import run_in_processes

def make(kind):
    return dict(die=lambda item: os._exit(1), invert=lambda item: 1 / item,
                stay=lambda item: print(os.getpid(), flush=True) or time.sleep(100),
                ask=lambda item: (item, os.getpid(), os.environ['OMP_NUM_THREADS'],
                                  signal.getsignal(signal.SIGINT) == signal.SIG_IGN))[kind]

def run(kind, items, workers=1):
    return list(run_in_processes(functools.partial(make, kind), items, workers))
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


@pytest.mark.parametrize(('kind', 'error'), [('die', ChildProcessError), ('invert', ZeroDivisionError)])
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
