"""Transformer blocks of a model, and their fully sharded training (FSDP2) for MMEngine's FlexibleRunner.

MMEngine's own ``FSDPStrategy`` wraps the older FSDP, and its runs cannot be resumed or exported here: see
docs/scaling.md.
"""
import time
from collections import defaultdict
from collections.abc import Callable

import mmengine
import torch
import torch.distributed as dist
import torch.nn as nn
from mmengine._strategy import DDPStrategy
from mmengine.device import get_device
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import STRATEGIES
from torch import Tensor

from ..version import require_torch

#: Class names of the transformer blocks of this package, and of transformers' Sapiens2.
BLOCKS = ('Block', 'Sapiens2Layer')


def blocks_of(model: nn.Module, names: tuple[str, ...]) -> list[nn.Module]:
    """Returns the modules of a class, or a derived one as FSDP makes, in ``names``; a ValueError if there are none."""
    blocks = [module for module in model.modules() if any(kind.__name__ in names for kind in type(module).__mro__)]
    if not blocks:
        raise ValueError(f'{type(model).__name__}: got no module of class {" or ".join(names)}; name the class of its '
                         'transformer blocks')
    return blocks


@STRATEGIES.register_module()
class SapiensFSDPStrategy(DDPStrategy):
    """Shards weights, gradients and optimizer state over the processes, block by block.

    Parameter names and losses are those of DDP. With ``SapiensBF16OptimWrapper`` (``--amp``) blocks receive weights and
    tokens in bfloat16, half the traffic; gradients are reduced and weights kept in float32. A checkpoint is a folder
    (:mod:`sapiens_mm.engine.sharded_checkpoint`) that all processes share; any number resumes it, or an ordinary one.

    Args:
        block_names: Class names of the transformer blocks.
        shard_size: Processes that share one copy of the model, a divisor of their number; by default all.
        **kwargs: Of MMEngine's strategies.
    Raises ValueError (bad ``shard_size``, or no blocks), RuntimeError (no launcher) or ImportError (old torch).
    """

    def __init__(self, *, block_names: tuple[str, ...] = BLOCKS, shard_size: int | None = None, **kwargs):
        from .sharded_checkpoint import OLDEST_TORCH

        require_torch(OLDEST_TORCH, 'SapiensFSDPStrategy')
        super().__init__(**kwargs)
        if not dist.is_initialized():
            raise RuntimeError('SapiensFSDPStrategy: got no process group; start with tools/dist_train.sh or '
                               'tools/dist_test.sh, even for one process, or another --launcher')
        if shard_size is not None and (shard_size < 1 or self.world_size % shard_size):
            raise ValueError(f'shard_size: got {shard_size}, expected a divisor of {self.world_size} processes')
        self.block_names, self.shard_size = tuple(block_names), shard_size
        self._bf16 = False

    def prepare(self, model: nn.Module | dict, *, optim_wrapper=None, **kwargs):
        self._bf16 = isinstance(optim_wrapper, dict) and optim_wrapper.get('type') == 'SapiensBF16OptimWrapper'
        return super().prepare(model, optim_wrapper=optim_wrapper, **kwargs)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

        device = get_device()
        model = self.convert_model(model)
        for module in model.modules():
            if isinstance(module, BaseDataPreprocessor):
                module.to(device)  # which sets the device of its output
        if self.shard_size is None:
            mesh = dist.init_device_mesh(device, (self.world_size, ))
        else:
            mesh = dist.init_device_mesh(device, (self.world_size // self.shard_size, self.shard_size),
                                         mesh_dim_names=('replicate', 'shard'))
        # Outside of the blocks (images, targets, embeddings, heads) weights stay float32, under autocast.
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if self._bf16 else MixedPrecisionPolicy()
        for block in blocks_of(model, self.block_names):
            fully_shard(block, mesh=mesh, mp_policy=policy)
        fully_shard(model, mesh=mesh)
        for name in ('forward', 'predict'):
            if self._bf16 and hasattr(model, name):  # evaluation has no autocast
                setattr(model, name, torch.autocast(device, torch.bfloat16)(getattr(model, name)))
        if hasattr(model, 'predict'):
            register_fsdp_forward_method(model, 'predict')  # which hooks call directly
        for module in model.modules():
            # After the backbone's own hook, which fits whole tensors.
            module._register_load_state_dict_pre_hook(_shard_entries, with_module=True)
        return model

    def save_checkpoint(self, filename: str, *, save_optimizer: bool = True, save_param_scheduler: bool = True,
                        extra_ckpt: dict | None = None, callback: Callable | None = None) -> None:
        """Writes a sharded checkpoint; all processes call it."""
        from .sharded_checkpoint import save_sharded

        checkpoint = dict(state_dict=self.model.state_dict(), **(extra_ckpt or {}))
        checkpoint['meta'] = dict(checkpoint.get('meta') or {}, seed=self.seed, time=time.strftime('%Y%m%d_%H%M%S'),
                                  mmengine=mmengine.__version__)
        if save_optimizer and hasattr(self, 'optim_wrapper'):
            checkpoint['optimizer'] = self.optim_state_dict()
        if save_param_scheduler and hasattr(self, 'param_schedulers'):
            checkpoint['param_schedulers'] = self.scheduler_state_dict()
        if callback is not None:
            callback(checkpoint)
        tensors = dict(state_dict=checkpoint.pop('state_dict'))
        if 'optimizer' in checkpoint:
            names = [name for name, _ in self._optimized()]
            tensors['optimizer'] = {names[i]: {key: value for key, value in state.items() if value is not None}
                                    for i, state in checkpoint['optimizer'].pop('state').items()}
        save_sharded(filename, tensors, checkpoint)

    def load_checkpoint(self, filename: str, *, callback: Callable | None = None, **kwargs) -> dict:
        """Reads weights: of a sharded checkpoint of this model each process its share, otherwise each all."""
        from .sharded_checkpoint import is_sharded, load_sharded, read_rest, read_table

        state_dict = self.model.state_dict()
        expected = {f'state_dict.{name}': value.shape for name, value in state_dict.items()}
        stored = {name: entry.size for name, entry in read_table(filename).items()
                 if name.startswith('state_dict.')} if is_sharded(filename) else None
        if stored != expected:
            return super().load_checkpoint(filename, callback=callback, **kwargs)
        self.logger.info(f'Load checkpoint from {filename}')
        load_sharded(filename, dict(state_dict=state_dict))
        checkpoint = {**read_rest(filename), 'state_dict': state_dict}
        if callback is not None:
            callback(checkpoint)
        self.model.load_state_dict(checkpoint.pop('state_dict'))  # a hook may have changed it
        if 'optimizer' in checkpoint:
            checkpoint['optimizer']['folder'] = filename
        return checkpoint

    def load_optim_state_dict(self, state_dict: dict) -> None:
        from .sharded_checkpoint import load_sharded, read_table

        params = self._optimized()
        folder = state_dict.pop('folder', None)
        if folder is None:  # of an ordinary run
            state = {i: {key: _shard_like(value, params[i][1]) for key, value in entries.items()}
                     for i, entries in state_dict['state'].items()}
        else:
            by_name, named = defaultdict(dict), dict(params)
            for path, entry in read_table(folder).items():
                name, _, key = path.removeprefix('optimizer.').rpartition('.')
                if path.startswith('optimizer.') and name in named:
                    like = named[name] if entry.size == named[name].shape else torch.empty(entry.size)
                    by_name[name][key] = torch.empty_like(like, dtype=entry.properties.dtype, requires_grad=False)
            load_sharded(folder, dict(optimizer=by_name))
            state = {i: by_name[name] for i, (name, _) in enumerate(params) if name in by_name}
        super().load_optim_state_dict({**state_dict, 'state': state})

    def _optimized(self) -> list[tuple[str, nn.Parameter]]:
        names = {param: name for name, param in self.model.named_parameters()}
        return [(names[param], param) for group in self.optim_wrapper.optimizer.param_groups
                for param in group['params']]


def _shard_like(value: Tensor, param: Tensor) -> Tensor:
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(param, DTensor) or isinstance(value, DTensor) or getattr(value, 'shape', None) != param.shape:
        return value
    # Each process has the whole tensor, so none is sent.
    return distribute_tensor(value.to(param.device), param.device_mesh, param.placements, src_data_rank=None)


def _shard_entries(module: nn.Module, state_dict: dict, prefix: str, *args) -> None:
    for name, param in module.named_parameters(recurse=False):
        if prefix + name in state_dict:
            state_dict[prefix + name] = _shard_like(state_dict[prefix + name], param)
