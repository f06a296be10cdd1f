"""Hook that stops an evaluation whose checkpoint fills the model only in part."""
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

from ..weights import check_complete


@HOOKS.register_module()
class SapiensCompleteWeightsHook(Hook):
    """Stops a test if the checkpoint lacks tensors or has other shapes; MMEngine would keep random values there."""

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        check_complete(model, checkpoint.get('state_dict', checkpoint), 'the checkpoint', ignore=('backbone.', ))
