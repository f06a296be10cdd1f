"""Normalization, optimizer and schedules for a Sapiens backbone in a stock config."""
from mmengine.config import ConfigDict

from .plan import Plan, as_list, type_name

#: Normalization of the public models, RGB.
_NORMALIZATION = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
_HIGHEST_RATE = 5e-4  # of a stock AdamW that stays; higher ones are for convolutional nets
_WARM_UP = 500  # iterations, as in the release's pose models
#: Learning rate where the stock optimizer does not stay, by host.
_LEARNING_RATE = dict(mmdet=1e-4, mmseg=1e-4, mmpose=5e-4, mmpretrain=5e-4)
#: Custom keys that rules of the optimizer constructor cover.
_RULED = ('norm', 'bias', 'pos_embed', 'cls_token', 'absolute_pos_embed', 'relative_position_bias_table', 'pos_block')


def normalize(plan: Plan) -> None:
    cfg = plan.cfg
    place = cfg.model if cfg.model.get('data_preprocessor') is not None else cfg
    settings = place.get('data_preprocessor')
    if settings is None:
        settings = place['data_preprocessor'] = ConfigDict()
    to_rgb = 'to_rgb' if plan.host == 'mmpretrain' else 'bgr_to_rgb'
    old = {key: settings.get(key) for key in ('mean', 'std', to_rgb)}
    # Some datasets of mmpretrain (CIFAR) give RGB images: no conversion, and the mean of red is the highest.
    already = plan.host == 'mmpretrain' and not old[to_rgb] and bool(old['mean']) and old['mean'][0] > old['mean'][-1]
    target = dict(_NORMALIZATION, **{to_rgb: not already})
    same = bool(old[to_rgb]) != already and all(
        old[key] is not None and [round(float(x), 3) for x in old[key]] == target[key] for key in _NORMALIZATION)
    if not same:
        settings.update(target)
        settings.pop('rgb_to_bgr', None)
        plan.note(f'data_preprocessor: mean, std and {to_rgb} of the Sapiens weights, in place of '
                  f'{old["mean"]}, {old["std"]} and {old[to_rgb]}')


def optimize(plan: Plan) -> None:
    """Sets AdamW with layer decay, and schedules that keep the ratios of the decayed learning rates."""
    cfg = plan.cfg
    stock = cfg.get('optim_wrapper') or ConfigDict(type='OptimWrapper', optimizer=dict(type='SGD'))
    stock_lr = stock.optimizer.get('lr')
    adamw = stock.optimizer.type == 'AdamW'
    if adamw and stock_lr is not None and stock_lr <= _HIGHEST_RATE:
        optimizer = stock.optimizer
        plan.note(f'AdamW: stays, with lr {stock_lr:g}')
    else:
        optimizer = dict(type='AdamW', lr=_LEARNING_RATE[plan.host], betas=(0.9, 0.999), weight_decay=0.1)
        plan.note(f'AdamW: lr {optimizer["lr"]:g}, weight decay 0.1, in place of {stock.optimizer.type} with '
                  f'lr {stock_lr}; tune it to your batch size')
    rate = 0.85 if plan.backbone.get('init_cfg') else 1.0  # random weights must all learn
    keys = (stock.get('paramwise_cfg') or {}).get('custom_keys') or {}
    kept = {}
    if adamw:  # SGD's are of another scale
        kept = {key: {mult: setting[mult] for mult in ('lr_mult', 'decay_mult') if mult in setting}
                for key, setting in keys.items() if not key.startswith('backbone') and key.strip('.') not in _RULED}
    left_out = sorted(set(keys) - set(kept))
    plan.note(f'SapiensLayerDecayConstructor: layer decay {rate}; no weight decay on norms, biases and '
              'embeddings')
    if left_out:
        plan.note(f'custom_keys: {left_out} removed: they are for the backbone, for SGD, or covered by '
                  'the rules of the constructor')
    wrapper = {key: value for key, value in stock.items() if key not in ('optimizer', 'paramwise_cfg', 'constructor')}
    wrapper.setdefault('type', 'OptimWrapper')
    if wrapper['type'] == 'AmpOptimWrapper':
        wrapper.update(dtype='bfloat16')
        wrapper.pop('loss_scale', None)
        plan.note('AmpOptimWrapper: bfloat16 in place of float16, since activations of large ViTs exceed 65504')
    if not wrapper.get('clip_grad'):
        wrapper['clip_grad'] = dict(max_norm=1.0, norm_type=2)
        plan.note('clip_grad: gradients are clipped at 1, as in the release')
    paramwise = dict(layer_decay_rate=rate, **(dict(custom_keys=kept) if kept else {}))
    cfg.optim_wrapper = ConfigDict(
        **wrapper, optimizer=optimizer, constructor='SapiensLayerDecayConstructor', paramwise_cfg=paramwise)
    _schedule(plan, stock_lr)


def _schedule(plan: Plan, stock_lr: float | None) -> None:
    """Adds a missing warm-up, and removes a fixed minimum, which would raise decayed learning rates."""
    cfg = plan.cfg
    schedulers = as_list(cfg.get('param_scheduler'))
    for scheduler in schedulers:
        if 'eta_max' in scheduler:
            raise plan.refusal(f'param_scheduler: got {scheduler.type} with eta_max, one learning rate for '
                               'all layers, expected one that scales each; replace it')
        if scheduler.get('min_value'):
            plan.note(f'{scheduler.type}: min_value becomes 0; it would raise the decayed learning rates')
            scheduler.min_value = 0
        minimum = scheduler.get('eta_min')
        if minimum and 'Cosine' in scheduler.type and stock_lr:
            scheduler.eta_min_ratio = scheduler.pop('eta_min') / stock_lr
            plan.note(f'{scheduler.type}: eta_min {minimum:g} becomes a fraction of each learning rate')
        elif minimum:
            scheduler.eta_min = 0
            plan.note(f'{scheduler.type}: eta_min {minimum:g} becomes 0; a fixed minimum would raise the '
                      'decayed learning rates')
    if not any('Warmup' in scheduler.type or scheduler.type in ('LinearLR', 'ConstantLR') and not scheduler.get('begin')
               for scheduler in schedulers):
        warm_up = ConfigDict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=_WARM_UP)
        schedulers = [warm_up, *schedulers]
        plan.note(f'LinearLR: {_WARM_UP} iterations of warm-up, which AdamW on a ViT needs')
    cfg.param_scheduler = schedulers


def adapt_hooks(plan: Plan) -> None:
    """Adds ``SapiensNonFiniteHook``, and notes hooks whose settings name parts of the stock backbone."""
    guard = ConfigDict(type='SapiensNonFiniteHook', max_consecutive=5)
    plan.cfg.custom_hooks = [*as_list(plan.cfg.get('custom_hooks')), guard]
    plan.note('SapiensNonFiniteHook: skips steps with non-finite gradients, and stops the run after 5 in a row')
    for hook in [*as_list(plan.cfg.get('custom_hooks')), *(plan.cfg.get('default_hooks') or {}).values()]:
        settings = [item for value in (hook or {}).values() for item in as_list(value)]
        names = [item for item in settings if isinstance(item, str) and item.startswith('backbone')]
        if names:
            plan.note(f'{type_name(hook)}: stays, but {names} name the stock backbone; correct them')


def drop_dead_keys(plan: Plan, names: list[str]) -> None:
    paramwise = plan.cfg.optim_wrapper.paramwise_cfg
    dead = [key for key in paramwise.get('custom_keys') or {} if not any(key in name for name in names)]
    for key in dead:
        del paramwise.custom_keys[key]
    if dead:
        plan.note(f'custom_keys: {dead} removed: they match no parameter of the new model')
        if not paramwise.custom_keys:
            del paramwise['custom_keys']
