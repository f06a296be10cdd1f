"""Hook that skips optimizer steps with non-finite gradients."""
import json
import math
import os.path as osp
from collections import deque

import torch
from mmengine.dist import all_gather_object, all_reduce, get_rank, get_world_size
from mmengine.hooks import CheckpointHook, Hook, LoggerHook
from mmengine.registry import HOOKS
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam, AdamW, Optimizer

from ...utils.text import some


@HOOKS.register_module()
class SapiensNonFiniteHook(Hook):
    """Skips optimizer steps with an infinite or NaN gradient on any rank, and stops the run after several in a row.

    A skipped step changes neither weights nor the optimizer's state; ``skipped_steps`` in the log counts them. When the
    run stops, each rank with a non-finite loss (every rank, if none has one) writes ``nonfinite_rank{rank}.json`` to
    the work dir: iteration, loss and images of each batch since the last good step.

    The check follows gradient clipping. With clipping by norm, it checks whether the norm, which MMEngine reads anyway,
    is finite (if its order is positive). Clipping by value makes infinities finite, so only NaN is detected.
    BatchNorm's statistics are not restored. ``AdamW(fused=True)`` on a GPU skips the step itself, so the flag is read
    one iteration later, or when logged. With other optimizers, runs of several processes or without clipping by norm
    wait for the device before each step.

    Args:
        max_consecutive: Number of skipped steps in a row, at least 1, after which the run stops.

    Raises:
        ValueError: ``max_consecutive`` is below 1, or the optimizer is not torch's (such as DeepSpeed's).
        RuntimeError: In training, after ``max_consecutive`` skipped steps in a row.
    """

    name = 'train/skipped_steps'

    def __init__(self, max_consecutive: int = 5):
        if max_consecutive < 1:
            raise ValueError(f'max_consecutive: got {max_consecutive}, expected at least 1')
        self.max_consecutive = max_consecutive

    def before_train(self, runner) -> None:
        optimizer = runner.optim_wrapper.optimizer
        if not isinstance(optimizer, Optimizer):
            raise ValueError(f'SapiensNonFiniteHook: got a {type(optimizer).__name__}, expected an optimizer of torch; '
                             'remove the hook from custom_hooks')
        history = runner.message_hub.log_scalars.get(self.name)  # of a resumed run
        self.skipped = int(history.current()) if history else 0
        self.in_a_row = 0
        self._wrapper, self._norms = runner.optim_wrapper, None
        self._flag = None  # of this iteration's step, if it had one
        self._batches = []  # since the last step: iteration, loss, images
        self._steps = deque()  # not checked yet: flag, batches
        self._bad_batches = []  # since the last good step
        self._own_found_inf = False
        self._handles = [optimizer.register_step_pre_hook(self._check), optimizer.register_step_post_hook(self._clear)]

    def after_train(self, runner) -> None:
        self._count(runner)
        for handle in self._handles:
            handle.remove()

    def _check(self, optimizer: Optimizer, *args) -> None:
        finite = self._norm_is_finite()
        if finite and get_world_size() == 1:
            self._flag = _Flag(False)
            return
        params = [param for group in optimizer.param_groups for param in group['params'] if param.grad is not None]
        bad = torch.zeros((), device=optimizer.param_groups[0]['params'][0].device)
        if not finite:
            # Of sharded gradients each rank checks its share, which may be empty.
            grads = [param.grad.to_local() if hasattr(param.grad, 'to_local') else param.grad for param in params]
            grads = [grad for grad in grads if grad.numel()]
            if grads:
                # Unlike a sum of squares, the largest magnitude cannot overflow.
                bad += ~torch.stack(torch._foreach_norm(grads, float('inf'))).isfinite().all()
        all_reduce(bad)
        self._flag = _Flag(bad)
        if _skips_by_itself(optimizer):
            scaler = getattr(optimizer, 'found_inf', None)  # of torch's GradScaler, which removes it
            self._own_found_inf = scaler is None
            optimizer.found_inf = (bad if scaler is None else bad + scaler.to(bad.device)).clamp(max=1.)
        elif self._flag.read():
            for param in params:  # optimizers ignore parameters without a gradient
                param.grad = None

    def _clear(self, optimizer: Optimizer, *args) -> None:
        if self._own_found_inf:
            del optimizer.found_inf
            self._own_found_inf = False

    def _norm_is_finite(self) -> bool:
        if getattr(self._wrapper, 'clip_func', None) is not clip_grad_norm_ or not self._wrapper.clip_grad_kwargs:
            return False
        if not float(self._wrapper.clip_grad_kwargs.get('norm_type', 2)) > 0:
            return False  # order 0 counts the values that are not zero, and a negative order may lose an infinity
        history = self._wrapper.message_hub.log_scalars.get('train/grad_norm')
        # Each entry makes a new array, so an array seen before is of another step.
        fresh = history is not None and history.data[0] is not self._norms
        self._norms = history.data[0] if history else None
        return fresh and math.isfinite(history.current())

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        loss = (outputs or {}).get('loss')
        # Not read, which would wait for the device.
        loss = loss.detach() if isinstance(loss, torch.Tensor) else loss
        self._batches.append((runner.iter + 1, loss, images_of(data_batch)))
        if self._flag is not None:  # else the batches accumulate for the next step
            self._steps.append((self._flag, self._batches))
            self._flag, self._batches = None, []
        # The previous step is long done on the device, so reading its flag does not wait.
        late = self._steps and not self._steps[-1][0].known and not self._is_read(runner, batch_idx)
        self._count(runner, 1 if late else 0)
        runner.message_hub.update_scalar(self.name, self.skipped)

    def _is_read(self, runner, batch_idx: int) -> bool:
        """Returns whether this iteration logs or saves the number of skipped steps; the same on all ranks."""
        return (self.end_of_epoch(runner.train_dataloader, batch_idx) or self.is_last_train_iter(runner) or any(
            isinstance(hook, LoggerHook) and self.every_n_inner_iters(batch_idx, hook.interval) or
            isinstance(hook, CheckpointHook) and not hook.by_epoch and self.every_n_train_iters(runner, hook.interval)
            for hook in runner.hooks))

    def _count(self, runner, left: int = 0) -> None:
        while len(self._steps) > left:
            flag, batches = self._steps.popleft()
            if not flag.read():
                self.in_a_row, self._bad_batches = 0, []
                continue
            self.in_a_row += 1
            self.skipped += 1
            self._bad_batches += batches
            if self.in_a_row >= self.max_consecutive:
                self._stop(runner)

    def _stop(self, runner) -> None:
        batches = [dict(iteration=iteration, loss=None if loss is None else float(loss), images=images)
                   for iteration, loss, images in self._bad_batches]
        diverged = any(batch['loss'] is not None and not math.isfinite(batch['loss']) for batch in batches)
        anywhere = any(all_gather_object(diverged))
        path = None
        if diverged or not anywhere:
            path = osp.join(runner.work_dir, f'nonfinite_rank{get_rank()}.json')
            with open(path, 'w') as file:
                # JSON has no NaN.
                json.dump([{**batch, 'loss': str(batch['loss'])} for batch in batches], file, indent=1)
        paths = [path for path in all_gather_object(path) if path]
        raise RuntimeError(
            f'gradients: got non-finite values in {self.in_a_row} steps in a row, the last at iteration '
            f'{batches[-1]["iteration"]}; check the images in {some(paths, 3)}, or lower the learning rate or lengthen '
            'the warm-up, and resume from the last checkpoint')


class _Flag:
    """Whether a step is skipped, copied from the device without waiting."""

    def __init__(self, bad: torch.Tensor | bool):
        self._bad, self._event = bad, None
        if isinstance(bad, torch.Tensor) and bad.is_cuda:
            self._bad = torch.empty_like(bad, device='cpu', pin_memory=True).copy_(bad, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    @property
    def known(self) -> bool:
        return self._event is None

    def read(self) -> bool:
        if self._event is not None:
            self._event.synchronize()
            self._event = None
        return bool(self._bad)


def _skips_by_itself(optimizer: Optimizer) -> bool:
    """Returns whether an optimizer's step takes ``found_inf``; not for fused SGD, whose first momentum is undefined."""
    return isinstance(optimizer, (Adam, AdamW)) and all(group.get('fused') for group in optimizer.param_groups)


def images_of(data_batch) -> list[str]:
    """Returns the names of a batch's images: ``key`` of image streams, ``img_path`` of the hosts' data samples."""
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    if isinstance(samples, dict):
        return list(samples.get('key', []))
    return [str(sample.img_path) for sample in samples or [] if hasattr(sample, 'img_path')]
