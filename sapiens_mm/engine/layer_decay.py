"""Layer-wise learning rate decay (Bao et al., ICLR 2022, https://arxiv.org/abs/2106.08254)."""
import inspect
from collections import defaultdict
from collections.abc import Callable

import torch.nn as nn
from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm, _InstanceNorm

_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class SapiensLayerDecayConstructor(DefaultOptimWrapperConstructor):
    """Scales the learning rate of a parameter by ``layer_decay_rate ** (L + 1 - depth)``.

    The depth is 0 for the embeddings, i + 1 for block i of L, and L + 1 for the final norm and everything outside of a
    backbone. It comes from each backbone's own ``get_layer_depth(name, prefix)``, or from mmpretrain's parameter names
    (``patch_embed``, ``cls_token``, ``pos_embed``, ``layers.{i}``). Parameters of one learning rate and weight decay
    are one group, so that fused optimizers launch few kernels.

    Schedulers with an absolute ``eta_min`` raise groups of lower rates to it: set it to 0, or use ``eta_min_ratio``.

    ``paramwise_cfg`` has MMEngine's keys, except that norms, biases and other parameters of one dimension have no decay
    by default, and a custom key changes only the factors that it names:

        layer_decay_rate (float): Decay per layer, in (0, 1]. Defaults to 1 (none). ``decay_rate`` is the same.
        norm_decay_mult (float): Factor of the weight decay of norm layers.
        bias_decay_mult (float): The same for biases outside of norm layers.
        flat_decay_mult (float): The same for every other parameter of at most one dimension, and for norms and biases
            without a factor of their own. Defaults to 0.
        token_decay_mult (float): The same for ``cls_token``, ``mask_token``, registers and other tokens. Defaults to 0.
        pos_embed_decay_mult (float): The same for position embeddings. Defaults to 0.
        dwconv_decay_mult (float): The same for the weights of depth-wise convolutions. Defaults to 1.
        bias_lr_mult (float): Factor of the learning rate of biases outside of norm layers. Defaults to 1.
        dcn_offset_lr_mult (float): Factor of the learning rate of the offsets of deformable convolutions.
        custom_keys (dict): Part of a parameter's name -> ``dict(lr_mult=..., decay_mult=...)``. The longest matching
            key wins. ``lr_mult`` multiplies the layer's learning rate, ``decay_mult`` replaces the rules above. For a
            key that names a whole backbone (``'backbone'``), the rules apply too, multiplied by ``decay_mult``.
        force_default_settings (bool): Whether the rules apply for every custom key.
        bypass_duplicate (bool): No effect: shared parameters always count once.
        num_layers (int), decay_type (``'layer_wise'``): Optional; must be the model's.

    Args:
        optim_wrapper_cfg: Config of the optimizer wrapper; its optimizer needs ``lr``. ``weight_decay`` defaults to 0.
        paramwise_cfg: See above.

    Raises:
        ValueError: On unknown keys, rates out of range, or a model without a known backbone when the rate is not 1.
    """

    _keys = frozenset({
        'layer_decay_rate', 'norm_decay_mult', 'bias_decay_mult', 'flat_decay_mult', 'token_decay_mult',
        'pos_embed_decay_mult', 'dwconv_decay_mult', 'bias_lr_mult', 'dcn_offset_lr_mult', 'custom_keys',
        'force_default_settings', 'bypass_duplicate', 'num_layers', 'decay_type'
    })

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        cfg = dict(paramwise_cfg or {})
        if 'decay_rate' in cfg:  # the name in mmdet, mmseg and mmpose
            rate = cfg.pop('decay_rate')
            if cfg.setdefault('layer_decay_rate', rate) != rate:
                raise ValueError(f'paramwise_cfg: got decay_rate={rate} and layer_decay_rate='
                                 f"{cfg['layer_decay_rate']}, expected one of them; remove the other")
            print_log(f'Using paramwise_cfg.decay_rate={rate} as layer_decay_rate', logger='current')
        unknown = sorted(set(cfg) - self._keys)
        if unknown:
            raise ValueError(f'paramwise_cfg: got unknown keys {unknown}, expected some of {sorted(self._keys)}')
        for name, setting in cfg.get('custom_keys', {}).items():
            wrong = sorted(set(setting) - {'lr_mult', 'decay_mult'})
            if wrong:
                raise ValueError(f"paramwise_cfg.custom_keys['{name}']: got {wrong}, expected only lr_mult and "
                                 'decay_mult; correct or remove the others')
        rate = cfg.setdefault('layer_decay_rate', 1.)
        if not 0 < rate <= 1:
            raise ValueError(f'paramwise_cfg.layer_decay_rate: got {rate}, expected a number in (0, 1]')
        if cfg.get('decay_type', 'layer_wise') != 'layer_wise':
            raise ValueError(f"paramwise_cfg.decay_type: got '{cfg['decay_type']}', expected 'layer_wise'")
        optimizer = optim_wrapper_cfg['optimizer']
        if optimizer.get('weight_decay') is None:
            optimizer = {**optimizer, 'weight_decay': 0.}
        super().__init__({**optim_wrapper_cfg, 'optimizer': optimizer}, cfg)
        if self.base_lr is None:
            raise ValueError(f'optim_wrapper.optimizer: got {self.optimizer_cfg}, expected lr in it')

    def add_params(self, params: list[dict], module: nn.Module, **kwargs) -> None:
        backbones = self._backbones(module)
        last = max((num_depths for _, num_depths in backbones.values()), default=1) - 1
        rate = self.paramwise_cfg['layer_decay_rate']
        groups: dict[tuple, dict] = defaultdict(lambda: dict(params=[], depths=set()))
        for name, param in module.named_parameters():  # shared parameters come once
            if not param.requires_grad:
                continue
            prefix = next((prefix for prefix in backbones if name.startswith(prefix)), None)
            depth, below_last = last, 0
            if prefix is not None:
                depth_of, num_depths = backbones[prefix]
                depth = depth_of(name)
                below_last = num_depths - 1 - depth
            lr_mult, decay_mult = self._multipliers(module, name, param, prefix)
            lr = self.base_lr * rate**below_last * lr_mult
            group = groups[lr, self.base_wd * decay_mult]
            group['params'].append(param)
            group['depths'].add(depth)

        table = [f'{"depth":>8} {"lr":>12} {"weight decay":>12} {"tensors":>8} {"parameters":>14}']
        for (lr, weight_decay), group in sorted(groups.items(), key=lambda item: (min(item[1]['depths']), item[0])):
            params.append(dict(params=group['params'], lr=lr, weight_decay=weight_decay))
            low, high = min(group['depths']), max(group['depths'])
            count = sum(param.numel() for param in group['params'])
            table.append(f'{low if low == high else f"{low}-{high}":>8} {lr:12.4g} {weight_decay:12.4g} '
                         f'{len(group["params"]):8d} {count:14,d}')
        print_log('\n'.join([f'{len(groups)} parameter groups (layer decay {rate}):', *table]), logger='current')

    def _multipliers(self, model: nn.Module, name: str, param: nn.Parameter,
                     prefix: str | None) -> tuple[float, float]:
        cfg = self.paramwise_cfg
        rule = _rule(model, name, param)
        lr_mult = decay_mult = 1.
        if '.conv_offset.' in name:
            lr_mult = cfg.get('dcn_offset_lr_mult', 1.)
        elif rule == 'bias':
            lr_mult = cfg.get('bias_lr_mult', 1.)
        if rule is not None:
            default = {'dwconv': 1., 'token': 0., 'pos_embed': 0.}.get(rule, cfg.get('flat_decay_mult', 0.))
            decay_mult = cfg.get(f'{rule}_decay_mult', default)
        custom_keys = cfg.get('custom_keys', {})
        for key in sorted(sorted(custom_keys), key=len, reverse=True):
            if key in name:
                custom_lr, custom_decay = (custom_keys[key].get(mult) for mult in ('lr_mult', 'decay_mult'))
                if prefix is not None and key in prefix:
                    return lr_mult * (1. if custom_lr is None else custom_lr), decay_mult * (
                        1. if custom_decay is None else custom_decay)
                if not cfg.get('force_default_settings'):
                    return (1. if custom_lr is None else custom_lr), (
                        decay_mult if custom_decay is None else custom_decay)
                # As in mmpose, a rule that applies replaces the custom factor.
                return (custom_lr if custom_lr is not None and lr_mult == 1. else lr_mult), (
                    custom_decay if custom_decay is not None and rule is None else decay_mult)
        return lr_mult, decay_mult

    def _backbones(self, model: nn.Module) -> dict[str, tuple[Callable[[str], int], int]]:
        """Prefix of each trainable backbone -> function from a parameter's name to its depth, number of depths."""
        backbones = {}
        num_layers = self.paramwise_cfg.get('num_layers')
        for prefix, module in model.named_modules():  # parents come before their children
            prefix = f'{prefix}.' if prefix else ''
            depths = _depths(module, prefix)
            if depths is None or any(prefix.startswith(parent) for parent in backbones):
                continue
            if not any(param.requires_grad for param in module.parameters()):
                continue  # a frozen teacher
            backbones[prefix] = depths
            if num_layers not in (None, depths[1] - 2):
                raise ValueError(f'paramwise_cfg.num_layers: got {num_layers}, expected the {depths[1] - 2} of '
                                 f'{type(module).__name__}; leave it out')
        if not backbones and self.paramwise_cfg['layer_decay_rate'] != 1:
            raise ValueError(f'{type(model).__name__}: got no backbone with `get_layer_depth(name, prefix)`, or with '
                             '`patch_embed` and `layers`; use such a backbone, or layer_decay_rate=1')
        return backbones


def _rule(model: nn.Module, name: str, param: nn.Parameter) -> str | None:
    owner, _, leaf = name.rpartition('.')
    module = model.get_submodule(owner)
    if 'pos_embed' in leaf:
        return 'pos_embed'
    if leaf.endswith(('token', 'tokens')):
        return 'token'
    if isinstance(module, _NORMS):
        return 'norm'
    if leaf == 'bias':
        return 'bias'
    if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
        return 'dwconv'
    return 'flat' if param.ndim <= 1 else None


def _depths(module: nn.Module, prefix: str) -> tuple[Callable[[str], int], int] | None:
    """A function from a parameter's full name to its depth, and the number of depths; None if unknown."""
    # mmpretrain's classifiers have a `get_layer_depth` without a prefix, that of their backbone.
    if hasattr(module, 'get_layer_depth') and 'prefix' in inspect.signature(module.get_layer_depth).parameters:
        first = next((prefix + name for name, _ in module.named_parameters()), prefix)
        return lambda name: module.get_layer_depth(name, prefix)[0], module.get_layer_depth(first, prefix)[1]
    layers = getattr(module, 'layers', None)
    if not (hasattr(module, 'patch_embed') and isinstance(layers, (nn.ModuleList, nn.Sequential))):
        return None
    last = len(layers) + 1

    def depth_of(name: str) -> int:
        first, *others = name.removeprefix(prefix).split('.')
        if first in ('cls_token', 'pos_embed', 'patch_embed'):
            return 0
        return int(others[0]) + 1 if first == 'layers' else last

    return depth_of, last + 1
