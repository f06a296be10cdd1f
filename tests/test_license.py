"""Wheel, metadata and weights state the license."""
import subprocess
import sys

import pytest
from safetensors import safe_open

from sapiens_mm.apis.model_zoo import LICENSE


def test_files(root):
    text = (root / 'LICENSE').read_text()
    assert 'Apache License' in text
    assert 'END OF TERMS AND CONDITIONS' in text
    notice = (root / 'NOTICE').read_text()
    assert LICENSE in notice
    assert 'facebook/sapiens-' in notice
    assert 'sapiens_mm/weights' in notice


def test_metadata_of_the_package(root, tmp_path):
    subprocess.run([sys.executable, 'setup.py', '-q', 'egg_info', '--egg-base', tmp_path], cwd=root, check=True,
                   capture_output=True)
    lines = (tmp_path / 'sapiens_mm.egg-info/PKG-INFO').read_text().split('\n\n')[0].splitlines()
    assert any(line in lines for line in ('License: Apache-2.0', 'License-Expression: Apache-2.0'))
    assert {'License-File: LICENSE', 'License-File: NOTICE'} <= set(lines)


@pytest.mark.parametrize('name', ['pose', 'dense'])
def test_embedded_weights(root, name):
    with safe_open(root / f'sapiens_mm/weights/sapiens_hybrid-{name}.safetensors', 'pt') as file:
        assert file.metadata()['license'] == LICENSE
