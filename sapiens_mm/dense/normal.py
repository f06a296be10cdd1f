"""Surface normals of people."""
from mmseg.registry import MODELS
from torch import Tensor

from .resize import resize_map
from .segmentor import DenseSegmentor


@MODELS.register_module()
class SapiensNormalEstimator(DenseSegmentor):
    """Surface normals in camera space (x right, y up, z to the viewer): ``pred_normal_map`` (3, H, W) float32.

    They are of length 1, or (0, 0, 0) outside of a person's crop. The flip test averages the outputs before they get
    their length.
    """
    task = 'normal'
    pred_field = 'pred_normal_map'

    @staticmethod
    def unmirror(outputs: Tensor, metainfo: dict, test_cfg: dict) -> Tensor:
        """Mirrors vectors (B, 3, h, w) back: what pointed to the left points to the right."""
        return outputs.flip(-1) * outputs.new_tensor([-1., 1., 1.])[:, None, None]

    @staticmethod
    def restore(outputs: Tensor, place: dict) -> Tensor:
        """Unit vectors (3, H, W) from vectors (3, h, w)."""
        normals = resize_map(outputs, **place)
        x, y, z = normals
        # In place: at 4K another copy is 100 MB. By hand: a CPU takes hundreds of times as long for `norm(dim=0)`.
        length = x.square().addcmul_(y, y).addcmul_(z, z).sqrt_()
        return normals.div_(length.clamp_(min=1e-12))
