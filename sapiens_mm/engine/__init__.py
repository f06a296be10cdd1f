from .amp import SapiensBF16OptimWrapper
from .checkpoint import CheckpointError, UnsafeCheckpointError, load_checkpoint_file
from .compile import SapiensCompileBlocksHook
from .complete_weights import SapiensCompleteWeightsHook
from .config import load_config
from .fsdp import SapiensFSDPStrategy
from .layer_decay import SapiensLayerDecayConstructor
from .logged_iter import SapiensLoggedIterHook
from .nonfinite import SapiensNonFiniteHook
from .reproducibility import SapiensSeedHook, SapiensSeedSample
from .save_best import SapiensCheckSaveBestHook
from .throughput import SapiensThroughputHook

__all__ = [
    'CheckpointError',
    'SapiensBF16OptimWrapper',
    'SapiensCheckSaveBestHook',
    'SapiensCompileBlocksHook',
    'SapiensCompleteWeightsHook',
    'SapiensFSDPStrategy',
    'SapiensLayerDecayConstructor',
    'SapiensLoggedIterHook',
    'SapiensNonFiniteHook',
    'SapiensSeedHook',
    'SapiensSeedSample',
    'SapiensThroughputHook',
    'UnsafeCheckpointError',
    'load_checkpoint_file',
    'load_config',
]
