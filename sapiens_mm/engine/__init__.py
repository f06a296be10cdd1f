from .amp import SapiensBF16OptimWrapper
from .checkpoint import CheckpointError, UnsafeCheckpointError, load_checkpoint_file
from .complete_weights import SapiensCompleteWeightsHook
from .layer_decay import SapiensLayerDecayConstructor
from .logged_iter import SapiensLoggedIterHook
from .reproducibility import SapiensSeedHook, SapiensSeedSample

__all__ = [
    'CheckpointError',
    'SapiensBF16OptimWrapper',
    'SapiensCompleteWeightsHook',
    'SapiensLayerDecayConstructor',
    'SapiensLoggedIterHook',
    'SapiensSeedHook',
    'SapiensSeedSample',
    'UnsafeCheckpointError',
    'load_checkpoint_file',
]
