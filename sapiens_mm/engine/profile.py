"""Profile of a model: parameters, multiply-adds and memory, computed on tensors without storage."""
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn as nn
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.utils import digit_version
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

_HEADS = ('head', 'heads', 'decode_head')


@dataclass
class ModelProfile:
    """Cost of one forward pass of ``batch`` images of ``shape`` (H, W) pixels, with what is kept for the backward pass.

    Attributes:
        amp: Whether activations are bfloat16 where autocast makes them so.
        parameters: Number of parameters of each part of the model.
        macs: Multiply-adds of each part's linear and convolutional layers: the paper's Table 2 (1024 x 1024).
        attention_macs: Multiply-adds of the products between tokens, which that table omits.
        activations: Bytes kept for the backward pass.
        checkpointed_activations: The same with ``with_cp``, plus what one block recomputes; None if not supported.
    """
    shape: tuple[int, int]
    batch: int
    amp: bool
    parameters: dict[str, int]
    macs: dict[str, int]
    attention_macs: dict[str, int]
    activations: int
    checkpointed_activations: int | None

    def __str__(self) -> str:
        lines = [
            f'{self.batch} x 3 x {self.shape[0]} x {self.shape[1]} (H x W), '
            f'{"bfloat16 autocast" if self.amp else "float32"}',
            f'{"part":<12} {"parameters (M)":>15} {"layers (TMACs)":>15} {"attention (TMACs)":>18}'
        ]
        for part in [*self.parameters, 'total']:
            counts = [sum(c.values()) if part == 'total' else c.get(part, 0)
                      for c in (self.parameters, self.macs, self.attention_macs)]
            lines.append(f'{part:<12} {counts[0] / 1e6:15.2f} {counts[1] / 1e12:15.4f} {counts[2] / 1e12:18.4f}')
        lines.append(f'activations kept for the backward pass: {self.activations / 2**30:.2f} GiB')
        if self.checkpointed_activations is not None:
            lines.append(f'with activation checkpointing: {self.checkpointed_activations / 2**30:.2f} GiB')
        return '\n'.join(lines)


def profile_model(cfg: Config, shape: tuple[int, int] | None = None, batch: int = 1,
                  amp: bool = False) -> ModelProfile:
    """Profiles the model of a config of any host: backbone and neck of a detector, a model without a head as a whole.
    ``shape`` is (H, W) in pixels, by default the backbone's ``img_size``; a ValueError without either.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    # Tensors without storage; unlike on the meta device, attention takes the fused path.
    with FakeTensorMode(), torch.autocast('cpu', dtype=torch.bfloat16, enabled=amp):
        model = MODELS.build(cfg.model).train()
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()  # in training it refuses a single value per channel
        backbone = getattr(model, 'backbone', model)
        shape = tuple(shape or getattr(backbone, 'img_size', None) or ())
        if len(shape) != 2:
            raise ValueError(f'{type(backbone).__name__} has no image size; give --shape H W')
        inputs = torch.empty(batch, 3, *shape)
        if any(hasattr(model, head) for head in _HEADS) or not hasattr(model, 'extract_feat'):
            run = partial(model, inputs, None, mode='tensor')
        else:  # a detector's heads need boxes
            run = partial(model.extract_feat, inputs)

        stacks = {}  # part that can be checkpointed -> its number of blocks
        for part in (backbone, getattr(model, 'neck', None)):
            blocks = getattr(part, 'layers', None) or getattr(part, 'decoder_blocks', None)
            if hasattr(part, 'with_cp') and blocks is not None:
                stacks[part] = len(blocks)
                part.with_cp = False
        parts = {name: part for name, part in model.named_children() if name != 'data_preprocessor'}
        with _PartCounter(parts) as counter:
            kept = _saved_bytes(model, run)
        checkpointed = None
        if backbone in stacks:
            one_block = 0
            for part, num_blocks in stacks.items():
                part.with_cp = True
                stored = _saved_bytes(model, run)
                part.with_cp = False
                one_block = max(one_block, (kept - stored) // num_blocks)
            for part in stacks:
                part.with_cp = True
            checkpointed = _saved_bytes(model, run) + one_block

    counts = counter.counts
    # The hosts call `head.forward` directly, without hooks, so the rest is the head's.
    rest = counter.total() - sum(counts.values(), Counter())
    for part in parts:
        if part in _HEADS:
            counts[part] += rest
            break
    attention = {part: sum(n for op, n in counts[part].items() if _is_attention(str(op))) for part in parts}
    return ModelProfile(
        shape=shape,
        batch=batch,
        amp=amp,
        parameters={part: sum(p.numel() for p in getattr(model, part).parameters()) for part in parts},
        macs={part: (sum(counts[part].values()) - attention[part]) // 2 for part in parts},
        attention_macs={part: attention[part] // 2 for part in parts},
        activations=kept,
        checkpointed_activations=checkpointed)


class _PartCounter:
    def __init__(self, parts: dict[str, nn.Module]):
        custom = {}
        if digit_version(torch.__version__) >= digit_version('2.2'):  # torch 2.1 counts it by itself
            custom[torch.ops.aten._scaled_dot_product_flash_attention_for_cpu] = _cpu_attention_flops
        # Before torch 2.4, its own count by modules expects single tensors as outputs.
        self.mode = FlopCounterMode(display=False, custom_mapping=custom)
        self.counts = {part: Counter() for part in parts}
        self._inside, self._before = Counter(), {}
        self._handles = []
        for part, whole in parts.items():
            for module in whole.modules():
                self._handles += [module.register_forward_pre_hook(partial(self._enter, part)),
                                  module.register_forward_hook(partial(self._leave, part))]

    def __enter__(self) -> '_PartCounter':
        self.mode.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self.mode.__exit__(*error)
        for handle in self._handles:
            handle.remove()

    def total(self) -> Counter:
        return Counter(self.mode.get_flop_counts().get('Global', {}))

    def _enter(self, part: str, *args) -> None:
        if not self._inside[part]:
            self._before[part] = self.total()
        self._inside[part] += 1

    def _leave(self, part: str, *args) -> None:
        self._inside[part] -= 1
        if not self._inside[part]:
            self.counts[part] += self.total() - self._before[part]


def _is_attention(op: str) -> bool:
    return any(name in op for name in ('bmm', 'attention'))


def _cpu_attention_flops(q: torch.Size, k: torch.Size, v: torch.Size, *args, **kwargs) -> int:
    """FLOPs of q @ k^T and of the weights @ v; shapes (B, heads, N, head_dim). torch has no formula for CPUs."""
    B, heads, N, dim = q
    return 2 * B * heads * N * k[2] * (dim + v[3])


def _saved_bytes(model: nn.Module, run: Callable) -> int:
    """Bytes that ``run`` keeps for the backward pass of ``model``, without parameters and buffers."""
    saved = {}  # by storage: views of one tensor count once

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage()._cdata] = tensor  # kept alive, so that no other storage gets its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = run()
    permanent = {tensor.untyped_storage()._cdata for tensor in [*model.parameters(), *model.buffers()]}
    del out
    return sum(tensor.untyped_storage().nbytes() for key, tensor in saved.items() if key not in permanent)
