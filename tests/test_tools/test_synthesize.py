"""tools/synthesize.py: bad options, its output, and Ctrl-C."""
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

pytest.importorskip('anny')
pytest.importorskip('mitsuba')

from ..test_synth.conftest import workers_in_this_process  # noqa: E402


def command(root, folder, *options) -> list:
    return [sys.executable, str(root / 'tools/synthesize.py'), str(folder), '--size', '64', '48', '--samples', '1',
            '--seed', '7', *options]


def contents(folder: Path) -> dict:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.fixture(scope='module')
def synthesize(root):
    """Runs the tool in this process, which has imported everything; returns status, output and errors."""
    def run(folder, *options) -> tuple:
        status, out, err = 0, StringIO(), StringIO()
        with (pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err),
              workers_in_this_process()):
            patch.setattr(sys, 'argv', command(root, folder, *options)[1:])
            patch.syspath_prepend(root / 'tools')  # as Python does for a script
            try:
                runpy.run_path(str(root / 'tools/synthesize.py'), run_name='__main__')
            except SystemExit as end:
                message = '' if isinstance(end.code, int) else str(end.code)
                err.write(message)
                status = 1 if message else end.code
        return status, out.getvalue(), err.getvalue()

    return run


@pytest.fixture(scope='module')
def whole(synthesize, tmp_path_factory):
    """``(folder, output)`` of an uninterrupted run."""
    folder = tmp_path_factory.mktemp('whole') / 'set'
    status, out, err = synthesize(folder, '--num', '2', '--preview', '2', '--tasks', 'pose', 'parts', 'depth')
    assert status == 0, err
    return folder, out


@pytest.mark.parametrize(('options', 'value'), [
    (('--num', '4', '--size', '0', '48'), r'--size.*\(0, 48\)'), (('--num', '0'), '--num.*0'),
    (('--num', '4', '--samples', '0'), '--samples.*0'), (('--num', '4', '--backgrounds', 'nowhere'), 'nowhere'),
    (('--num', '4', '--preview', '-1'), '--preview.*-1'), (('--num', '4', '--shard', '2/2'), '--shard.*2/2'),
    (('--num', '4', '--shard', 'first'), '--shard.*first'), (('--num', '4', '--tasks', 'matte'), '--tasks.*matte')])
def test_bad_options_end_in_one_line(tmp_path, options, value, synthesize):
    status, _, errors = synthesize(tmp_path / 'set', *options)
    assert status not in (0, None)
    # Before it, argparse prints the usage.
    assert re.search(value, errors.strip().splitlines()[-1])
    assert 'Traceback' not in errors
    assert not (tmp_path / 'set').exists()


def test_a_folder_of_other_settings_is_named_in_one_line(whole, synthesize):
    before = contents(whole[0])
    status, _, errors = synthesize(whole[0], '--num', '2', '--tasks', 'pose', 'depth')
    assert status == 1
    (line, ) = errors.splitlines()
    assert "['pose', 'seg', 'depth'] instead of ['pose', 'depth']" in line
    assert contents(whole[0]) == before


@pytest.mark.parametrize('missing', ['anny', 'mitsuba', 'mitsuba_oidn'])
def test_a_missing_extra_is_one_line_with_the_command_that_installs_it(tmp_path, synthesize, monkeypatch, missing):
    from sapiens_mm.synth import generate
    from sapiens_mm.synth.body import Body
    monkeypatch.setattr(generate, 'load_body', Body)  # not the cached one
    monkeypatch.setitem(sys.modules, missing, None)
    status, _, errors = synthesize(tmp_path / 'set', '--num', '1')
    assert status == 1
    (line, ) = errors.splitlines()
    assert "pip install 'sapiens_mm[synth]'" in line
    assert not (tmp_path / 'set/samples').exists()


def test_a_full_disk_is_one_line(tmp_path, synthesize, monkeypatch):
    import errno

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', full)
    status, _, errors = synthesize(tmp_path / 'set', '--num', '1')
    assert status == 1
    (line, ) = errors.splitlines()
    assert 'the disk is full' in line
    assert not contents(tmp_path / 'set')


def test_prints_what_it_made_and_the_time_of_each_stage(whole):
    folder, output = whole
    first, second = output.splitlines()
    assert re.match(r'2 images; seconds per image on one core: [\d.]+ \(people [\d.]+, .*rgb [\d.]+', first)
    assert second == f'contact sheet: {folder / "preview.png"}'
    assert (folder / 'preview.png').stat().st_size > 0
    assert_whole(folder, ('parts', 'png'), ('depth', 'npy'))
    assert not (folder / 'normal').exists()


def test_a_shard_without_images_is_no_error(tmp_path, synthesize):
    assert synthesize(tmp_path / 'set', '--num', '1', '--shard', '5/8') == (0, '', '')
    assert not list((tmp_path / 'set').glob('samples/*'))


def assert_whole(folder: Path, *labels):
    """Every finished sample has all of its files, and none is incomplete."""
    assert not list(folder.rglob('*.part-*'))
    for path in (folder / 'samples').glob('*.json'):
        json.loads(path.read_text())
        for kind, suffix in (('images', 'png'), ('masks', 'png'), ('instances', 'png'), *labels):
            assert (folder / kind / f'{path.stem}.{suffix}').stat().st_size > 0


@pytest.mark.slow
def test_ctrl_c_ends_within_seconds_with_one_line_and_nothing_incomplete(root, tmp_path):
    folder = tmp_path / 'set'
    process = subprocess.Popen(
        command(root, folder, '--num', '500', '--workers', '2'), cwd=root, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
        # A shell's background job ignores Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        deadline = time.monotonic() + 150
        while not list(folder.glob('samples/*.json')):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        begin = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, errors = process.communicate(timeout=60)  # until the workers have ended too, which share stderr
        assert time.monotonic() - begin < 15
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode not in (0, None)
    assert errors.splitlines() == ['interrupted: finished images are kept, the same command continues']
    assert_whole(folder, ('parts', 'png'), ('depth', 'npy'), ('normal', 'npy'))
