"""What is said of host libraries in versions that do not work."""
import re

import pytest

from sapiens_mm.version import HOSTS, require


@pytest.mark.parametrize('package', HOSTS)
def test_what_is_installed_works(package):
    pytest.importorskip(package)
    require(package)


def test_another_version_is_refused_under_the_name_that_pip_knows(monkeypatch):
    mmseg = pytest.importorskip('mmseg')
    monkeypatch.setattr(mmseg, '__version__', '2.0.0')
    says = 'mmseg 2.0.0 is installed, but .* needs >=1.0.0, <2.0.0 .*' + re.escape('pip install mmsegmentation==1.2.2')
    with pytest.raises(ImportError, match=says):
        require('mmseg')
