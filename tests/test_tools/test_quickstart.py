"""tools/quickstart.py at toy size."""
import importlib
import json
import re
import subprocess
import sys

import pytest

pytest.importorskip('anny')
pytest.importorskip('mitsuba')


def quickstart(root, folder, *options):
    return subprocess.run(
        [sys.executable, 'tools/quickstart.py', '--work-dir', str(folder), '--processes', '2', '--train-images', '6',
         '--test-images', '3', '--epochs', '1', *options], cwd=root, capture_output=True, text=True, timeout=500)


@pytest.mark.slow
def test_runs_reports_and_continues(root, tmp_path):
    first = quickstart(root, tmp_path / 'out')
    assert first.returncode == 0, first.stdout + first.stderr
    report = (tmp_path / 'out/report.html').read_text()
    assert report.count('<figure>') == 2 * 3
    for row, name, places in (('keypoints: AP', 'coco/AP', 3), (r'parts: mIoU \(%\)', 'parts/mIoU', 1),
                              (r'normals: mean \(degrees\)', 'normal/pooled/mean', 1)):
        model = 'pose' if 'keypoints' in row else 'dense'
        cells = re.search(f'<tr><td>{row}</td><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td>', report).groups()
        for state, cell in zip(('constant', 'embedded', 'trained'), cells):
            file = tmp_path / f'out/test_{state}_{model}.json'
            assert cell == (f'{json.loads(file.read_text())["metrics"][name]:.{places}f}' if file.exists() else '')
    assert not (tmp_path / 'out/test_constant_pose.json').exists()
    images = sorted((tmp_path / 'out/data').rglob('*.png'))
    stamps = [path.stat().st_mtime_ns for path in images]
    assert len([path for path in images if path.parent.name == 'images']) == 9

    (tmp_path / 'out/report.html').unlink()
    second = quickstart(root, tmp_path / 'out')
    assert second.returncode == 0, second.stdout + second.stderr
    assert second.stdout.count('already done') == 9
    assert (tmp_path / 'out/report.html').exists()
    assert [path.stat().st_mtime_ns for path in images] == stamps

    other = quickstart(root, tmp_path / 'out', '--epochs', '2')
    assert other.returncode != 0
    assert 'epochs 1 instead of 2' in other.stderr


def test_a_stage_that_fails(root, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(root / 'tools')
    quickstart = importlib.import_module('quickstart')
    for split, number in (('train', 6), ('test', 3)):  # the stages before it are done
        for name in ('annotations/person_keypoints.json', *(f'samples/{i}.json' for i in range(number))):
            path = tmp_path / 'out/data' / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\necho "no space left"\nexit 3\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(python))
    monkeypatch.setattr(sys, 'argv', ['quickstart.py', '--work-dir', str(tmp_path / 'out'), '--train-images', '6',
                                      '--test-images', '3'])
    with pytest.raises(SystemExit, match='test embedded dense'):
        quickstart.main()
    assert 'no space left' in capsys.readouterr().out  # the end of the stage's own output
