"""Tests of versions of host libraries and torch."""
import pytest
import torch

from sapiens_mm.version import require, require_torch


def test_another_version_is_refused_under_the_name_that_pip_knows(monkeypatch):
    mmseg = pytest.importorskip('mmseg')
    monkeypatch.setattr(mmseg, '__version__', '2.0.0')
    with pytest.raises(ImportError, match=r'mmseg: got 2\.0\.0, .*<2\.0\.0.*mmsegmentation==1\.2\.2'):
        require('mmseg')


def test_torch_that_lacks_something(monkeypatch):
    monkeypatch.setattr(torch, '__version__', '2.1.2+cu121')
    with pytest.raises(ImportError, match=r'this: got torch 2\.1\.2\+cu121, expected 2\.7 or newer'):
        require_torch('2.7', 'this')
    require_torch('2.1', 'this')
