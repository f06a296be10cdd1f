"""Mixed precision in bfloat16 on any device."""
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class SapiensBF16OptimWrapper(OptimWrapper):
    """Autocast to bfloat16 on any device; weights, gradients and optimizer state stay float32, losses unscaled."""

    @contextmanager
    def optim_context(self, model):
        with super().optim_context(model), torch.autocast(get_device(), dtype=torch.bfloat16):
            yield
