"""Tests of the environment check."""
import sys

import pytest
import torch
from huggingface_hub import constants

from sapiens_mm.apis import doctor


def checks():
    return {name: (result, advice) for name, result, advice in doctor.examine()}


def test_problems(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, 'mmseg', None)
    monkeypatch.setitem(sys.modules, 'mmcv._ext', None)
    monkeypatch.setattr(sys.modules['mmdet'] if 'mmdet' in sys.modules else __import__('mmdet'), '__version__', '2.0.0')
    monkeypatch.setattr(doctor, 'EMBEDDED', tmp_path)
    monkeypatch.setattr(doctor, 'embedded_tasks', dict)
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    results = checks()
    assert 'pip install mmdet==3.3.0' in results['mmdet'][0]
    assert results['mmseg'][1] == 'pip install mmsegmentation==1.2.2'
    assert results['mmdet'][1] == 'pip install mmdet==3.3.0'
    assert '--no-build-isolation' in results['mmcv ops'][1]
    assert str(tmp_path) in results['embedded model'][0]
    assert 'HF_HUB_OFFLINE is set' in results['Hugging Face Hub'][0]
    assert doctor.main(None) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f'{sum(line.startswith("wrong ") for line in lines)} checks failed'


def test_this_environment_is_fine():
    results = checks()
    assert results['torch'] == (torch.__version__, '')
    for name in ('mmengine', 'mmcv', 'mmpose', 'mmseg', 'mmdet', 'mmcv ops', 'numpy', 'device'):
        assert results[name][1] == '', name


@pytest.mark.parametrize('reason', ['', 'no route to host'])
def test_being_offline_is_no_problem(monkeypatch, reason):
    monkeypatch.setattr(doctor, 'why_no_hub', lambda timeout: reason)
    result, advice = checks()['Hugging Face Hub']
    assert (result == 'reachable', advice) == (not reason, '')
    assert reason in result


@pytest.mark.parametrize('name', ['av', 'gradio'])
def test_optional_packages_may_be_missing(monkeypatch, name):
    monkeypatch.setattr(doctor.importlib.util, 'find_spec', lambda package: None)
    result, advice = checks()[name]
    assert result.startswith('missing')
    assert advice == ''
