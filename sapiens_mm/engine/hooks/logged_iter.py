"""Hook that marks logged iterations."""
from mmengine.hooks import Hook, LoggerHook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class SapiensLoggedIterHook(Hook):
    """Writes ``logged_iter`` to the message hub: whether this iteration is logged, and so heads compute metrics."""

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        logger = next((hook for hook in runner.hooks if isinstance(hook, LoggerHook)), None)
        logged = logger is not None and (
            self.every_n_inner_iters(batch_idx, logger.interval) or self.is_last_train_iter(runner)
            or self.end_of_epoch(runner.train_dataloader, batch_idx))
        runner.message_hub.update_info('logged_iter', logged)
