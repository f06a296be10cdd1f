"""Hooks for training and testing, in MMEngine's root registry."""
from .checkpoint import SapiensCheckpointHook
from .compile import SapiensCompileBlocksHook
from .complete_weights import SapiensCompleteWeightsHook
from .logged_iter import SapiensLoggedIterHook
from .nonfinite import SapiensNonFiniteHook
from .save_best import SapiensCheckSaveBestHook
from .seed import SapiensSeedHook, SapiensSeedSample
from .throughput import SapiensThroughputHook

__all__ = [
    'SapiensCheckSaveBestHook', 'SapiensCheckpointHook', 'SapiensCompileBlocksHook', 'SapiensCompleteWeightsHook',
    'SapiensLoggedIterHook', 'SapiensNonFiniteHook', 'SapiensSeedHook', 'SapiensSeedSample', 'SapiensThroughputHook'
]
