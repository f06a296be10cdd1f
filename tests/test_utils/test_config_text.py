"""Tests of config values as Python source."""
import pytest
from mmengine.config import Config

from sapiens_mm.utils.config_text import Code, format_value


@pytest.mark.parametrize('value', [
    {}, [], (), (1, ), None, 'it\'s "so"', 1e-05, dict(type='A', size=(1, 2)), {'a.b': 1, 'c d': dict(e=2)},
    [dict(type='A', long='x' * 60), dict(type='B', long='y' * 60)], list(range(100)),
    dict(deep=dict(deeper=dict(deepest=['z' * 30] * 8, more=tuple(range(60))))), dict(lambda_=1, **{'class': 2})])
def test_source_gives_the_value_again(value, tmp_path):
    source = format_value(value)
    assert eval(source) == value
    assert max(map(len, source.splitlines())) <= 120
    path = tmp_path / 'config.py'
    path.write_text(f'value = {source}\n')
    assert Config.fromfile(path).value == value


def test_code_stands_as_it_is():
    assert format_value(dict(a=Code('root'), b=[Code("root + 'x'")])) == "dict(a=root, b=[root + 'x'])"
