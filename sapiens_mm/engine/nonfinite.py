"""Steps that would destroy the weights are left out."""
import json
import os.path as osp

import torch
from mmengine.dist import all_gather_object, all_reduce, get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch.optim import Optimizer


@HOOKS.register_module()
class SapiensNonFiniteHook(Hook):
    """Skips optimizer steps whose gradients hold an infinity or NaN on any rank, and stops a run that only skips.

    Weights and the optimizer's state stay as they are in such a step. The log has the number of steps skipped so far
    as ``skipped_steps``. After ``max_consecutive`` skipped steps in a row the run stops; each rank with a loss that is
    not finite (each rank, if none has) writes ``nonfinite_rank{rank}.json`` to the work dir: for each of the batches
    since the last good step its iteration, loss and images.

    The check comes after clipping. ``clip_grad`` by norm keeps what is not finite or spreads it; by value it turns
    infinities into finite numbers, so then NaN alone is found.

    Args:
        max_consecutive: Skipped steps in a row that stop the run.

    Raises:
        ValueError: ``max_consecutive`` is less than 1, or the optimizer is not torch's (DeepSpeed has its own).
        RuntimeError: Too many steps in a row were skipped; the message names the files.
    """

    name = 'train/skipped_steps'

    def __init__(self, max_consecutive: int = 5):
        if max_consecutive < 1:
            raise ValueError(f'max_consecutive is {max_consecutive}, but must be at least 1')
        self.max_consecutive = max_consecutive

    def before_train(self, runner) -> None:
        optimizer = runner.optim_wrapper.optimizer
        if not isinstance(optimizer, Optimizer):
            raise ValueError(f'SapiensNonFiniteHook watches the steps of a torch optimizer, but found a '
                             f'{type(optimizer).__name__}: leave the hook out of custom_hooks')
        history = runner.message_hub.log_scalars.get(self.name)  # of the run that is resumed
        self.skipped = int(history.current()) if history else 0
        self.in_a_row = 0
        self._batches = []  # since the last good step: iteration, loss, images
        self._good = False
        self._handle = optimizer.register_step_pre_hook(self._check)

    def after_train(self, runner) -> None:
        self._handle.remove()

    def _check(self, optimizer: Optimizer, *args) -> None:
        """Takes the gradients away if one is not finite on any rank: a parameter without one is left alone."""
        params = [param for group in optimizer.param_groups for param in group['params'] if param.grad is not None]
        # Of sharded gradients each rank looks at its share.
        grads = [param.grad.to_local() if hasattr(param.grad, 'to_local') else param.grad for param in params]
        grads = [grad for grad in grads if grad.numel()]  # a rank's share may be empty
        bad = torch.zeros((), device=optimizer.param_groups[0]['params'][0].device)
        if grads:
            # The largest magnitude of each tensor in a few kernels; in contrast to a sum of squares it cannot overflow.
            bad += ~torch.stack(torch._foreach_norm(grads, float('inf'))).isfinite().all()
        all_reduce(bad)
        self._good = not bad.item()
        if self._good:
            self.in_a_row = 0
        else:
            self.in_a_row += 1
            self.skipped += 1
            for param in params:
                param.grad = None

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        runner.message_hub.update_scalar(self.name, self.skipped)
        loss = (outputs or {}).get('loss')
        # Not read: that would wait for the device.
        loss = loss.detach() if isinstance(loss, torch.Tensor) else loss
        self._batches.append((runner.iter + 1, loss, images_of(data_batch)))
        if self._good:
            self._batches.clear()
            self._good = False  # accumulating batches belong to the next step
        elif self.in_a_row >= self.max_consecutive:
            self._stop(runner)

    def _stop(self, runner) -> None:
        batches = [dict(iteration=iteration, loss=None if loss is None else float(loss), images=images)
                   for iteration, loss, images in self._batches]
        own = any(batch['loss'] is not None and not abs(batch['loss']) < float('inf') for batch in batches)
        guilty = all_gather_object(own)
        path = None
        if own or not any(guilty):
            path = osp.join(runner.work_dir, f'nonfinite_rank{get_rank()}.json')
            with open(path, 'w') as file:
                # JSON has no NaN.
                json.dump([{**batch, 'loss': str(batch['loss'])} for batch in batches], file, indent=1)
        paths = [path for path in all_gather_object(path) if path]
        raise RuntimeError(
            f'The gradients of {self.in_a_row} steps in a row were not finite, the last at iteration '
            f'{runner.iter + 1}: the batches are listed in {", ".join(paths[:3])}'
            f'{f" and {len(paths) - 3} more files" if len(paths) > 3 else ""}. Look at these images; if they are in '
            'order, lower the learning rate or lengthen the warm-up, and resume from the last checkpoint')


def images_of(data_batch) -> list[str]:
    """The names of a batch's images: the ``key`` of image streams, the ``img_path`` of the hosts' data samples."""
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    if isinstance(samples, dict):
        return list(samples.get('key', []))
    return [str(sample.img_path) for sample in samples or [] if hasattr(sample, 'img_path')]
