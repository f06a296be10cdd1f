"""Refuses to evaluate a model that a checkpoint fills only in part."""
import torch.nn as nn
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

from .checkpoint import CheckpointError


def check_complete(model: nn.Module, checkpoint: dict) -> None:
    """Checks that a checkpoint, with or without ``state_dict``, has all of a model's tensors but its backbone's.

    A backbone refuses by itself (:mod:`sapiens_mm.backbones.checkpoint`).

    Raises:
        CheckpointError: Tensors are not there, or of other shapes.
    """
    found = checkpoint.get('state_dict', checkpoint)
    found = {key.removeprefix('module.'): value for key, value in found.items()}
    expected = {key: value for key, value in model.state_dict().items() if not key.startswith('backbone.')}
    missing = [key for key in expected if key not in found]
    misshaped = [f'{key} {tuple(found[key].shape)} instead of {tuple(value.shape)}'
                 for key, value in expected.items() if key in found and found[key].shape != value.shape]
    if missing or misshaped:
        problems = [f'it {verb} {", ".join(keys[:3])}{" and more" if len(keys) > 3 else ""}'
                    for verb, keys in (('lacks', missing), ('has', misshaped)) if keys]
        raise CheckpointError(f'The checkpoint does not fill the {type(model).__name__}: '
                              f'{"; ".join(problems)}. Take a checkpoint of this config, or the config that the '
                              'checkpoint was trained with')


@HOOKS.register_module()
class SapiensCompleteWeightsHook(Hook):
    """Stops a test whose checkpoint lacks tensors of the model, or has them in other shapes.

    MMEngine logs such tensors and goes on with random ones, which is what fine-tuning wants and a test never does.
    """

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        check_complete(runner.model.module if is_model_wrapper(runner.model) else runner.model, checkpoint)
