"""Resumable training on an endless stream of images."""
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS, LOOPS
from mmengine.runner import BaseLoop, IterBasedTrainLoop
from mmengine.runner.utils import calc_dynamic_intervals
from torch.utils.data import DataLoader

from ..utils.tar_files import SourceError
from .images import SapiensImages


@LOOPS.register_module()
class SapiensStreamTrainLoop(IterBasedTrainLoop):
    """``IterBasedTrainLoop`` that resumes :class:`SapiensImages` at its position, before data workers start."""

    def __init__(self, runner, dataloader: DataLoader | dict, max_iters: int, val_begin: int = 1,
                 val_interval: int = 1000, dynamic_intervals: list[tuple[int, int]] | None = None):
        BaseLoop.__init__(self, runner, dataloader)  # IterBasedTrainLoop's would start the data workers
        self._max_iters = int(max_iters)
        self._max_epochs, self._epoch, self._iter = 1, 0, 0
        self.val_begin, self.val_interval = val_begin, val_interval
        self.stop_training = False  # set by EarlyStoppingHook
        self.dynamic_milestones, self.dynamic_intervals = calc_dynamic_intervals(val_interval, dynamic_intervals)
        if not any(isinstance(hook, SapiensStreamHook) for hook in runner.hooks):
            raise ValueError("SapiensStreamTrainLoop needs custom_hooks=[dict(type='SapiensStreamHook')], which saves "
                             'the position in the data and resumes it')

    def run(self):
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        batches = iter(self.dataloader)  # after the hook has set the position
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._decide_current_val_interval()
            if (self.runner.val_loop is not None and self._iter >= self.val_begin
                    and (self._iter % self.val_interval == 0 or self._iter == self._max_iters)):
                self.runner.val_loop.run()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model


@HOOKS.register_module()
class SapiensStreamHook(Hook):
    """Saves the position of :class:`SapiensImages` in checkpoints, resumes it, and counts unreadable images.

    It counts used images, not prefetched ones. ``image_stream`` in a checkpoint has the position
    (:meth:`SapiensImages.position`), ``turn`` (data worker of the next batch), ``images`` and ``bad`` (numbers of used
    and skipped images). Skipped images of rank 0 are logged at once, those of other ranks when a checkpoint is written.

    Raises:
        SourceError: The share of unreadable images exceeds ``max_bad_share``.
        ValueError: The dataset or the loop is another one, or the checkpoint to resume has no position.
    """

    priority = 'LOW'  # before CheckpointHook

    def __init__(self):
        self._loaded = None

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        self._loaded = checkpoint.get('image_stream')

    def before_train(self, runner) -> None:
        self._dataset = dataset = runner.train_dataloader.dataset
        if not isinstance(dataset, SapiensImages) or not isinstance(runner.train_loop, SapiensStreamTrainLoop):
            raise ValueError(f'SapiensStreamHook: got {type(dataset).__name__} in {type(runner.train_loop).__name__}, '
                             "expected SapiensImages and train_cfg=dict(type='SapiensStreamTrainLoop', max_iters=...)")
        self._num_workers = max(runner.train_dataloader.num_workers, 1)
        dataset.check_workers(self._num_workers)
        self._latest = {}  # slot of this rank -> epoch, shard, images taken
        self._turn = 0
        self._images, self._bad, self._unlogged = 0, 0, []
        self._before = dict(images=0, bad=0)
        self._state = None
        if runner.iter:  # resumed, not just loaded
            self._resume(runner)

    def _resume(self, runner) -> None:
        state = self._loaded
        if state is None:
            raise ValueError("checkpoint to resume: got no 'image_stream', expected one that SapiensStreamHook wrote; "
                             'to use its weights alone, set load_from and resume=False')
        if not self._dataset.resume(state, self._num_workers, state['turn']):
            runner.logger.warning('Images, seed, chunk or buffer differ from the checkpoint, so its position in the '
                                  'data is void: starting a new epoch.')
        self._turn = self._dataset.turn
        self._before = dict(images=state['images'], bad=state['bad'])

    def after_train_iter(self, runner, batch_idx: int, data_batch: dict = None, outputs: dict | None = None) -> None:
        samples = data_batch['data_samples']
        for epoch, shard, taken, worker in samples['position'].tolist():
            self._latest[self._dataset.rank * self._num_workers + worker] = epoch, shard, taken
        self._turn = (worker + 1) % self._num_workers
        self._state = None
        bad = [line for lines in samples['bad'] for line in lines.splitlines()]
        self._images += len(samples['bad'])
        if bad:
            self._count(runner, bad)
        if self._checkpoint_follows(runner):
            self._gather(runner)

    def _count(self, runner, bad: list[str]) -> None:
        self._bad += len(bad)
        if get_rank() == 0:
            self._log(runner, bad)
        else:
            self._unlogged += bad
        met, share = self._images + self._bad, self._dataset.max_bad_share
        if met >= self._dataset.min_images and self._bad > share * met:
            raise SourceError(f'image source: got {self._bad} unreadable images of {met} on rank {get_rank()}, the '
                              f'last is {bad[-1]}, expected at most max_bad_share={share}; repair the images')

    @staticmethod
    def _log(runner, bad: list[str]) -> None:
        for line in bad:
            runner.logger.warning(f'Skipped unreadable image: {line}')

    def _checkpoint_follows(self, runner) -> bool:
        """Returns whether :class:`mmengine.hooks.CheckpointHook` saves now; on rank 0 that is too late to gather."""
        return any(
            isinstance(hook, CheckpointHook) and not hook.by_epoch
            and (self.every_n_train_iters(runner, hook.interval, hook.save_begin)
                 or hook.save_last and self.is_last_train_iter(runner)) for hook in runner.hooks)

    def before_val(self, runner) -> None:
        if hasattr(self, '_dataset'):  # the best model may be saved during validation
            self._gather(runner)

    def after_train_epoch(self, runner) -> None:
        self._gather(runner)  # for hooks that save at the end of training

    def _gather(self, runner) -> None:
        ranks = all_gather_object((self._latest, self._images, self._bad, self._unlogged))
        self._unlogged = []
        latest = {slot: position for rank in ranks for slot, position in rank[0].items()}
        self._state = dict(
            self._dataset.position(latest, self._num_workers),
            turn=self._turn,
            images=self._before['images'] + sum(rank[1] for rank in ranks),
            bad=self._before['bad'] + sum(rank[2] for rank in ranks))
        if get_rank() == 0:
            self._log(runner, [line for rank in ranks for line in rank[3]])
            if self._state['bad']:
                runner.logger.info(f'{self._state["bad"]} images skipped and {self._state["images"]} used so far')

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        if self._state is None and get_world_size() == 1:
            self._gather(runner)
        if self._state is None:
            runner.logger.warning('SapiensStreamHook did not expect this checkpoint, so it has no position in the data '
                                  'and cannot be resumed.')
        else:
            checkpoint['image_stream'] = self._state
