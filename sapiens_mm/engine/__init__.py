"""Training and checkpoints for every host: hooks, mixed data, optimizer constructor, sharding, safe reading."""
from .amp import SapiensBF16OptimWrapper
from .checkpoint import CheckpointError, UnsafeCheckpointError, load_checkpoint_file
from .config import load_config
from .hooks import (
    SapiensCheckSaveBestHook,
    SapiensCompileBlocksHook,
    SapiensCompleteWeightsHook,
    SapiensLoggedIterHook,
    SapiensNonFiniteHook,
    SapiensSeedHook,
    SapiensSeedSample,
    SapiensThroughputHook,
)
from .layer_decay import SapiensLayerDecayConstructor
from .mixed_dataset import SapiensMixedDataset
from .parallel import SapiensFSDPStrategy

__all__ = [
    'CheckpointError',
    'SapiensBF16OptimWrapper',
    'SapiensCheckSaveBestHook',
    'SapiensCompileBlocksHook',
    'SapiensCompleteWeightsHook',
    'SapiensFSDPStrategy',
    'SapiensLayerDecayConstructor',
    'SapiensLoggedIterHook',
    'SapiensMixedDataset',
    'SapiensNonFiniteHook',
    'SapiensSeedHook',
    'SapiensSeedSample',
    'SapiensThroughputHook',
    'UnsafeCheckpointError',
    'load_checkpoint_file',
    'load_config',
]
