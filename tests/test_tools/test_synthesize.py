"""tools/synthesize.py as a process: what it writes, how it is interrupted and what it says about bad input."""
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip('anny')
pytest.importorskip('mitsuba')


def command(root, folder, *options) -> list:
    return [sys.executable, str(root / 'tools/synthesize.py'), str(folder), '--size', '64', '48', '--samples', '1',
            '--seed', '7', *options]


def synthesize(root, folder, *options):
    return subprocess.run(command(root, folder, *options), cwd=root, capture_output=True, text=True, timeout=200)


def contents(folder: Path) -> dict:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def processes_of(folder: Path) -> list:
    """Process ids whose session is that of a tool started by `start`, by the folder in its environment."""
    found = []
    for path in Path('/proc').glob('[0-9]*/environ'):
        try:
            if f'SYNTHESIZE_TEST={folder}'.encode() in path.read_bytes().split(b'\0'):
                found.append(int(path.parent.name))
        except OSError:
            continue  # it has ended, or is not ours
    return found


def start(root, folder, *options):
    return subprocess.Popen(
        command(root, folder, *options), cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env=dict(os.environ, SYNTHESIZE_TEST=str(folder)),
        # Where the tests run in a shell's background, Ctrl-C is ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


def wait_for_sample(folder: Path, process):
    deadline = time.monotonic() + 150
    while not list(folder.glob('samples/*.json')):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_until_gone(folder: Path):
    deadline = time.monotonic() + 20
    while processes_of(folder):
        assert time.monotonic() < deadline, processes_of(folder)
        time.sleep(0.1)


def assert_whole(folder: Path):
    """Every sample that counts has all of its files, and none is half-written."""
    assert not list(folder.rglob('*.part-*'))
    for path in (folder / 'samples').glob('*.json'):
        json.loads(path.read_text())
        for kind, suffix in (('images', 'png'), ('masks', 'png'), ('instances', 'png'), ('parts', 'png'),
                             ('depth', 'npy'), ('normal', 'npy')):
            assert (folder / kind / f'{path.stem}.{suffix}').stat().st_size > 0


@pytest.fixture(scope='module')
def whole(root, tmp_path_factory):
    """``(folder, output)`` of an uninterrupted run."""
    folder = tmp_path_factory.mktemp('whole') / 'set'
    done = synthesize(root, folder, '--num', '4', '--preview', '2')
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_says_what_it_made_and_how_long_each_stage_took(whole):
    folder, output = whole
    lines = output.splitlines()
    assert re.match(r'4 images; seconds per image on one core: [\d.]+ \(people [\d.]+, .*rgb [\d.]+', lines[0])
    assert lines[1] == f'contact sheet: {folder / "preview.png"}'
    assert (folder / 'preview.png').stat().st_size > 0
    assert_whole(folder)


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc').exists(), reason='looks at /proc')
def test_a_killed_run_leaves_no_process_and_continues_to_the_same_bytes(root, whole, tmp_path):
    folder = tmp_path / 'set'
    process = start(root, folder, '--num', '4', '--preview', '2')
    try:
        wait_for_sample(folder, process)
        process.send_signal(signal.SIGKILL)  # not its workers: they must notice
        process.communicate(timeout=30)
        wait_until_gone(folder)
    finally:
        for pid in processes_of(folder):
            os.kill(pid, signal.SIGKILL)
    finished = len(list(folder.glob('samples/*.json')))
    assert 1 <= finished < 4, 'the run ended before it was killed'
    # As if it had been killed in the middle of a file.
    (folder / 'depth/000003.npy.part-1').write_bytes(b'half')
    done = synthesize(root, folder, '--num', '4', '--preview', '2')
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f'{4 - finished} images')
    assert contents(folder) == contents(whole[0])


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc').exists(), reason='looks at /proc')
def test_ctrl_c_ends_within_seconds_with_one_line_and_nothing_half_written(root, tmp_path):
    folder = tmp_path / 'set'
    process = start(root, folder, '--num', '500', '--workers', '2')
    try:
        wait_for_sample(folder, process)
        begin = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, errors = process.communicate(timeout=60)
        assert time.monotonic() - begin < 15
        wait_until_gone(folder)
    finally:
        for pid in processes_of(folder):
            os.kill(pid, signal.SIGKILL)
    assert process.returncode not in (0, None)
    assert errors.splitlines() == ['interrupted: finished images are kept, the same command continues']
    assert_whole(folder)


@pytest.mark.parametrize(('options', 'message'), [
    (('--num', '4', '--size', '0', '48'), '--size is the height and width'),
    (('--num', '0'), '--num and --workers are at least 1'),
    (('--num', '4', '--samples', '0'), '--samples is the number of light paths'),
    (('--num', '4', '--backgrounds', 'nowhere'), 'nowhere is not a folder'),
    (('--num', '4', '--preview', '-1'), '--preview is a number of images'),
    (('--num', '4', '--shard', '2/2'), '--shard: I/N needs 0 <= I < N'),
    (('--num', '4', '--shard', '0/0'), '--shard: I/N needs 0 <= I < N'),
    (('--num', '4', '--shard', 'first'), "--shard: expected two numbers such as 0/4, got 'first'")])
def test_bad_options_are_told_in_one_line(root, tmp_path, options, message, run_here):
    status, errors = run_here(root, tmp_path / 'set', *options)
    assert status not in (0, None)
    # Before it, argparse may remind of the usage.
    assert message in errors.strip().splitlines()[-1]
    assert 'Traceback' not in errors
    assert not (tmp_path / 'set').exists()


@pytest.fixture
def run_here(monkeypatch, capsys):
    """Runs the tool's main() in this process, which has imported everything already."""
    import runpy

    def run(root, folder, *options) -> tuple:
        monkeypatch.setattr(sys, 'argv', command(root, folder, *options)[1:])
        monkeypatch.syspath_prepend(root / 'tools')  # as Python does for a script
        try:
            runpy.run_path(str(root / 'tools/synthesize.py'), run_name='__main__')
        except SystemExit as end:
            message = '' if isinstance(end.code, int) else str(end.code)
            return 1 if message else end.code, capsys.readouterr().err + message
        return 0, capsys.readouterr().err

    return run


def test_as_a_process_an_unreadable_background_is_one_line_that_names_it(root, tmp_path):
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos/broken.jpg').write_bytes(b'no picture')
    done = synthesize(root, tmp_path / 'set', '--num', '1', '--backgrounds', str(tmp_path / 'photos'))
    assert done.returncode == 1
    (line, ) = done.stderr.splitlines()
    assert 'photos/broken.jpg' in line
    assert not (tmp_path / 'set').exists()


def test_a_shard_without_images_is_no_error(root, tmp_path, run_here):
    assert run_here(root, tmp_path / 'set', '--num', '1', '--shard', '5/8') == (0, '')
    assert not list((tmp_path / 'set').glob('samples/*'))


def test_a_folder_of_other_settings_is_one_line_that_says_which(root, whole, run_here):
    before = contents(whole[0])
    status, errors = run_here(root, whole[0], '--num', '4', '--samples', '2')
    assert status == 1
    (line, ) = errors.splitlines()
    assert 'samples 1 instead of 2' in line
    assert contents(whole[0]) == before


@pytest.mark.parametrize('missing', ['anny', 'mitsuba'])
def test_a_missing_extra_is_one_line_that_tells_how_to_get_it(root, tmp_path, run_here, monkeypatch, missing):
    from sapiens_mm.synth import generate
    from sapiens_mm.synth.body import Body
    monkeypatch.setattr(generate, 'load_body', Body)  # not the one that is there already
    monkeypatch.setitem(sys.modules, missing, None)
    status, errors = run_here(root, tmp_path / 'set', '--num', '1')
    assert status == 1
    (line, ) = errors.splitlines()
    assert "pip install 'sapiens_mm[synth]'" in line
    assert not (tmp_path / 'set/samples').exists()


def test_a_full_disk_is_one_line(root, tmp_path, run_here, monkeypatch):
    import errno

    from sapiens_mm.synth import writer

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writer.os, 'fsync', full)
    status, errors = run_here(root, tmp_path / 'set', '--num', '1')
    assert status == 1
    (line, ) = errors.splitlines()
    assert 'the disk is full' in line
    assert not contents(tmp_path / 'set')
