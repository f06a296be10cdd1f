"""Hook that marks the iterations that are logged."""
from mmengine.hooks import Hook, LoggerHook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class SapiensLoggedIterHook(Hook):
    """Writes to the message hub as ``logged_iter`` whether ``LoggerHook`` logs this iteration, for its metrics."""

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        logger = next((hook for hook in runner.hooks if isinstance(hook, LoggerHook)), None)
        logged = logger is not None and (
            self.every_n_inner_iters(batch_idx, logger.interval) or self.is_last_train_iter(runner)
            or self.end_of_epoch(runner.train_dataloader, batch_idx))
        runner.message_hub.update_info('logged_iter', logged)
