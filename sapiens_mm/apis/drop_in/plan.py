"""New config of a stock model with a Sapiens backbone, and its text."""
import os
import os.path as osp
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field

from mmengine.config import Config, ConfigDict

from ...utils.config_text import WIDTH, format_value
from ..config_report import ConfigError, Report


@dataclass
class Plan:
    """A stock config with a Sapiens backbone; ``base`` is its ``_base_``: ``'mmdet::...'``, or an absolute path.

    ``strides`` of the head's maps are in pixels; ``head_strides`` are those of its anchor or point generators, powers
    of two, or None without generators.
    """
    base: str
    stock: Config
    cfg: Config
    strides: list[float] = field(default_factory=list)
    head_strides: list[float] | None = None
    report: Report = field(default_factory=Report)

    @property
    def host(self) -> str:
        return self.cfg.default_scope

    @property
    def backbone(self) -> ConfigDict:
        model = self.cfg.model
        return model.image_encoder[0] if model.get('backbone') is None else model.backbone

    def note(self, text: str) -> None:
        self.report.change('', text)

    def refusal(self, text: str) -> ConfigError:
        return ConfigError(f'{self.base}: {text}')

    def text(self, folder: str = '.') -> str:
        """Returns the new config as Python for a file in ``folder``: ``_base_`` and the differences from it."""
        base = self.base if '::' in self.base else osp.relpath(self.base, folder).replace(os.sep, '/')
        stock, new = self.stock.to_dict(), self.cfg.to_dict()
        changes = {key: difference(stock.get(key), new[key])
                   for key in dict.fromkeys(['custom_imports', 'model', *new])
                   if key not in stock or stock[key] != new[key]}
        changes['optim_wrapper'] = {'_delete_': True, **new['optim_wrapper']}
        head = [f'{osp.basename(base)} with a Sapiens backbone, by tools/drop_in.py:', '']
        for note in self.report.changed:
            head += textwrap.wrap(f'* {note}', WIDTH, subsequent_indent='  ', break_long_words=False)
        head = '\n'.join(head)
        lines = [f'{name} = {format_value(value, 0, len(name) + 3)}' for name, value in changes.items()]
        return '\n'.join([f'"""{head}\n"""', f'_base_ = {base!r}', *lines, ''])


def as_list(value) -> list:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def parts_of(value) -> Iterator[ConfigDict]:
    if isinstance(value, dict):
        yield value
        value = value.values()
    if not isinstance(value, str) and hasattr(value, '__iter__'):
        for item in value:
            if isinstance(item, (dict, list, tuple)):
                yield from parts_of(item)


def type_name(part: dict | None) -> str:
    """Returns a component's class name without its scope: ``'mmdet.FPN'`` is ``'FPN'``; '' for None."""
    return str((part or {}).get('type', '')).rpartition('.')[2]


def difference(old, new):
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    if set(old) - set(new) or old.get('type') != new.get('type'):
        return {'_delete_': True, **new}
    return {key: difference(old.get(key), value) for key, value in new.items() if key not in old or old[key] != value}
