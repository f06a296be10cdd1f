"""Migration of configs of the public Sapiens release to this package.

The rules are based on the public configs (names of types and arguments), not on the release's code.
"""
import copy
import os
import re
from pathlib import Path

from mmengine.config import Config

from ...utils.config_text import format_value, wrapped
from ...utils.files import replacing
from ..config_report import ConfigError, Report
from .components import Migration, find_kind
from .data import add_test, migrate_data
from .model import migrate_codec, migrate_load_from, migrate_model
from .pretraining import migrate_epochs, migrate_images, migrate_loop, migrate_mae
from .runtime import migrate_hooks, migrate_optimizer, migrate_rest, migrate_schedule, migrate_visualizer

__all__ = ['migrate_config', 'migrate_file', 'migrate_folder', 'read_config']


def read_config(path: str | os.PathLike) -> dict:
    """Reads a text config without running its ``custom_imports``; ConfigError if it or a base cannot be read."""
    try:
        return Config.fromfile(path, import_custom_modules=False, lazy_import=False).to_dict()
    except Exception as error:  # the file is a program
        raise ConfigError(f'{os.fspath(path)}: got {type(error).__name__} ({error}), expected a text config that '
                          'loads, with the files that it inherits from at their places; correct it') from error


def migrate_config(cfg: dict, data_root: str | None = None, num_images: int | None = None) -> tuple[dict, Report]:
    """Returns the variables of the converted config, with ``Code``, and a report; see :func:`read_config`.

    ``data_root`` is by default an environment variable, as in ``configs/``; ``num_images``, of an epoch, is required
    for pretraining. Raises a ConfigError if the config is not of the public release or incomplete, or the number of
    images is missing.
    """
    cfg = copy.deepcopy(cfg)
    kind = find_kind(cfg)
    for key, part in (('train_dataloader', 'dataset'), ('optim_wrapper', 'optimizer')):
        if not isinstance(cfg.get(key), dict) or part not in cfg[key]:
            raise ConfigError(f'{key}: got none with {part}, expected a whole config; give one with a training')
    m = Migration(cfg, kind, Report(), data_root, num_images)
    out = dict(custom_imports=dict(imports=[kind.imports], allow_failed_imports=False), default_scope=kind.scope)
    m.report.change('custom_imports', f'-> {kind.imports}')
    out.update(_pretraining(m) if kind.task == 'pretrain' else _fine_tuning(m))
    out['visualizer'] = migrate_visualizer(m)
    out.update({key: value for key, value in migrate_rest(m).items() if key not in out})
    out['load_from'] = migrate_load_from(cfg.get('load_from'), m.report)
    return out, m.report


def _fine_tuning(m: Migration) -> dict:
    out = {}
    if m.kind.task == 'pose':
        out['codec'] = migrate_codec(m.head.get('decoder'), 'codec', m.report)
    elif not m.cfg.get('test_dataloader'):
        add_test(m)
    return {**out, 'model': migrate_model(m), **migrate_data(m), 'optim_wrapper': migrate_optimizer(m),
            'param_scheduler': migrate_schedule(m),
            **{key: m.cfg[key] for key in ('train_cfg', 'val_cfg', 'test_cfg', 'auto_scale_lr')
               if m.cfg.get(key) is not None}, **migrate_hooks(m)}


def _pretraining(m: Migration) -> dict:
    epochs, hooks = migrate_epochs(m), migrate_hooks(m)
    for key in ('val_cfg', 'test_cfg'):
        m.cfg.pop(key, None)
    return {'model': migrate_mae(m), **migrate_images(m), **epochs, 'optim_wrapper': migrate_optimizer(m),
            **migrate_loop(hooks, m)}


def migrate_file(source: str | os.PathLike, out: str | os.PathLike, data_root: str | None = None,
                 num_images: int | None = None) -> Report:
    """Converts a public config to the file ``out``; ConfigError as for :func:`migrate_config`, or if ``out`` exists."""
    source, out = Path(source), Path(out)
    if out.exists():
        raise ConfigError(f'{out}: got a file that exists, expected a new one; change OUT, or remove it')
    variables, report = migrate_config(read_config(source), data_root, num_images)
    text = _format(f'{source.stem.strip()} of the public Sapiens release, by tools/migrate_config.py.', variables,
                   report)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as part:
        Path(part).write_text(text, encoding='utf-8')
    return report


def migrate_folder(source: str | os.PathLike, out: str | os.PathLike, data_root: str | None = None,
                   num_images: int | None = None) -> dict[str, Report | ConfigError]:
    """Migrates every config below a folder except ``_base_`` to the same relative names below ``out``.

    Returns the report or error of each file by relative name. Raises a ConfigError if there is no config, or ``out`` is
    in the folder.
    """
    source, out = Path(source), Path(out)
    if source.resolve() in (out.resolve(), *out.resolve().parents):
        raise ConfigError(f'{out}: got a folder inside of {source}, expected one outside; change OUT')
    names = sorted(path.relative_to(source) for path in source.rglob('*.py'))
    names = [name for name in names if '_base_' not in name.parts]
    if not names:
        raise ConfigError(f'{source}: got no .py file, expected configs; correct the path')
    results = {}
    for name in names:
        try:
            results[str(name)] = migrate_file(source / name, out / name, data_root, num_images)
        except ConfigError as error:
            results[str(name)] = error
    return results


def _format(title: str, variables: dict, report: Report) -> str:
    notes: dict[str | None, dict[str, None]] = {}
    for mark, entries in (('', report.changed), ('NOT MAPPED: ', report.not_mapped)):
        for note in entries:
            owner = _owner(note.path, variables)
            # The index of a step is enough in a pipeline.
            where = re.sub(r'^.*_dataloader\..*\bpipeline\b', 'pipeline', note.path)
            where = '' if where in (owner, 'pipeline') else where.removeprefix(f'{owner}.') + ': '
            notes.setdefault(owner, {})[f'{mark}{where}{note.text}'] = None
    head = [title, '', 'The comments above each variable list the changes.']
    head += ['To fill in:'] * bool(report.fill_in) + [f'* {note}' for note in dict.fromkeys(report.fill_in)]
    parts = ['"""' + '\n'.join(wrapped(line, '', '  ' if line.startswith('*') else '') for line in head) + '\n"""']
    parts += [wrapped(text, '# ', '#   ') for text in notes.pop(None, {})]
    for name, value in variables.items():
        parts += [wrapped(text, '# ', '#   ') for text in notes.get(name, {})]
        parts.append(f'{name} = {format_value(value, 0, len(name) + 3)}')
    return '\n'.join(parts) + '\n'


def _owner(path: str, variables: dict) -> str | None:
    if match := re.match(r'(train|val|test)_dataloader\.(?:.*\.)?pipeline\b', path):
        name = 'train_pipeline' if match[1] == 'train' else 'test_pipeline'
        if name in variables:
            return name
    name = path.partition('.')[0]
    return name if name in variables else None
