"""Layer-wise learning rate decay (Bao et al., ICLR 2022, https://arxiv.org/abs/2106.08254)."""
from collections import defaultdict

import torch.nn as nn
from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class SapiensLayerDecayConstructor(DefaultOptimWrapperConstructor):
    """Scales the learning rate of a parameter by ``layer_decay_rate ** (L + 1 - depth)``.

    The depth is 0 for the embeddings, i + 1 for block i of L, and L + 1 for the final norm and for everything outside
    of the backbone. It is read from the model: from a backbone's own ``get_layer_depth(name, prefix)``, else from
    mmpretrain's parameter names (``patch_embed``, ``cls_token``, ``pos_embed``, ``layers.{i}``). Parameters are merged
    into as few groups as differ in learning rate and weight decay, so that fused optimizers launch few kernels.

    Schedulers with an absolute ``eta_min`` lift the groups of low rates up to it: give them 0, or ``eta_min_ratio``.

    Keys of ``paramwise_cfg``:
        layer_decay_rate (float): Decay per layer, in (0, 1]. Defaults to 1 (none).
        norm_decay_mult (float): Factor of the weight decay of norm weights and every other one-dimensional parameter
            but biases. Defaults to 0, like the next three.
        bias_decay_mult (float): The same for biases.
        token_decay_mult (float): The same for ``cls_token``, ``mask_token`` and other tokens.
        pos_embed_decay_mult (float): The same for position embeddings.
        custom_keys (dict): Part of a parameter's name -> ``dict(lr_mult=..., decay_mult=...)``. The longest key that
            fits wins. ``lr_mult`` multiplies the layer's learning rate, ``decay_mult`` takes the place of the rules
            above.
        num_layers (int): Not needed; if given, it must be the model's.

    Args:
        optim_wrapper_cfg: Config of the optimizer wrapper; its optimizer needs ``lr`` and ``weight_decay``.
        paramwise_cfg: See above.

    Raises:
        ValueError: On unknown keys, rates out of range, or a model without a known backbone when the rate is not 1.
    """

    _rules = ('norm', 'bias', 'token', 'pos_embed')

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        paramwise_cfg = dict(paramwise_cfg or {})
        known = {'layer_decay_rate', 'num_layers', 'custom_keys', *(f'{rule}_decay_mult' for rule in self._rules)}
        unknown = sorted(set(paramwise_cfg) - known)
        if unknown:
            raise ValueError(f'paramwise_cfg has {unknown}, but {type(self).__name__} knows only {sorted(known)}')
        for name, setting in paramwise_cfg.get('custom_keys', {}).items():
            wrong = sorted(set(setting) - {'lr_mult', 'decay_mult'})
            if wrong:
                raise ValueError(f"paramwise_cfg.custom_keys['{name}'] has {wrong}, but only lr_mult and decay_mult "
                                 'have an effect')
        rate = paramwise_cfg.setdefault('layer_decay_rate', 1.)
        if not 0 < rate <= 1:
            raise ValueError(f'paramwise_cfg.layer_decay_rate is {rate}, but must lie in (0, 1]')
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        if self.base_lr is None or self.base_wd is None:
            raise ValueError(f'optim_wrapper.optimizer is {self.optimizer_cfg}, but needs both lr and weight_decay')

    def add_params(self, params: list[dict], module: nn.Module, **kwargs) -> None:
        """Appends the parameter groups of ``module`` to ``params`` and logs them as a table."""
        depth_of, num_depths = self._depths(module)
        rate = self.paramwise_cfg['layer_decay_rate']
        groups: dict[tuple, dict] = defaultdict(lambda: dict(params=[], depths=set()))
        for name, param in module.named_parameters():  # shared parameters come once
            if not param.requires_grad:
                continue
            depth = depth_of(name)
            lr_mult, decay_mult = self._multipliers(name, param)
            lr = self.base_lr * rate**(num_depths - 1 - depth) * lr_mult
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

    def _multipliers(self, name: str, param: nn.Parameter) -> tuple[float, float]:
        """Factors of the learning rate and the weight decay of a parameter."""
        leaf = name.rsplit('.', 1)[-1]
        if 'pos_embed' in leaf:
            rule = 'pos_embed'
        elif leaf.endswith('token'):
            rule = 'token'
        elif leaf == 'bias':
            rule = 'bias'
        elif param.ndim <= 1:
            rule = 'norm'
        else:
            rule = None
        decay_mult = 1. if rule is None else self.paramwise_cfg.get(f'{rule}_decay_mult', 0.)
        custom_keys = self.paramwise_cfg.get('custom_keys', {})
        for key in sorted(sorted(custom_keys), key=len, reverse=True):
            if key in name:
                setting = custom_keys[key]
                return setting.get('lr_mult', 1.), setting.get('decay_mult', decay_mult)
        return 1., decay_mult

    def _depths(self, model: nn.Module):
        """A function from a parameter's name to its depth, and the number of depths."""
        for prefix, module in model.named_modules():  # parents come before their children
            prefix = f'{prefix}.' if prefix else ''
            if hasattr(module, 'get_layer_depth'):
                def depth_of(name: str, module=module, prefix=prefix) -> int:
                    return module.get_layer_depth(name, prefix)[0]

                num_depths = module.get_layer_depth(f'{prefix}pos_embed', prefix)[1]
                break
            layers = getattr(module, 'layers', None)
            if hasattr(module, 'patch_embed') and isinstance(layers, (nn.ModuleList, nn.Sequential)):
                num_depths = len(layers) + 2

                def depth_of(name: str, prefix=prefix, last=num_depths - 1) -> int:
                    parts = name[len(prefix):].split('.') if name.startswith(prefix) else ['']
                    if parts[0] in ('cls_token', 'pos_embed', 'patch_embed'):
                        return 0
                    return int(parts[1]) + 1 if parts[0] == 'layers' else last

                break
        else:
            if self.paramwise_cfg['layer_decay_rate'] != 1:
                raise ValueError(f'{type(model).__name__} has no backbone with `get_layer_depth` nor one with '
                                 '`patch_embed` and `layers`, so the depth of its parameters is unknown: use such a '
                                 'backbone, or layer_decay_rate=1')
            return (lambda name: 0), 1
        stated = self.paramwise_cfg.get('num_layers', num_depths - 2)
        if stated != num_depths - 2:
            raise ValueError(f'paramwise_cfg.num_layers is {stated}, but {type(module).__name__} has {num_depths - 2}: '
                             'leave it out, it is read from the model')
        return depth_of, num_depths
