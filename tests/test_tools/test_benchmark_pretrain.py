"""Tests of tools/benchmarks/pretrain.py."""
import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

TOOL = Path(__file__).resolve().parents[2] / 'tools/benchmarks/pretrain.py'


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOL.parent))  # where a script finds its neighbors
    spec = importlib.util.spec_from_file_location('benchmark_pretrain', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr('sys.argv', [str(TOOL), '--arch', 'tiny', '--size', '64', '--steps', '1', '--threads', '1'])
    return module


def stand_in(tool, monkeypatch, status, results):
    """Replaces the process of each variant by its result."""

    def run(command, **kwargs):
        name = command[command.index('--variant') + 1]
        return SimpleNamespace(returncode=status, stdout='a warning\n' + json.dumps(results[name]))

    monkeypatch.setattr(tool.subprocess, 'run', run)


RESULTS = {'mmpretrain': dict(seconds=4., peak=10e9, beyond=5e9, loss=1., parameters=1),
           'ours': dict(seconds=3., peak=10e9, beyond=5e9, loss=1., parameters=1),
           'ours, checkpointed': dict(seconds=5., peak=6e9, beyond=1e9, loss=1., parameters=1)}


def test_killed_process(tool, monkeypatch):
    stand_in(tool, monkeypatch, -9, RESULTS)
    with pytest.raises(SystemExit, match="'mmpretrain'.*-9"):
        tool.main()


def test_ratios_are_to_mmpretrain(tool, monkeypatch, capsys):
    stand_in(tool, monkeypatch, 0, RESULTS)
    tool.main()
    rows = {line[:20].strip(): line[20:].split() for line in capsys.readouterr().out.splitlines()[2:]}
    assert rows['mmpretrain'] == ['4.00', '1.00', '10.00', '1.00', '5.00', '1.00', '1.000']
    assert rows['ours'][:2] == ['3.00', '0.75']
    assert rows['ours, checkpointed'] == ['5.00', '1.25', '6.00', '0.60', '1.00', '0.20', '1.000']


@pytest.mark.parametrize('variant', ['ours', 'ours, checkpointed'])
def test_a_step_is_measured(tool, monkeypatch, variant):
    monkeypatch.setattr('sys.argv', [*tool.sys.argv, '--variant', variant])
    result = tool.measure(tool.parse_args())
    assert result['seconds'] > 0
    assert result['loss'] == pytest.approx(1, abs=0.5)
    assert result['peak'] > result['beyond']
