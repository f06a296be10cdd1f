__version__ = '0.1.0'


def require(package: str, low: str, high: str, tested: str) -> None:
    """Raises an ImportError unless ``package`` is there in a version from ``low`` up to, not including, ``high``."""
    from mmengine.utils import digit_version  # setup.py reads this file where mmengine need not be
    found = __import__(package).__version__
    if not digit_version(low) <= digit_version(found) < digit_version(high):
        raise ImportError(f'{package} {found} is installed, but sapiens_mm {__version__} needs >={low}, <{high} '
                          f'({tested} is tested). Install that: pip install {package}=={tested}')
