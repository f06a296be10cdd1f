import sys

import pytest
import torch
from huggingface_hub import constants

from sapiens_mm.apis import doctor


def test_this_environment_is_fine():
    found = {name: (text, advice) for name, text, advice in doctor.examine()}
    assert found['torch'] == (torch.__version__, '')
    for name in ('mmengine', 'mmcv', 'mmpose', 'mmseg', 'mmdet', 'mmcv ops', 'numpy', 'device'):
        assert found[name][1] == '', name


def test_what_is_wrong(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'mmseg', None)
    monkeypatch.setitem(sys.modules, 'mmcv._ext', None)
    monkeypatch.setattr(sys.modules['mmdet'] if 'mmdet' in sys.modules else __import__('mmdet'), '__version__', '2.0.0')
    monkeypatch.setattr(doctor, 'EMBEDDED', tmp_path)
    monkeypatch.setattr(doctor, 'embedded_tasks', dict)
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    found = {name: (text, advice) for name, text, advice in doctor.examine()}
    assert 'pip install mmdet==3.3.0' in found['mmdet'][0]
    assert found['mmseg'][1] == 'pip install mmsegmentation==1.2.2'
    assert found['mmdet'][1] == 'pip install mmdet==3.3.0'
    assert '--no-build-isolation' in found['mmcv ops'][1]
    assert 'no weights in' in found['embedded model'][0]
    assert found['Hugging Face Hub'][0] == 'not reached (HF_HUB_OFFLINE is set): only weights in the cache'


@pytest.mark.parametrize(('reason', 'says'), [
    ('', 'reached'), ('no route to host', 'not reached (no route to host): only weights in the cache')])
def test_the_hub_is_tried(monkeypatch, reason, says):
    monkeypatch.setattr(doctor, 'why_no_hub', lambda timeout: reason)
    assert [(text, advice) for name, text, advice in doctor.examine() if name == 'Hugging Face Hub'] == [(says, '')]


@pytest.mark.parametrize('name', ['av', 'gradio'])
def test_what_is_optional_is_not_wrong(monkeypatch, name):
    monkeypatch.setattr(doctor.importlib.util, 'find_spec', lambda package: None)
    found = {name: (text, advice) for name, text, advice in doctor.examine()}
    assert found[name][0].startswith('not there; only needed for')
    assert found[name][1] == ''
