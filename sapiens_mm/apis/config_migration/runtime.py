"""Migration of optimizer, schedule, hooks, visualizer and other runtime settings of public configs."""
import importlib.util

import mmengine.hooks  # noqa: F401  (registers the stock hooks)
import mmengine.optim  # noqa: F401
from mmengine.registry import HOOKS, PARAM_SCHEDULERS

from ...utils.text import some
from ..config_report import Report
from .components import Migration, arguments, no_counterpart
from .data import save_best

_CONSTRUCTOR = 'SapiensLayerDecayConstructor'
# By scope, the hook that draws and the visualizer.
_VISUALIZATION = dict(mmpose=('PoseVisualizationHook', dict(enable=False)),
                      mmseg=('SegVisualizationHook', dict(draw=True)))
_VISUALIZERS = dict(mmpose='PoseLocalVisualizer', mmseg='SapiensDenseVisualizer', mmengine='Visualizer')
_RUNTIME = ('SapiensSeedHook', 'SapiensLoggedIterHook', 'SapiensNonFiniteHook')
_PRETRAINING_RUNTIME = ('SapiensSeedHook', 'SapiensStreamHook', 'SapiensNonFiniteHook', 'SapiensThroughputHook')
# Variables that the other functions read, and those that MMEngine's runner reads, which stay.
_READ = {'model', 'train_dataloader', 'val_dataloader', 'test_dataloader', 'val_evaluator', 'test_evaluator',
         'optim_wrapper', 'param_scheduler', 'default_hooks', 'custom_hooks', 'visualizer', 'default_scope',
         'custom_imports', 'load_from', 'work_dir', 'data_preprocessor'}
_KEPT = ('train_cfg', 'val_cfg', 'test_cfg', 'auto_scale_lr', 'env_cfg', 'log_processor', 'log_level', 'resume',
         'experiment_name', 'randomness', 'launcher', 'model_wrapper_cfg', 'find_unused_parameters', 'compile',
         'sync_bn')


def migrate_optimizer(m: Migration) -> dict:
    path, report, name = 'optim_wrapper', m.report, m.cfg['optim_wrapper'].get('type', 'OptimWrapper')
    wrapper = {'type': name, **m.cfg['optim_wrapper']}
    if name not in ('OptimWrapper', 'AmpOptimWrapper'):
        report.by_hand(f'{path}.type', f'{name} has no counterpart')
    constructor, paramwise = wrapper.pop('constructor', None), wrapper.pop('paramwise_cfg', None) or {}
    if 'layer_decay_rate' not in paramwise and 'LayerDecay' in str(constructor):
        report.by_hand(f'{path}.constructor', f'{constructor} has no layer_decay_rate in paramwise_cfg')
        return {**wrapper, 'constructor': constructor, 'paramwise_cfg': paramwise}
    layers, path = m.arch('num_layers'), f'{path}.paramwise_cfg'
    if paramwise.get('num_layers', layers) != layers:
        report.change(f'{path}.num_layers', f'{paramwise["num_layers"]} dropped: the backbone has {layers}')
    custom = _custom_keys(paramwise.get('custom_keys') or {}, f'{path}.custom_keys', report)
    out = arguments({**paramwise, 'type': constructor}, path, report, ('layer_decay_rate', ),
                    ('num_layers', 'custom_keys'))
    out.update(dict(custom_keys=custom) if custom else {})
    report.change('optim_wrapper', f'{constructor or "the default constructor"} -> {_CONSTRUCTOR}')
    return {**wrapper, 'constructor': _CONSTRUCTOR, **(dict(paramwise_cfg=out) if out else {})}


def _custom_keys(custom: dict, path: str, report: Report) -> dict:
    usual = dict(lr_mult=1, decay_mult=0)
    rules = {name: {key: value for key, value in rule.items() if usual.get(key, value) != value}
             for name, rule in custom.items()}
    out = {name: rule for name, rule in rules.items() if rule}
    if usual_names := [name for name in rules if name not in out]:
        report.change(path, f'{some(usual_names, 10)} dropped: the constructor excludes them from decay')
    return out


def migrate_schedule(m: Migration) -> list[dict]:
    schedulers = m.cfg.get('param_scheduler') or []
    schedulers = schedulers if isinstance(schedulers, (list, tuple)) else [schedulers]
    for index, scheduler in enumerate(schedulers):
        if scheduler.get('type') not in PARAM_SCHEDULERS:
            no_counterpart(scheduler, f'param_scheduler.{index}', m.report)
    return list(schedulers)


def migrate_hooks(m: Migration) -> dict:
    default, report, pretraining = {}, m.report, m.kind.task == 'pretrain'
    for name, hook in (m.cfg.get('default_hooks') or {}).items():
        path = f'default_hooks.{name}'
        if hook is None or hook.get('type') in HOOKS:
            default[name] = hook
        elif 'VisualizationHook' not in hook['type']:
            report.drop(path, f'{hook["type"]} left out: it has no counterpart')
        elif m.kind.scope in _VISUALIZATION:
            new, fixed = _VISUALIZATION[m.kind.scope]
            default[name] = dict(type=new, **{'interval': hook['interval']} if 'interval' in hook else {}, **fixed)
            report.change(path, f'{hook["type"]} -> {new}')
        else:
            report.change(path, f'{hook["type"]} dropped')
    checkpoint = default.get('checkpoint')
    if checkpoint and 'save_best' in checkpoint:
        default['checkpoint'] = {**checkpoint, 'save_best': save_best(checkpoint['save_best'], m)}
    added = {} if pretraining else dict(check_save_best=dict(type='SapiensCheckSaveBestHook'))
    if m.kind.task == 'pose':
        added['check_coco_metric'] = dict(type='SapiensCheckCocoMetricHook')
    custom = []
    for index, hook in enumerate(m.cfg.get('custom_hooks') or ()):
        path = f'custom_hooks.{index}'
        if hook.get('type') in HOOKS:
            custom.append(hook)
        elif hook.get('type') == 'PretrainVisualizationHook' and pretraining:
            names = dict(vis_every_iters='interval', vis_max_samples='num_images')
            new = dict(type='SapiensReconstructionHook', **{names[key]: hook[key] for key in names if key in hook})
            report.change(path, f'{hook["type"]} -> SapiensReconstructionHook')
            custom += [new] if hook.get('enable', True) else []
        else:
            report.drop(path, f'{hook.get("type")} left out: it has no counterpart')
    ours = [dict(type=name, **(dict(max_consecutive=5) if name == 'SapiensNonFiniteHook' else {}))
            for name in (_PRETRAINING_RUNTIME if pretraining else _RUNTIME)]
    report.change('custom_hooks', f'added {some([hook["type"] for hook in (*ours, *added.values())], 10)}')
    return dict(default_hooks={**default, **added}, custom_hooks=[*ours, *custom])


def migrate_visualizer(m: Migration) -> dict:
    config, name = dict(m.cfg.get('visualizer') or {}), _VISUALIZERS[m.kind.scope]
    if config.get('type') != name:
        m.report.change('visualizer', f'{config.get("type")} -> {name}')
    backends = [dict(type='LocalVisBackend')]
    for backend in config.get('vis_backends') or ():
        if backend.get('type') == 'TensorboardVisBackend' and not importlib.util.find_spec('tensorboard'):
            m.report.change('visualizer.vis_backends', 'TensorboardVisBackend dropped: tensorboard is not installed')
        elif backend not in backends:
            backends.append(backend)
    hook = (m.cfg.get('default_hooks') or {}).get('visualization') or {}
    sizes = {key: hook[key] for key in ('radius', 'line_width') if key in hook and m.kind.task == 'pose'}
    return dict(type=name, vis_backends=backends, name=config.get('name', 'visualizer'), **sizes)


def migrate_rest(m: Migration) -> dict:
    if m.cfg.get('work_dir'):
        m.report.change('work_dir', 'dropped: it is a path of one machine; pass --work-dir')
    read = _READ | ({'codec'} if m.kind.task == 'pose' else set())
    rest = sorted(m.cfg.keys() - read - set(_KEPT))
    if tests := [key for key in rest if key.startswith('tta_')]:
        m.report.drop(', '.join(tests), 'left out: test-time augmentation is test_cfg.flip_test here')
    if helpers := [key for key in rest if not key.startswith('tta_')]:
        m.report.change('variables', f'{some(helpers, 40)} dropped; their values stand where they were used')
    return {key: m.cfg[key] for key in _KEPT if m.cfg.get(key) is not None}
