"""Pretraining by masked autoencoding: model, image streams, reconstruction, curation."""
from .decoder import SapiensMAEDecoder
from .images import SapiensImages
from .mae import SapiensMAE
from .reconstruction import SapiensReconstructionHook
from .stream import SapiensStreamHook, SapiensStreamTrainLoop

__all__ = [
    'SapiensImages',
    'SapiensMAE',
    'SapiensMAEDecoder',
    'SapiensReconstructionHook',
    'SapiensStreamHook',
    'SapiensStreamTrainLoop',
]
