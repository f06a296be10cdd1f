"""Hook that compiles transformer blocks."""
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ...version import require_torch
from ..parallel import BLOCKS, blocks_of


@HOOKS.register_module()
class SapiensCompileBlocksHook(Hook):
    """Compiles each transformer block of the model in place before training.

    Equal blocks share their compiled code (except with torch 2.1), so a deep model starts as fast as a shallow one.
    Names in checkpoints do not change. The model may be wrapped (DDP), sharded or checkpointed.

    Args:
        block_names: Class names of the blocks.
        **options: Arguments of :func:`torch.compile`, such as ``mode='max-autotune-no-cudagraphs'``.

    Raises:
        ValueError: The model has no such blocks.
        ImportError: torch is too old to compile blocks with activation checkpointing.
    """

    def __init__(self, block_names: tuple[str, ...] = BLOCKS, **options):
        self.block_names, self.options = tuple(block_names), options

    def before_train(self, runner) -> None:
        blocks = blocks_of(runner.model, self.block_names)
        if any(getattr(module, 'with_cp', False) for module in runner.model.modules()):
            # Every backend of 2.1 fails in the first iteration; versions between 2.2 and 2.12 were not tested.
            require_torch('2.2', 'compiled blocks with activation checkpointing (with_cp)')
        # All blocks are one piece of code to torch, which by default stops compiling after 8 versions of it. Encoder
        # and decoder, training and evaluation, image sizes and drop path make more.
        config = torch._dynamo.config
        self._name, number = 'recompile_limit', 64
        if not hasattr(config, self._name):  # before torch 2.6, where blocks may not share their code either
            self._name, number = 'cache_size_limit', 64 * len(blocks)
        self._limit = getattr(config, self._name)
        setattr(config, self._name, max(self._limit, number))
        for block in blocks:
            block.compile(**self.options)
        runner.logger.info(f'Compiling {len(blocks)} blocks: the first iterations are slow')

    def after_train(self, runner) -> None:
        setattr(torch._dynamo.config, self._name, self._limit)
