"""Mixed precision on any device."""
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class SapiensBF16OptimWrapper(OptimWrapper):
    """Forward passes in bfloat16 under autocast; weights, gradients and the optimizer's state stay float32.

    bfloat16 has float32's range, so no loss scaling is needed. In contrast to MMEngine's ``AmpOptimWrapper`` it runs on
    a CPU too.

    Args:
        **kwargs: Of :class:`mmengine.optim.OptimWrapper`.
    """

    @contextmanager
    def optim_context(self, model):
        with super().optim_context(model), torch.autocast(get_device(), dtype=torch.bfloat16):
            yield
