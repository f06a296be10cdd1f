"""Tests of tools/benchmarks/pretraining_helps.py without its trainings."""
import importlib.util
import json
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / 'tools/benchmarks/pretraining_helps.py'


@pytest.fixture
def pretraining_helps():
    spec = importlib.util.spec_from_file_location('pretraining_helps', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def lists(tmp_path):
    for name, count in (('people', 12), ('places', 8)):
        (tmp_path / f'{name}.txt').write_text('\n'.join(f'{name}/{i}.jpg' for i in range(count)) + '\n')
    return ['--people', tmp_path / 'people.txt', '--places', tmp_path / 'places.txt', '--labeled', tmp_path / 'lsp',
            '--work-dir', tmp_path / 'work']


def benchmark(pretraining_helps, *args):
    return pretraining_helps.Benchmark(pretraining_helps.parse_args([str(arg) for arg in args]))


def test_bad_numbers(pretraining_helps, lists, capsys):
    with pytest.raises(SystemExit):
        benchmark(pretraining_helps, *lists, '--seeds', 0)
    assert '--seeds: got 0' in capsys.readouterr().err


def test_bad_lists(pretraining_helps, lists, tmp_path):
    with pytest.raises(SystemExit, match='got 20.*12'):
        benchmark(pretraining_helps, *lists, '--people-counts', 20)
    (tmp_path / 'places.txt').unlink()
    with pytest.raises(SystemExit, match='places.txt'):
        benchmark(pretraining_helps, *lists, '--people-counts', 3)


def test_other_settings_need_another_folder(pretraining_helps, lists):
    benchmark(pretraining_helps, *lists, '--people-counts', 3)
    benchmark(pretraining_helps, *lists, '--people-counts', 3)
    with pytest.raises(SystemExit, match='--work-dir'):
        benchmark(pretraining_helps, *lists, '--people-counts', 3, '--steps', 7)


def test_starts_differ_in_photos_only(pretraining_helps, lists, tmp_path):
    work = benchmark(pretraining_helps, *lists, '--people-counts', 3, 12)
    assert {name: len(photos) for name, photos in work.lists.items()} == {
        'places': 8, 'people': 8, 'people-3': 3, 'people-12': 12}
    assert set(work.lists['people-3']) < set(work.lists['people']) < set(work.lists['people-12'])
    assert work.lists['people'][0].startswith(str(tmp_path))


def test_results_of_all_seeds(pretraining_helps, lists, monkeypatch):
    """The trainings are replaced; the commands and the table are those of the tool."""
    commands = []

    def run(self, name, result, command, **env):
        commands.append(name)
        result.parent.mkdir(parents=True, exist_ok=True)
        result.write_text(json.dumps(dict(metrics={'coco/AP': len(commands), 'coco/AP .5': 0.5, 'pck/tPCK': 0.6})))

    monkeypatch.setattr(pretraining_helps.Benchmark, 'run', run)
    args = [*lists, '--people-counts', 3, '--train-images', 16, 40, '--seeds', 2, '--jobs', 1]
    results = pretraining_helps.main([str(arg) for arg in args])
    assert set(results) == {f'{start} on {images}' for start in ('random', 'places', 'people')
                            for images in (16, 40)} | {'people-3 on 16'}
    assert all(len(run['coco/AP']) == 2 for run in results.values())
    assert sum(name.startswith('finetune') for name in commands) == 14
    assert (pretraining_helps.parse_args([str(arg) for arg in args]).work_dir / 'pretraining_helps.png').stat().st_size
