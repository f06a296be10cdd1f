"""Hook that saves checkpoints and replaces ``last_checkpoint`` atomically."""
import os
import os.path as osp

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS

from ...utils.files import replacing
from ..last_checkpoint import POINTER


@HOOKS.register_module()
class SapiensCheckpointHook(CheckpointHook):
    """``CheckpointHook`` that replaces ``last_checkpoint`` atomically; ``build_runner`` converts every such hook."""

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        if not is_main_process():
            super()._save_checkpoint_with_step(runner, step, meta)
            return
        folder = osp.join(runner.work_dir, f'.{POINTER}')  # where MMEngine writes the file in place
        os.makedirs(folder, exist_ok=True)
        super()._save_checkpoint_with_step(_OtherWorkDir(runner, folder), step, meta)
        with replacing(osp.join(runner.work_dir, POINTER)) as part:
            os.replace(osp.join(folder, POINTER), part)
        os.rmdir(folder)


class _OtherWorkDir:
    def __init__(self, runner, work_dir: str):
        self._runner, self.work_dir = runner, work_dir

    def __getattr__(self, name: str):
        return getattr(self._runner, name)
