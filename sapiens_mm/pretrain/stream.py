"""Training on an endless stream of images that goes on where it stopped."""
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS, LOOPS
from mmengine.runner import BaseLoop, IterBasedTrainLoop
from mmengine.runner.utils import calc_dynamic_intervals
from torch.utils.data import DataLoader

from .images import SapiensImages
from .sources import SourceError


@LOOPS.register_module()
class SapiensStreamTrainLoop(IterBasedTrainLoop):
    """MMEngine's loop over iterations, for a dataset that knows itself where to go on (:class:`SapiensImages`).

    MMEngine's own starts the data workers before a checkpoint is read, and on resuming loads as many batches as were
    trained on and throws them away.

    Args:
        runner: The runner.
        dataloader: The data loader, or its config.
        max_iters: Iterations to train in all.
        val_begin: The iteration from which on to validate.
        val_interval: Iterations between two validations.
        dynamic_intervals: (first iteration, interval) pairs that change ``val_interval``.
    """

    def __init__(self, runner, dataloader: DataLoader | dict, max_iters: int, val_begin: int = 1,
                 val_interval: int = 1000, dynamic_intervals: list[tuple[int, int]] | None = None):
        BaseLoop.__init__(self, runner, dataloader)  # the parent's would start the data workers
        self._max_iters = int(max_iters)
        self._max_epochs, self._epoch, self._iter = 1, 0, 0
        self.val_begin, self.val_interval = val_begin, val_interval
        self.stop_training = False  # set by EarlyStoppingHook
        self.dynamic_milestones, self.dynamic_intervals = calc_dynamic_intervals(val_interval, dynamic_intervals)
        if not any(isinstance(hook, SapiensStreamHook) for hook in runner.hooks):
            raise ValueError("SapiensStreamTrainLoop needs custom_hooks=[dict(type='SapiensStreamHook')], which writes "
                             'the position in the data to checkpoints and takes it from there')

    def run(self):
        """Trains, and returns the model."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        batches = iter(self.dataloader)  # now that the hook has told the dataset where to go on
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
    """Writes what :class:`SapiensImages` was trained on to checkpoints, takes it from there, and counts bad images.

    What counts is what training has used, not what data workers have prepared ahead. A checkpoint's ``image_stream``
    has the position (:meth:`SapiensImages.position`), ``turn`` (the data worker that the next batch comes from),
    ``images`` and ``bad`` (how many were used and skipped in all). Names of skipped images go to the log of rank 0, its
    own at once, those of other ranks when a checkpoint is written.

    Raises:
        SourceError: On a rank the share of bad images is above the dataset's ``max_bad_share``.
        ValueError: Dataset or loop are of another kind, or the checkpoint to resume has no position.
    """

    priority = 'LOW'  # before CheckpointHook

    def __init__(self):
        self._loaded = None

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        self._loaded = checkpoint.get('image_stream')

    def before_train(self, runner) -> None:
        self._dataset = dataset = runner.train_dataloader.dataset
        if not isinstance(dataset, SapiensImages) or not isinstance(runner.train_loop, SapiensStreamTrainLoop):
            raise ValueError(f'SapiensStreamHook found a {type(dataset).__name__} in a '
                             f'{type(runner.train_loop).__name__}; it needs SapiensImages as the training dataset and '
                             "train_cfg=dict(type='SapiensStreamTrainLoop', max_iters=...)")
        self._num_workers = max(runner.train_dataloader.num_workers, 1)
        dataset.check_workers(self._num_workers)
        self._latest = {}  # slot of this rank -> epoch, shard, images taken
        self._turn = 0
        self._images, self._bad, self._unlogged = 0, 0, []
        self._before = dict(images=0, bad=0)
        self._state = None
        if runner.iter:  # resumed; a checkpoint may also have been loaded for its weights alone
            self._resume(runner)

    def _resume(self, runner) -> None:
        state = self._loaded
        if state is None:
            raise ValueError("the checkpoint to resume has no 'image_stream', so where its data stopped is unknown; "
                             'resume one that was written with SapiensStreamHook, or take its weights with load_from '
                             'and resume=False')
        if not self._dataset.resume(state, self._num_workers, state['turn']):
            runner.logger.warning(
                'The images, seed, chunk or buffer are not those of the checkpoint, so its position in the data means '
                'nothing: the data begin with a new epoch.')
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
            raise SourceError(f'{self._bad} of {met} images of rank {get_rank()} cannot be read, the last is '
                              f'{bad[-1]}; that is more than max_bad_share={share}: repair the images, or raise it')

    @staticmethod
    def _log(runner, bad: list[str]) -> None:
        for line in bad:
            runner.logger.warning(f'Skipped an image that cannot be read: {line}')

    def _checkpoint_follows(self, runner) -> bool:
        """The rule of :class:`mmengine.hooks.CheckpointHook`. When it saves, rank 0 is alone and can ask nobody."""
        return any(
            isinstance(hook, CheckpointHook) and not hook.by_epoch
            and (self.every_n_train_iters(runner, hook.interval, hook.save_begin)
                 or hook.save_last and self.is_last_train_iter(runner)) for hook in runner.hooks)

    def before_val(self, runner) -> None:
        if hasattr(self, '_dataset'):  # validation may save the best model
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
                runner.logger.info(f'{self._state["bad"]} images were skipped so far, {self._state["images"]} used.')

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        if self._state is None and get_world_size() == 1:
            self._gather(runner)
        if self._state is None:
            runner.logger.warning('This checkpoint was not foreseen by SapiensStreamHook, so the position of the other '
                                  'ranks in the data is not known: it cannot be resumed.')
        else:
            checkpoint['image_stream'] = self._state
