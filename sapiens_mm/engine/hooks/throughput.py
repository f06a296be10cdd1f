"""Hook that logs images and tokens per second, and the utilization of the device."""
import re
from collections import deque

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

from ..profile import profile_model

# Regular expression of a device's name -> dense bfloat16 TFLOP/s of the vendors' data sheets, half of the number "with
# sparsity" where only that is given. Special names come first. The V100 has no bfloat16, hence float16.
PEAK_TFLOPS = {
    'H100 PCIe': 756.5, 'H100 NVL': 835.5, 'H100': 989.5, 'H200 NVL': 835.5, 'H200': 989.5, 'GH200': 989.5,
    'B200': 2250., 'A100': 312., 'A40': 149.7, 'A30': 165., 'A10': 125., 'L40S': 362., 'L40': 181., 'L4': 121.,
    'RTX 4090$': 165.2, 'RTX 3090$': 71., 'V100-PCIE': 112., 'V100': 125.,
}


def peak_tflops(device_name: str) -> float | None:
    """Returns the dense bfloat16 peak of a device by name, such as ``'NVIDIA A100-SXM4-80GB'``; None if unknown."""
    return next((peak for name, peak in PEAK_TFLOPS.items() if re.search(rf'\b{name}(?!\w)', device_name)), None)


@HOOKS.register_module()
class SapiensThroughputHook(Hook):
    """Logs throughput, averaged over the same iterations as ``time``.

    ``images_per_s`` is the rate of all ranks together; ``tokens_per_s`` (patches) needs a backbone with ``grid_size``.
    ``mfu`` is the model's arithmetic, three forward passes without recomputation, as a share of the device's peak.

    Args:
        peak_tflops: Peak of one device in TFLOP/s, positive (else a ValueError); by default the dense bfloat16 peak of
            a known GPU.
    """

    def __init__(self, peak_tflops: float | None = None):
        if peak_tflops is not None and peak_tflops <= 0:
            raise ValueError(f'peak_tflops: got {peak_tflops}, expected a positive number')
        self.peak_tflops = peak_tflops

    def before_train(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        rows, columns = getattr(getattr(model, 'backbone', None), 'grid_size', (0, 0))
        self._tokens = rows * columns
        self._window = deque(maxlen=runner.log_processor.window_size)
        self._peak, self._flops = self.peak_tflops, 0
        if self._peak is None and torch.cuda.is_available():
            self._peak = peak_tflops(torch.cuda.get_device_name())
        if self._peak and 'model' in runner.cfg:
            profile = profile_model(runner.cfg)
            self._flops = 3 * 2 * sum(profile.macs.values()) + 3 * 2 * sum(profile.attention_macs.values())

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        # IterTimerHook, of the same priority, has run before.
        hub = runner.message_hub
        self._window.append((len(data_batch['inputs']), hub.get_scalar('train/time').current()))
        images, seconds = (sum(column) for column in zip(*self._window))
        rate = images / seconds * get_world_size()
        hub.update_scalar('train/images_per_s', rate)
        if self._tokens:
            hub.update_scalar('train/tokens_per_s', rate * self._tokens)
        if self._flops:
            hub.update_scalar('train/mfu', rate / get_world_size() * self._flops / (self._peak * 1e12))
