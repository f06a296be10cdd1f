"""Mixed precision in bfloat16 on any device."""
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class SapiensBF16OptimWrapper(OptimWrapper):
    """Runs forward passes in bfloat16 under autocast; weights, gradients and optimizer state stay float32. bfloat16 has
    float32's range, so losses need no scaling. Unlike MMEngine's ``AmpOptimWrapper`` it runs on a CPU too.
    """

    @contextmanager
    def optim_context(self, model):
        with super().optim_context(model), torch.autocast(get_device(), dtype=torch.bfloat16):
            yield
