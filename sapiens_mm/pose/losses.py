"""Heatmap losses that mmpose lacks."""
import torch.nn as nn
from mmpose.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class SapiensOHKMMSELoss(nn.Module):
    """Mean squared error over the hardest keypoints of each person (Chen et al., https://arxiv.org/abs/1711.07319).

    Args:
        use_target_weight: Multiplies the errors by the keypoints' weights, before they are squared.
        topk: Number of keypoints of each person that count; ``loss_weight`` is the factor of the loss.
    """

    def __init__(self, use_target_weight: bool = False, topk: int = 8, loss_weight: float = 1.):
        super().__init__()
        if topk < 1:
            raise ValueError(f'topk: got {topk}, expected 1 or more')
        self.use_target_weight = use_target_weight
        self.topk = topk
        self.loss_weight = loss_weight

    def forward(self, output: Tensor, target: Tensor, target_weights: Tensor | None = None) -> Tensor:
        """Returns the loss of heatmaps (B, K, h, w); ``use_target_weight`` needs weights (B, K)."""
        if output.shape[1] < self.topk:
            raise ValueError(f'topk: got {self.topk}, expected at most the {output.shape[1]} keypoints')
        if self.use_target_weight and target_weights is None:
            raise ValueError('target_weights: got None, expected (B, K) because use_target_weight is set')
        losses = (output - target).square().mean(dim=(2, 3))
        if self.use_target_weight:
            losses = losses * target_weights.square()
        return losses.topk(self.topk, dim=1, sorted=False).values.mean() * self.loss_weight
