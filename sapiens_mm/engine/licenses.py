"""Licenses of released weights, known by the names of their repositories and files."""
import re

from mmengine.logging import print_log

__all__ = ['CC_BY_NC', 'SAPIENS2_LICENSE', 'license_of', 'state_license']

CC_BY_NC = 'CC-BY-NC 4.0'
SAPIENS2_LICENSE = 'Sapiens2 License'
_NAMES = {
    SAPIENS2_LICENSE: re.compile(r'facebook/sapiens2-|\bsapiens2_\d+(\.\d+)?b_(4k|pretrain|pose|seg|normal|pointmap|'
                                 r'albedo|matting)'),
    CC_BY_NC: re.compile(r'facebook/sapiens-|noahcao/sapiens-pose-coco|\bsapiens_\d+(\.\d+)?b_(epoch_\d+_clean|coco_|'
                         r'goliath_|render_people_|normal_render_people_)'),
}
_TERMS = {
    SAPIENS2_LICENSE: 'Their terms forbid, among others, surveillance and biometric processing, and pass on to models '
                      'that are trained or exported from them: https://github.com/facebookresearch/sapiens2',
    CC_BY_NC: 'No commercial use, also of models that are trained or exported from them',
}


def license_of(text: str) -> str | None:
    """Returns the license of the released weights that a text, such as an address or a config, names; None of none.

    Where it names weights of both releases, that of the newer one comes first: ``'Sapiens2 License, CC-BY-NC 4.0'``.
    """
    return ', '.join(name for name, names in _NAMES.items() if names.search(text)) or None


def state_license(source: str) -> None:
    """Logs the license of released weights, before they are fetched."""
    license = license_of(source)
    if license is not None:
        print_log(f'{source}: the weights are under the license {license}. {_TERMS[license]}', logger='current')
