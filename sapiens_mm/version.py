__version__ = '0.1.0'
#: Package -> lowest version, first version too high, the one that is tested, and the name that pip knows.
HOSTS = {
    'torch': ('2.1', '3.0', '2.12.1', 'torch'), 'mmengine': ('0.9.0', '1.0.0', '0.10.7', 'mmengine'),
    'mmcv': ('2.0.0', '3.0.0', '2.1.0', 'mmcv'), 'mmpose': ('1.1.0', '2.0.0', '1.3.2', 'mmpose'),
    'mmseg': ('1.0.0', '2.0.0', '1.2.2', 'mmsegmentation'), 'mmdet': ('3.0.0', '4.0.0', '3.3.0', 'mmdet')
}


def require_torch(low: str, what: str) -> None:
    """Raises an ImportError where torch is older than ``low``; ``what`` needs something that came with that."""
    import torch
    from mmengine.utils import digit_version
    if digit_version(torch.__version__) < digit_version(low):
        raise ImportError(f'{what}: got torch {torch.__version__}, expected {low} or newer; install it, or go on '
                          'without')


def require(package: str) -> None:
    """Raises an ImportError unless one of `HOSTS` is there in a version that works."""
    from mmengine.utils import digit_version  # setup.py reads this file where mmengine need not be
    low, high, tested, pip_name = HOSTS[package]
    found = __import__(package).__version__
    if not digit_version(low) <= digit_version(found) < digit_version(high):
        raise ImportError(f'{package} {found} is installed, but sapiens_mm {__version__} needs >={low}, <{high} '
                          f'({tested} is tested). Install that: pip install {pip_name}=={tested}')
