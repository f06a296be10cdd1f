"""tools/benchmarks at toy size: every result is printed, finite and consistent; no test depends on the time."""
import importlib.util
import json
import math
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / 'tools' / 'benchmarks'


def load(name: str):
    spec = importlib.util.spec_from_file_location(f'benchmarks_{name}', FOLDER / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))  # where a script finds its neighbors
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def pose():
    return load('pose')


@pytest.fixture
def default_scope():
    """Restores the default scope and the threads."""
    import cv2
    import torch
    from mmengine.registry import DefaultScope
    scopes, threads, cv2_threads = DefaultScope._instance_dict.copy(), torch.get_num_threads(), cv2.getNumThreads()
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(scopes)
    torch.set_num_threads(threads)
    cv2.setNumThreads(cv2_threads)


@pytest.mark.parametrize('argv', [['--only', 'encode'], ['--size', '64x48'], ['--rounds', 'many']])
def test_pose_usage(pose, argv):
    with pytest.raises(SystemExit) as info:
        pose.parse_args(argv)
    assert info.value.code == 2


def test_memory_usage():
    with pytest.raises(SystemExit) as info:
        load('memory').parse_args(['--shape', '64'])
    assert info.value.code == 2


@pytest.mark.usefixtures('default_scope')
def test_pose_prints_all_results(pose, capsys, tmp_path):
    rows = pose.main(['--quick', '--out', str(tmp_path / 'pose.json')])
    assert json.loads((tmp_path / 'pose.json').read_text()) == rows
    lines = [line for line in capsys.readouterr().out.splitlines() if line.split()[0] in pose.PARTS]
    assert [line.split()[0] for line in lines] == [entry['part'] for entry in rows]
    assert [entry['part'] for entry in rows] == ['loader', 'decode', *['step'] * 4]
    for entry, line in zip(rows, lines):
        results = [value for key, value in entry.items() if key not in ('part', 'case')]
        assert all(map(math.isfinite, results))
        assert min(entry['ours'], entry['stock']) > 0
        assert entry['ratio'] == pytest.approx(entry['stock'] / entry['ours'])
        assert f'{entry["ratio"]:.2f}x' in line
        assert entry['case'] in line
    loader, decode, *steps = rows
    assert loader['ours_per_s'] / loader['stock_per_s'] == pytest.approx(loader['ratio'])
    assert loader['ours_per_s'] == pytest.approx(4 / loader['ours'])
    assert decode['max_difference_px'] < 0.01
    assert [entry['relative_difference'] < 1e-5 for entry in steps[::2]] == [True, True]
    for entry in steps:
        assert entry['ours'] == pytest.approx(0.98 * entry['plain'] + 0.02 * entry['logged'])


def test_pose_takes_turns(pose, monkeypatch):
    """With a clock that each call moves by known steps."""
    now, calls = [0.], []
    monkeypatch.setattr('time.perf_counter', lambda: now[0])

    def function(name, seconds):
        seconds = iter(seconds)

        def call():
            calls.append(name)
            now[0] += next(seconds)
        return call

    fastest = pose.take_turns([function('ours', [1, 3, 5, 2]), function('stock', [0, 10, 8, 9])], 3)
    assert fastest == [2, 8]
    assert calls == ['ours', 'stock'] * 4
    assert pose.row('decode', 'x', *fastest)['ratio'] == 4


@pytest.mark.usefixtures('default_scope')
def test_pose_runs_chosen_parts_and_only_mmposes_pieces_differ(pose):
    rows = pose.main(['--quick', '--only', 'decode'])
    assert [entry['part'] for entry in rows] == ['decode']
    cfg = pose.Config.fromfile(pose.CONFIGS / '_base_/pipelines/pose_1024x768.py')
    ours, stock = cfg.train_pipeline, pose.stock_pipeline(cfg.train_pipeline)
    differ = [(a, b) for a, b in zip(ours[1:], stock) if a != b]
    assert len(ours) == len(stock) + 1
    assert [(a.type, b['type']) for a, b in differ] == [
        ('SapiensLoadImage', 'LoadImage'), ('SapiensPhotometricDistortion', 'PhotometricDistortion'),
        ('GenerateTarget', 'GenerateTarget')]
    assert differ[-1][1]['encoder']['type'] == 'UDPHeatmap'
    assert {**differ[-1][1]['encoder'], 'type': 'SapiensUDPHeatmap'} == differ[-1][0].encoder


def test_memory_prints_both_variants(run_tool, monkeypatch, capsys, tmp_path):
    path, memory = tmp_path / 'memory.json', load('memory')
    monkeypatch.setattr(memory.subprocess, 'run', lambda command, **_: run_tool(*command[1:]))
    rows = memory.main(['--arch', 'sapiens_tiny', '--shape', '64', '48', '--out', str(path)])
    assert json.loads(path.read_text()) == rows
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert [entry['with_cp'] for entry in rows] == [True, False]
    assert rows[0]['loss'] == pytest.approx(rows[1]['loss'], rel=1e-4)  # as many steps of the same model
    for entry in rows:
        assert 0 < entry['start_gb'] < entry['peak_gb'] < 4
        assert 0.08 < entry['state_gb'] < 0.1  # 5.4 M parameters, 16 bytes each
        assert 0 < entry['seconds'] < math.inf


@pytest.mark.slow
def test_checkpointed_training_step_fits_in_8_gb():
    entry, = load('memory').main(['--arch', '0.3b', '--shape', '1024', '768', '--with-cp', 'on'])
    assert entry['state_gb'] < entry['peak_gb'] < 8


@pytest.mark.usefixtures('default_scope')
def test_inference_prints_all_results(capsys, tmp_path):
    path = tmp_path / 'inference.json'
    rows = load('inference').main(['--quick', '--only', 'pose', 'dense', '--out', str(path)])
    assert json.loads(path.read_text()) == rows
    out = capsys.readouterr().out
    assert [row['part'] for row in rows] == ['pose', 'dense']
    for row in rows:
        assert row['ratio'] == pytest.approx(row['plain'] / row['batched'])
        assert f'ratio            {row["ratio"]:.2f}' in out
        assert f'host share       {row["host_share"]:.0%}' in out
        assert min(row['one_by_one'], *row['stages'].values()) > 0
        assert 0 <= row['host_share'] < 1
    assert rows[0]['difference'] < 0.05  # pixels
    assert rows[1]['difference'] < 0.05  # of the labels
