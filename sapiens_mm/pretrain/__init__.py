from .decoder import SapiensMAEDecoder
from .images import SapiensImages
from .mae import SapiensMAE
from .stream import SapiensStreamHook, SapiensStreamTrainLoop

__all__ = ['SapiensImages', 'SapiensMAE', 'SapiensMAEDecoder', 'SapiensStreamHook', 'SapiensStreamTrainLoop']
