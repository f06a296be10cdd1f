"""Tests of tools/run_arguments.py."""
import argparse
import importlib.util
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location(
    'run_arguments', Path(__file__).resolve().parents[2] / 'tools/run_arguments.py')
run_arguments = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(run_arguments)


def read(*words):
    parser = argparse.ArgumentParser()
    run_arguments.add_run_arguments(parser)
    return run_arguments.read_config(parser.parse_args([str(word) for word in words]))


@pytest.mark.parametrize('text', ['first', '1', '1/2/3', '2/2', '-1/2', '0/0'])
def test_bad_shards(text, capsys):
    parser = argparse.ArgumentParser()
    run_arguments.add_shard_argument(parser, 'only some')
    with pytest.raises(SystemExit):
        parser.parse_args([f'--shard={text}'])
    assert text in capsys.readouterr().err.splitlines()[-1]


def test_shards():
    parser = argparse.ArgumentParser()
    run_arguments.add_shard_argument(parser, 'only some')
    assert parser.parse_args([]).shard == (0, 1)
    assert parser.parse_args(['--shard', '3/64']).shard == (3, 64)


def test_command_line_overrides_the_config(tmp_path):
    path = tmp_path / 'some.name.py'
    path.write_text("value = 1\nnested = dict(value=[1, 2])\nwork_dir = 'from_config'\n")
    cfg = read(path, '--cfg-options', 'value=2', 'nested.value=[3,4]')
    assert (cfg.value, cfg.nested.value, cfg.work_dir, cfg.launcher) == (2, [3, 4], 'from_config', 'none')
    assert read(path, '--work-dir', 'here').work_dir == 'here'
    path.write_text('value = 1')
    assert read(path).work_dir == 'work_dirs/some.name'
