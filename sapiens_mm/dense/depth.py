"""Depth of people."""
from mmseg.registry import MODELS
from torch import Tensor

from .resize import resize_map
from .segmentor import DenseSegmentor


@MODELS.register_module()
class SapiensDepthEstimator(DenseSegmentor):
    """Relative depth, small near the camera: ``pred_depth_map`` (1, H, W) float32, as the model puts it out."""
    task = 'depth'
    pred_field = 'pred_depth_map'

    @staticmethod
    def unmirror(outputs: Tensor, metainfo: dict, test_cfg: dict) -> Tensor:
        """Mirrors depth (B, 1, h, w) back."""
        return outputs.flip(-1)

    @staticmethod
    def restore(outputs: Tensor, place: dict) -> Tensor:
        """Depth (1, H, W) from (1, h, w)."""
        return resize_map(outputs, **place)
