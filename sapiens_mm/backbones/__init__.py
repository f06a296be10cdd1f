"""Vision transformers and the feature pyramid, in MMEngine's root registry."""
from .checkpoint import CheckpointMismatch, load_pretrained_backbone
from .feature_pyramid import SapiensFeaturePyramid
from .hybrid_vit import SapiensHybridViT
from .sapiens2_vit import Sapiens2ViT
from .sapiens_vit import SapiensViT

__all__ = ['CheckpointMismatch', 'Sapiens2ViT', 'SapiensFeaturePyramid', 'SapiensHybridViT', 'SapiensViT',
           'load_pretrained_backbone']
