"""tools/print_config.py."""
import runpy
import sys

import pytest
from mmengine.config import Config


@pytest.fixture
def print_config(root, monkeypatch, capsys):

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['print_config.py', *map(str, arguments)])
        runpy.run_path(str(root / 'tools/print_config.py'), run_name='__main__')
        return capsys.readouterr().out

    return run


def test_missing_file(print_config, tmp_path):
    with pytest.raises(FileNotFoundError, match='none.py'):
        print_config(tmp_path / 'none.py')


def test_output_is_the_resolved_config(print_config, tmp_path):
    (tmp_path / 'base.py').write_text('model = dict(depth=2, width=[1, 2])\nkept = 3\n')
    (tmp_path / 'leaf.py').write_text("_base_ = 'base.py'\nmodel = dict(depth=4)\n")
    out = print_config(tmp_path / 'leaf.py', '--cfg-options', 'model.width=[5,6]')
    assert Config.fromstring(out, '.py').to_dict() == dict(model=dict(depth=4, width=[5, 6]), kept=3)
