"""tools/setup/make_env.sh on machines that lack something: one line of error, and nothing is written."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / 'tools/setup/make_env.sh'


def fake(folder, name, body):
    """Writes an executable script."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f'#!/bin/sh\n{body}\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(('python', 'commands', 'env', 'message'), [
    ('python-of-nobody', {}, {}, "no interpreter 'python-of-nobody' found"),
    ('broken', dict(broken='exit 1'), {}, "'broken' does not run"),
    ('old', dict(old='echo 3.9'), {}, "'old' is Python 3.9, but the OpenMMLab set needs 3.10 to 3.12"),
    (sys.executable, {}, dict(CXX='no-compiler'), "no C++ compiler 'no-compiler' found"),
    (sys.executable, dict(df='echo; echo x x x 2097152'), {}, '2 GB free here, but torch, its CUDA libraries and mmcv'),
])
def test_one_line_says_what_to_do(tmp_path, python, commands, env, message):
    for name, body in commands.items():
        fake(tmp_path / 'bin', name, body)
    path = f'{tmp_path}/bin{os.pathsep}{os.environ["PATH"]}'
    result = subprocess.run(['bash', SCRIPT, python, tmp_path / 'venv'], capture_output=True, text=True, check=False,
                            env={**os.environ, 'PATH': path, **env})
    assert result.returncode == 1
    assert result.stdout == ''
    line, = result.stderr.splitlines()
    assert line.startswith(f'make env: {message}')
    assert not (tmp_path / 'venv').exists()


def test_environment_of_another_python_is_not_touched(tmp_path):
    fake(tmp_path / 'bin', 'newer', 'echo 3.12')
    if sys.version_info[:2] == (3, 12):
        fake(tmp_path / 'bin', 'newer', 'echo 3.11')
    venv = tmp_path / 'venv'
    (venv / 'bin').mkdir(parents=True)
    (venv / 'bin/python').symlink_to(sys.executable)
    result = subprocess.run(['bash', SCRIPT, 'newer', venv], capture_output=True, text=True, check=False,
                            env={**os.environ, 'PATH': f'{tmp_path}/bin{os.pathsep}{os.environ["PATH"]}'})
    assert result.returncode == 1
    assert str(venv) in result.stderr
    assert f'Python {sys.version_info[0]}.{sys.version_info[1]}' in result.stderr


def test_torch_that_was_never_tried(tmp_path):
    result = subprocess.run(['bash', SCRIPT, sys.executable, tmp_path / 'venv', '1.13.1'], capture_output=True,
                            text=True, check=False)
    assert result.returncode == 1
    assert 'torch 1.13.1' in result.stderr
    assert not (tmp_path / 'venv').exists()
