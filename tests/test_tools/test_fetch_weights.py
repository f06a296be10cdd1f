"""Tests of tools/fetch_weights.py."""
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sapiens_mm.apis.model_zoo import RELEASED, released_file

SCRIPT = Path(__file__).parents[2] / 'tools' / 'fetch_weights.py'


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location('fetch_weights', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('argv', [[], ['0.3b'], ['0.3b', 'depth', 'more']])
def test_usage(tool, argv):
    with pytest.raises(SystemExit) as info:
        tool.main(argv)
    assert info.value.code == 2


@pytest.mark.parametrize(('argv', 'words'), [
    (['0.4b', 'depth'], '0.4b'),
    (['2b', 'pose-308'], 'pose-308 was not released for 2b'),
    (['--source', 'https://example.com/w.pth'], 'expected hf://'),
])
def test_one_line_on_bad_input(tool, capsys, argv, words):
    assert tool.main(argv) == 1
    err = capsys.readouterr().err
    assert err.startswith('fetch_weights: ')
    assert words in err
    assert err.count('\n') == 1


def test_offline(tmp_path):
    """As a user runs it, with the real switch of huggingface_hub."""
    env = {**os.environ, 'HF_HUB_OFFLINE': '1', 'HF_HOME': str(tmp_path / 'hf')}
    out = subprocess.run([sys.executable, str(SCRIPT), 'sapiens_0.3b', 'pose-308', '--out', str(tmp_path / 'out')],
                         env=env, capture_output=True, text=True)
    assert out.returncode == 1
    assert out.stdout == ''
    assert out.stderr.startswith('fetch_weights: hf://facebook/sapiens-pose-0.3b/')
    assert 'HF_HUB_OFFLINE is set' in out.stderr
    assert out.stderr.count('\n') == 1
    assert not list(tmp_path.rglob('*.pth*'))


def test_list(tool, capsys):
    assert tool.main(['--list']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(RELEASED)
    assert lines[0].split()[:2] == ['sapiens_0.3b', 'pretrain']


@pytest.mark.parametrize(('argv', 'source'), [
    (['sapiens_0.3b', 'depth'], released_file('0.3b', 'depth').source),
    (['0.3b', 'depth', '--source', 'hf://me/mine/w.pth'], 'hf://me/mine/w.pth'),
    (['--source', 'hf://me/mine/w.pth'], 'hf://me/mine/w.pth'),
])
def test_fetch(tool, monkeypatch, capsys, argv, source):
    asked = []
    monkeypatch.setattr(tool, 'fetch_with_record', lambda *args: asked.append(args) or 'weights/w.pth')
    assert tool.main([*argv, '--out', 'weights']) == 0
    assert asked == [(source, 'weights')]
    assert capsys.readouterr().out == 'weights/w.pth\n'
