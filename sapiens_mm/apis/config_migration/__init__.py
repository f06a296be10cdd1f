"""Migration of configs of the public Sapiens release to this package.

The rules come from facts about the public configs (names of types and arguments), not from the release's code.
"""
import copy
import os
from pathlib import Path

from mmengine.config import Config

from ...utils.files import replacing
from .data import add_test, migrate_data
from .kinds import Kind, find_kind
from .model import migrate_codec, migrate_load_from, migrate_model
from .pretraining import migrate_epochs, migrate_images, migrate_mae, migrate_mae_schedule
from .report import MigrationError, Note, Report
from .runtime import migrate_hooks, migrate_optimizer, migrate_rest, migrate_schedule, migrate_visualizer
from .writing import format_config

__all__ = ['MigrationError', 'Note', 'Report', 'migrate_config', 'migrate_file', 'migrate_folder', 'read_config']

# Variables that a migration reads itself; the rest are the runner's or the config's own helpers.
_READ = {'model', 'train_dataloader', 'val_dataloader', 'test_dataloader', 'val_evaluator', 'test_evaluator',
         'optim_wrapper', 'param_scheduler', 'default_hooks', 'custom_hooks', 'visualizer', 'default_scope',
         'custom_imports', 'load_from', 'work_dir', 'data_preprocessor'}


def read_config(path: str | os.PathLike) -> dict:
    """The content of a text config, without running its ``custom_imports``.

    Raises:
        MigrationError: The file or one that it inherits from is missing or cannot be read.
    """
    try:
        return Config.fromfile(path, import_custom_modules=False, lazy_import=False).to_dict()
    except Exception as error:  # the file is a program
        raise MigrationError(f'{os.fspath(path)}: got {type(error).__name__} ({error}), expected a text config that '
                             'loads, with the files that it inherits from at their places; correct it') from error


def migrate_config(cfg: dict, data_root: str | None = None, num_images: int | None = None) -> tuple[dict, Report]:
    """Turns the content of a public config into that of one of ours.

    Args:
        cfg: As :func:`read_config` returns it.
        data_root: Root of the data; by default an environment variable, as in ``configs/``.
        num_images: Images of an epoch, for pretraining.

    Returns:
        Variables of the config in their order, with ``Code`` in them, and what was done.

    Raises:
        MigrationError: The config is not of the public release or not whole, or the number of images is not known.
    """
    cfg, report = copy.deepcopy(cfg), Report()
    kind = find_kind(cfg)
    for key, part in (('train_dataloader', 'dataset'), ('optim_wrapper', 'optimizer')):
        if not isinstance(cfg.get(key), dict) or part not in cfg[key]:
            raise MigrationError(f'{key}: got none with {part}, expected a whole config; give one that trains')
    out = dict(custom_imports=dict(imports=[kind.imports], allow_failed_imports=False), default_scope=kind.scope)
    report.change('custom_imports', f'-> {kind.imports}')
    if kind.task == 'pretrain':
        out.update(_pretraining(cfg, kind, data_root, num_images, report))
    else:
        out.update(_fine_tuning(cfg, kind, data_root, report))
    out['visualizer'] = migrate_visualizer(cfg, kind, report)
    if cfg.get('work_dir'):
        report.change('work_dir', 'dropped: it is a place on one machine; give --work-dir')
    rest = migrate_rest(cfg, _READ | ({'codec'} if kind.task == 'pose' else set()), report)
    out.update({key: value for key, value in rest.items() if key not in out})
    out['load_from'] = migrate_load_from(cfg.get('load_from'), report)
    return out, report


def _fine_tuning(cfg: dict, kind: Kind, data_root: str | None, report: Report) -> dict:
    head = cfg['model'][kind.head_key]
    out = {}
    if kind.task == 'pose':
        out['codec'] = migrate_codec(head.get('decoder'), 'codec', report)
    elif not cfg.get('test_dataloader'):
        add_test(cfg, kind, report)
    return {**out, 'model': migrate_model(cfg, kind, report), **migrate_data(cfg, kind, data_root, report),
            'optim_wrapper': migrate_optimizer(cfg, kind, report), 'param_scheduler': migrate_schedule(cfg, report),
            **{key: cfg[key] for key in ('train_cfg', 'val_cfg', 'test_cfg', 'auto_scale_lr')
               if cfg.get(key) is not None},
            **migrate_hooks(cfg, kind, head.get('out_channels'), report)}


def _pretraining(cfg: dict, kind: Kind, data_root: str | None, num_images: int | None, report: Report) -> dict:
    epochs = migrate_epochs(cfg, num_images, report)
    hooks = migrate_hooks(cfg, kind, None, report)
    for key in ('val_cfg', 'test_cfg'):
        cfg.pop(key, None)
    return {'model': migrate_mae(cfg, report), **migrate_images(cfg, data_root, report), **epochs,
            'optim_wrapper': migrate_optimizer(cfg, kind, report),
            **migrate_mae_schedule(cfg, migrate_schedule(cfg, report), hooks, report)}


def migrate_file(source: str | os.PathLike, out: str | os.PathLike, data_root: str | None = None,
                 num_images: int | None = None) -> Report:
    """Writes a public config as one of ours to ``out``, and returns what was done.

    Raises:
        MigrationError: See :func:`read_config` and :func:`migrate_config`; or ``out`` exists.
    """
    source, out = Path(source), Path(out)
    if out.exists():
        raise MigrationError(f'{out}: got a file that exists, expected a new one; change OUT, or remove it')
    variables, report = migrate_config(read_config(source), data_root, num_images)
    text = format_config(f'{source.stem.strip()} of the public Sapiens release, by tools/migrate_config.py.',
                         variables, report)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as part:
        Path(part).write_text(text, encoding='utf-8')
    return report


def migrate_folder(source: str | os.PathLike, out: str | os.PathLike, data_root: str | None = None,
                   num_images: int | None = None) -> dict[str, Report | MigrationError]:
    """Migrates every config below a folder but ``_base_``, to files of the same relative names below ``out``.

    Returns:
        By relative name what was done, or why it was not.

    Raises:
        MigrationError: There is no config, or ``out`` lies in the folder.
    """
    source, out = Path(source), Path(out)
    if source.resolve() in (out.resolve(), *out.resolve().parents):
        raise MigrationError(f'{out}: got a folder inside of {source}, expected one outside; change OUT')
    names = sorted(path.relative_to(source) for path in source.rglob('*.py'))
    names = [name for name in names if '_base_' not in name.parts]
    if not names:
        raise MigrationError(f'{source}: got no .py file, expected configs; correct the path')
    results = {}
    for name in names:
        try:
            results[str(name)] = migrate_file(source / name, out / name, data_root, num_images)
        except MigrationError as error:
            results[str(name)] = error
    return results
