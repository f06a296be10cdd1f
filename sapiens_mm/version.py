"""Version of the package, and versions of the libraries that it supports."""
__version__ = '0.1.0'
#: Package -> lowest version, first unsupported version, tested version, and name on PyPI.
HOSTS = {
    'torch': ('2.1', '3.0', '2.12.1', 'torch'), 'mmengine': ('0.9.0', '1.0.0', '0.10.7', 'mmengine'),
    'mmcv': ('2.0.0', '3.0.0', '2.1.0', 'mmcv'), 'mmpose': ('1.1.0', '2.0.0', '1.3.2', 'mmpose'),
    'mmseg': ('1.0.0', '2.0.0', '1.2.2', 'mmsegmentation'), 'mmdet': ('3.0.0', '4.0.0', '3.3.0', 'mmdet')
}


def require_torch(low: str, what: str) -> None:
    """Raises an ImportError if torch is older than ``low``, which ``what`` needs."""
    import torch
    from mmengine.utils import digit_version
    if digit_version(torch.__version__) < digit_version(low):
        raise ImportError(f'{what}: got torch {torch.__version__}, expected {low} or newer; upgrade torch')


def require(package: str) -> None:
    """Raises an ImportError unless a package of `HOSTS` is installed in a supported version."""
    from mmengine.utils import digit_version  # setup.py reads this file without mmengine
    low, high, tested, pip_name = HOSTS[package]
    installed = __import__(package).__version__
    if not digit_version(low) <= digit_version(installed) < digit_version(high):
        raise ImportError(f'{package}: got {installed}, expected >={low}, <{high} for sapiens_mm {__version__}; '
                          f'pip install {pip_name}=={tested}, the tested version')
