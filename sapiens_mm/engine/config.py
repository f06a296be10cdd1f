"""Config reading, also of configs that inherit from this package by its name."""
import os
from typing import Any

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

# MMEngine finds `_base_ = 'sapiens_mm::...'` and `get_config('sapiens_mm::...')` for packages of this list only.
MODULE2PACKAGE['sapiens_mm'] = 'sapiens_mm'


def load_config(path: str | os.PathLike, options: dict[str, Any] | None = None) -> Config:
    """Reads a config file and sets ``options``, dotted name -> value. ``default_scope`` decides on types, also where a
    base ``sapiens_mm::...`` makes MMEngine look in our name's registry.
    """
    cfg = Config.fromfile(path)
    _forget_scope(cfg._cfg_dict)
    cfg.merge_from_dict(options or {})
    return cfg


def _forget_scope(node: Any) -> None:
    if isinstance(node, dict):
        if dict.get(node, '_scope_') == 'sapiens_mm':
            del node['_scope_']
        node = dict.values(node)
    elif not isinstance(node, (list, tuple)):
        return
    for child in node:
        _forget_scope(child)
