"""Optimizer, schedule, hooks, visualizer and the rest of the runtime of public configs as ours."""
import importlib.util

import mmengine.hooks  # noqa: F401  (registers what is stock)
import mmengine.optim  # noqa: F401
from mmengine.registry import HOOKS, PARAM_SCHEDULERS

from ...backbones.sapiens_vit import SapiensViT
from ...utils.text import some
from .data import save_best
from .kinds import Kind
from .report import Report, arguments, no_counterpart

_WRAPPERS = ('OptimWrapper', 'AmpOptimWrapper')
_CONSTRUCTOR = 'SapiensLayerDecayConstructor'
# By scope, the hook that draws and the visualizer.
_PICTURES = dict(mmpose=('PoseVisualizationHook', dict(enable=False)), mmseg=('SegVisualizationHook', dict(draw=True)))
_VISUALIZERS = dict(mmpose='PoseLocalVisualizer', mmseg='SapiensDenseVisualizer', mmengine='Visualizer')
#: What MMEngine's runner reads and this module leaves as it is.
KEPT = ('train_cfg', 'val_cfg', 'test_cfg', 'auto_scale_lr', 'env_cfg', 'log_processor', 'log_level', 'resume',
        'experiment_name', 'randomness', 'launcher', 'model_wrapper_cfg', 'find_unused_parameters', 'compile',
        'sync_bn')


def migrate_optimizer(cfg: dict, kind: Kind, report: Report) -> dict:
    """The optimizer wrapper, with our constructor."""
    path, name = 'optim_wrapper', cfg['optim_wrapper'].get('type', 'OptimWrapper')
    wrapper = {'type': name, **cfg['optim_wrapper']}
    if name not in _WRAPPERS:
        report.by_hand(f'{path}.type', f'{name} has no counterpart')
    constructor, paramwise = wrapper.pop('constructor', None), wrapper.pop('paramwise_cfg', None) or {}
    if 'layer_decay_rate' not in paramwise and 'LayerDecay' in str(constructor):
        report.by_hand(f'{path}.constructor', f'{constructor} has no layer_decay_rate in paramwise_cfg')
        return {**wrapper, 'constructor': constructor, 'paramwise_cfg': paramwise}
    layers = SapiensViT.arch_zoo[cfg['model']['backbone']['arch']]['num_layers']
    if paramwise.get('num_layers', layers) != layers:
        report.change(f'{path}.paramwise_cfg.num_layers',
                      f'{paramwise["num_layers"]} dropped: the backbone has {layers}')
    custom = _custom_keys(paramwise.get('custom_keys') or {}, f'{path}.paramwise_cfg.custom_keys', report)
    out = arguments({**paramwise, 'type': constructor}, f'{path}.paramwise_cfg', report,
                    kept=('layer_decay_rate', ), ignored=('num_layers', 'custom_keys'))
    if custom:
        out['custom_keys'] = custom
    report.change(path, f'{constructor or "the default constructor"} -> {_CONSTRUCTOR}')
    wrapper.update(constructor=_CONSTRUCTOR, **(dict(paramwise_cfg=out) if out else {}))
    return wrapper


def _custom_keys(custom: dict, path: str, report: Report) -> dict:
    """What is left without the rules that the constructor has: no decay on norms, biases, tokens and positions."""
    usual = dict(lr_mult=1, decay_mult=0)
    rules = {name: {key: value for key, value in rule.items() if usual.get(key, value) != value}
             for name, rule in custom.items()}
    out = {name: rule for name, rule in rules.items() if rule}
    without = [name for name in rules if name not in out]
    if without:
        report.change(path, f'{some(without, 10)} dropped: the constructor does not decay them by itself')
    return out


def migrate_schedule(cfg: dict, report: Report) -> list[dict]:
    """The schedulers, which are MMEngine's own."""
    schedulers = cfg.get('param_scheduler') or []
    schedulers = schedulers if isinstance(schedulers, (list, tuple)) else [schedulers]
    for index, scheduler in enumerate(schedulers):
        if scheduler.get('type') not in PARAM_SCHEDULERS:
            no_counterpart(scheduler, f'param_scheduler.{index}', report)
    return list(schedulers)


def migrate_hooks(cfg: dict, kind: Kind, outputs: int | None, report: Report) -> dict:
    """``default_hooks`` and ``custom_hooks``: MMEngine's stay, those that draw become ours, ours are added."""
    default = {}
    for name, hook in (cfg.get('default_hooks') or {}).items():
        path = f'default_hooks.{name}'
        if hook is None or hook.get('type') in HOOKS:
            default[name] = hook
        elif 'VisualizationHook' in hook['type']:
            if kind.scope in _PICTURES:
                new, fixed = _PICTURES[kind.scope]
                default[name] = dict(type=new, **{'interval': hook['interval']} if 'interval' in hook else {}, **fixed)
                report.change(path, f'{hook["type"]} -> {new}')
            else:
                report.change(path, f'{hook["type"]} dropped')
        else:
            report.drop(path, f'{hook["type"]} left out: it has no counterpart')
    checkpoint = default.get('checkpoint')
    if checkpoint and 'save_best' in checkpoint:
        best = save_best(checkpoint['save_best'], kind, outputs, 'default_hooks.checkpoint.save_best', report)
        default['checkpoint'] = {**checkpoint, 'save_best': best}
    added = {} if kind.task == 'pretrain' else dict(check_save_best=dict(type='SapiensCheckSaveBestHook'))
    if kind.task == 'pose':
        added['check_coco_metric'] = dict(type='SapiensCheckCocoMetricHook')
    custom = []
    for index, hook in enumerate(cfg.get('custom_hooks') or ()):
        if hook.get('type') in HOOKS:
            custom.append(hook)
        elif hook.get('type') == 'PretrainVisualizationHook' and kind.task == 'pretrain':
            custom += _reconstruction(hook, f'custom_hooks.{index}', report)
        else:
            report.drop(f'custom_hooks.{index}', f'{hook.get("type")} left out: it has no counterpart')
    ours = [dict(type=name, **(dict(max_consecutive=5) if name == 'SapiensNonFiniteHook' else {}))
            for name in kind.runtime]
    report.change('custom_hooks', f'added {some([hook["type"] for hook in (*ours, *added.values())], 10)}')
    return dict(default_hooks={**default, **added}, custom_hooks=[*ours, *custom])


def _reconstruction(hook: dict, path: str, report: Report) -> list[dict]:
    names = dict(vis_every_iters='interval', vis_max_samples='num_images')
    new = dict(type='SapiensReconstructionHook', **{names[key]: hook[key] for key in names if key in hook})
    report.change(path, f'{hook["type"]} -> SapiensReconstructionHook')
    return [new] if hook.get('enable', True) else []


def migrate_visualizer(cfg: dict, kind: Kind, report: Report) -> dict:
    """The visualizer; it writes to TensorBoard only where that is installed."""
    config, name = dict(cfg.get('visualizer') or {}), _VISUALIZERS[kind.scope]
    if config.get('type') != name:
        report.change('visualizer', f'{config.get("type")} -> {name}')
    backends = [dict(type='LocalVisBackend')]
    for backend in config.get('vis_backends') or ():
        if backend.get('type') == 'TensorboardVisBackend' and not importlib.util.find_spec('tensorboard'):
            report.change('visualizer.vis_backends', 'TensorboardVisBackend dropped: tensorboard is not installed')
        elif backend not in backends:
            backends.append(backend)
    hook = (cfg.get('default_hooks') or {}).get('visualization') or {}
    sizes = {key: hook[key] for key in ('radius', 'line_width') if key in hook and kind.task == 'pose'}
    return dict(type=name, vis_backends=backends, name=config.get('name', 'visualizer'), **sizes)


def migrate_rest(cfg: dict, known: set[str], report: Report) -> dict:
    """What the runner reads beside the above; the rest of a config's variables are helpers of its own."""
    left = sorted(key for key in cfg.keys() - known - set(KEPT))
    if tests := [key for key in left if key.startswith('tta_')]:
        report.drop(', '.join(tests), 'left out: test-time augmentation is test_cfg.flip_test here')
    helpers = [key for key in left if not key.startswith('tta_')]
    if helpers:
        report.change('variables', f'{some(helpers, 40)} dropped; the values that other settings used are written '
                      'there')
    return {key: cfg[key] for key in KEPT if cfg.get(key) is not None}
