"""Hook that checks ``save_best`` against the evaluator before training."""
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS

from ...utils.problems import guide
from ...utils.text import some

#: Names of COCO's ten keypoint metrics.
COCO_STATS = ('AP', 'AP .5', 'AP .75', 'AP (M)', 'AP (L)', 'AR', 'AR .5', 'AR .75', 'AR (M)', 'AR (L)')


@HOOKS.register_module()
class SapiensCheckSaveBestHook(Hook):
    """Raises a ValueError before training if the evaluator lacks the metrics of ``CheckpointHook.save_best``.

    Names are compared with the ``metric_names`` of our metrics and the names of mmpose's ``CocoMetric``; for other
    metrics only the prefix is compared.
    """

    def before_train(self, runner) -> None:
        if runner.val_loop is None:
            return
        metrics = runner.val_loop.evaluator.metrics
        for hook in runner.hooks:
            names = getattr(hook, 'save_best', None) if isinstance(hook, CheckpointHook) else None
            for name in [names] if isinstance(names, str) else names or ():
                if name != 'auto' and not any(_gives(metric, name) for metric in metrics):
                    known = [known for metric in metrics for known in _names(metric) or [f'{metric.prefix}/...']]
                    raise ValueError(f"save_best: got '{name}', expected a metric of val_evaluator "
                                     f'({some(known, 12)}); correct default_hooks.checkpoint.save_best. '
                                     f'{guide("annotations of the evaluator")}')


def _names(metric) -> list[str] | None:
    if hasattr(metric, 'metric_names'):
        return metric.metric_names
    return [f'{metric.prefix}/{name}' for name in COCO_STATS] if type(metric).__name__ == 'CocoMetric' else None


def _gives(metric, name: str) -> bool:
    names = _names(metric)
    if names is None:
        return not metric.prefix or name.startswith(f'{metric.prefix}/')
    # Dense metrics also have a name for each group of samples: depth/scale-shift/per-image/face/RMSE.
    return any(name == known or name.startswith(known.rpartition('/')[0] + '/')
               and name.endswith('/' + known.rpartition('/')[2]) for known in names)
