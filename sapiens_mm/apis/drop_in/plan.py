"""What a stock config becomes, and the file that says so."""
import os
import os.path as osp
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field

from mmengine.config import Config, ConfigDict

from ...utils.config_text import WIDTH, format_value


class DropInError(ValueError):
    """A config cannot take a plain ViT, or does not work with its own backbone."""


@dataclass
class Plan:
    """A stock config with a Sapiens backbone.

    Attributes:
        base: What ``_base_`` of the new config is: ``'mmdet::...'``, or an absolute path.
        stock: The stock config.
        cfg: The new config, whole.
        strides: Strides of the maps that the head gets from the new backbone and neck, in pixels.
        head_strides: Those that its anchor or point generators state, as powers of two; None if there are none.
        reasons: What was chosen, and why.
    """
    base: str
    stock: Config
    cfg: Config
    strides: list[float] = field(default_factory=list)
    head_strides: list[float] | None = None
    reasons: list[str] = field(default_factory=list)

    @property
    def host(self) -> str:
        """The library that the config is of: its default scope."""
        return self.cfg.default_scope

    def text(self, folder: str = '.') -> str:
        """The new config as Python: ``_base_``, and what differs from it.

        Args:
            folder: Where it is to lie. A base that is a file is named from there.
        """
        base = self.base if '::' in self.base else osp.relpath(self.base, folder).replace(os.sep, '/')
        stock, new = self.stock.to_dict(), self.cfg.to_dict()
        order = ['custom_imports', 'model', *new]
        changes = {key: difference(stock.get(key), new[key]) for key in dict.fromkeys(order)
                   if key not in stock or stock[key] != new[key]}
        changes['optim_wrapper'] = {'_delete_': True, **new['optim_wrapper']}
        head = [f'{osp.basename(base)} with a Sapiens backbone, as tools/drop_in.py chose it:', '']
        for reason in self.reasons:
            head += textwrap.wrap(f'* {reason}', WIDTH, subsequent_indent='  ', break_long_words=False)
        head = '\n'.join(head)
        lines = [f'{name} = {format_value(value, 0, len(name) + 3)}' for name, value in changes.items()]
        return '\n'.join([f'"""{head}\n"""', f'_base_ = {base!r}', *lines, ''])


def as_list(value) -> list:
    """A list of a value that a config gives as one, as several or as None."""
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def parts_of(value) -> Iterator[ConfigDict]:
    """Every dict in a config's value, outermost first."""
    if isinstance(value, dict):
        yield value
        value = value.values()
    if not isinstance(value, str) and hasattr(value, '__iter__'):
        for item in value:
            if isinstance(item, (dict, list, tuple)):
                yield from parts_of(item)


def type_name(part: dict | None) -> str:
    """The name of a component's class, without a scope: ``'mmdet.FPN'`` is ``'FPN'``; empty if there is none."""
    return str((part or {}).get('type', '')).rpartition('.')[2]


def difference(old, new):
    """What a config that inherits ``old`` must say to become ``new``."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    if set(old) - set(new) or old.get('type') != new.get('type'):
        return {'_delete_': True, **new}
    return {key: difference(old.get(key), value) for key, value in new.items() if key not in old or old[key] != value}
