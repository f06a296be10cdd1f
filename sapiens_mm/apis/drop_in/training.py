"""Normalization, optimizer and schedules for a Sapiens backbone in a stock config."""
from mmengine.config import ConfigDict

from .plan import DropIn, as_list

#: Normalization of the public models, RGB.
_NORMALIZATION = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
#: Learning rate where the stock optimizer is not AdamW or its rate is for a convolutional net, by host.
_LEARNING_RATE = dict(mmdet=1e-4, mmseg=1e-4, mmpose=5e-4, mmpretrain=5e-4)
#: Custom keys for what the optimizer constructor has rules of its own.
_RULED = ('norm', 'bias', 'pos_embed', 'cls_token', 'absolute_pos_embed', 'relative_position_bias_table', 'pos_block')


def normalize(plan: DropIn) -> None:
    """Images as the Sapiens weights know them."""
    cfg = plan.cfg
    place = cfg.model if cfg.model.get('data_preprocessor') is not None else cfg
    settings = place.get('data_preprocessor')
    if settings is None:
        settings = place['data_preprocessor'] = ConfigDict()
    to_rgb = 'to_rgb' if plan.host == 'mmpretrain' else 'bgr_to_rgb'
    wanted = dict(_NORMALIZATION, **{to_rgb: True})
    old = {key: settings.get(key) for key in wanted}
    same = bool(old[to_rgb]) and all(
        old[key] is not None and [round(float(x), 3) for x in old[key]] == wanted[key] for key in _NORMALIZATION)
    if not same:
        settings.update(wanted)
        settings.pop('rgb_to_bgr', None)
        plan.reasons.append(f'data_preprocessor: mean, std and {to_rgb} of the Sapiens weights (stock: mean '
                            f'{old["mean"]}, std {old["std"]}, {to_rgb} {old[to_rgb]})')


def optimize(plan: DropIn) -> None:
    """AdamW with layer decay, and schedules that leave the decayed rates alone."""
    cfg = plan.cfg
    stock = cfg.get('optim_wrapper') or ConfigDict(type='OptimWrapper', optimizer=dict(type='SGD'))
    optimizer = stock.optimizer
    adam = str(optimizer.type) == 'AdamW'
    lr, decay = _LEARNING_RATE[plan.host], 0.1
    if adam and optimizer.lr <= 5e-4:
        lr, decay = optimizer.lr, optimizer.get('weight_decay', decay)
        plan.reasons.append(f'AdamW stays, with lr {lr:g} and weight_decay {decay:g}')
    else:
        plan.reasons.append(f'AdamW with lr {lr:g} and weight_decay {decay:g} in place of {optimizer.type} with lr '
                            f'{optimizer.get("lr")}, which is for a convolutional net; tune it to your batch size')
    paramwise = dict(layer_decay_rate=0.85)
    keys = (stock.get('paramwise_cfg') or {}).get('custom_keys') or {}
    kept = {}
    if adam:  # those of a convolutional net's SGD are of another scale
        kept = {key: {mult: setting[mult] for mult in ('lr_mult', 'decay_mult') if mult in setting}
                for key, setting in keys.items() if not key.startswith('backbone') and key.strip('.') not in _RULED}
    if kept:
        paramwise['custom_keys'] = kept
    left_out = sorted(set(keys) - set(kept))
    plan.reasons.append('SapiensLayerDecayConstructor with decay 0.85 a layer, and no weight decay on norms, biases '
                        'and embeddings' + (f'; custom_keys {left_out} are left out' if left_out else ''))
    wrapper = {key: value for key, value in stock.items() if key not in ('optimizer', 'paramwise_cfg', 'constructor')}
    wrapper.setdefault('type', 'OptimWrapper')
    if wrapper['type'] == 'AmpOptimWrapper':
        wrapper.update(dtype='bfloat16')
        wrapper.pop('loss_scale', None)
        plan.reasons.append('bfloat16 in place of float16: activations of large ViTs pass 65504')
    wrapper['clip_grad'] = wrapper.get('clip_grad') or dict(max_norm=1.0, norm_type=2)
    cfg.optim_wrapper = ConfigDict(
        **wrapper, optimizer=dict(type='AdamW', lr=lr, betas=(0.9, 0.999), weight_decay=decay),
        constructor='SapiensLayerDecayConstructor', paramwise_cfg=paramwise)
    schedulers = as_list(cfg.get('param_scheduler'))
    for scheduler in schedulers:
        if scheduler.get('eta_min'):
            if 'Cosine' in scheduler.type:
                scheduler.eta_min_ratio = scheduler.pop('eta_min') / optimizer.lr
            else:
                scheduler.eta_min = 0
            plan.reasons.append(f'{scheduler.type} has no absolute eta_min, which would lift the decayed rates')
