"""Tests of config reading."""
import pytest

from sapiens_mm.engine.config import load_config

BASE = "_base_ = ['sapiens_mm::sapiens_pose/coco/sapiens_tiny-210e_coco-256x192.py']\n"


@pytest.fixture
def packaged(root, monkeypatch):
    """MMEngine finds the checkout even where another one is installed."""
    monkeypatch.setattr('mmengine.config.config.get_installed_path', lambda package: str(root / package))


def scopes(node):
    if isinstance(node, dict):
        yield from [node['_scope_']] if '_scope_' in node else []
        node = node.values()
    if not isinstance(node, str) and hasattr(node, '__iter__'):
        for child in node:
            yield from scopes(child)


def test_a_config_that_is_not_in_the_package(packaged, tmp_path):
    (tmp_path / 'mine.py').write_text("_base_ = 'sapiens_mm::sapiens_pose/nothing.py'")
    with pytest.raises(FileNotFoundError, match='nothing.py'):
        load_config(tmp_path / 'mine.py')


def test_same_as_by_its_path(packaged, root, tmp_path):
    (tmp_path / 'mine.py').write_text(BASE + "model = dict(head=dict(out_channels=5, loss=dict(type='L1Loss')))\n")
    expected = load_config(root / 'configs/sapiens_pose/coco/sapiens_tiny-210e_coco-256x192.py')
    expected.merge_from_dict({'model.head.out_channels': 5, 'model.head.loss.type': 'L1Loss'})
    assert load_config(tmp_path / 'mine.py').to_dict() == expected.to_dict()


def test_scopes_of_others_stay(packaged, tmp_path):
    (tmp_path / 'mine.py').write_text(BASE + "test_cfg = dict(type='mmdet.TestLoop', _scope_='mmdet')\n")
    assert list(scopes(load_config(tmp_path / 'mine.py')._cfg_dict)) == ['mmdet']


def test_options(packaged, tmp_path):
    (tmp_path / 'mine.py').write_text(BASE)
    cfg = load_config(tmp_path / 'mine.py', {'train_cfg.max_epochs': 3})
    assert cfg.train_cfg.max_epochs == 3
