"""Heatmap losses; mmpose's ``KeypointMSELoss`` is used as it is."""

import torch.nn as nn
from mmpose.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class SapiensOHKMMSELoss(nn.Module):
    """Mean squared error over the hardest keypoints of each person (online hard keypoint mining).

    Gives the value of mmpose's ``KeypointOHKMMSELoss`` without its loops over persons and keypoints (Chen et al.,
    CVPR 2018, https://arxiv.org/abs/1711.07319).

    Args:
        use_target_weight: Whether the errors are multiplied by the keypoints' weights (before they are squared).
        topk: Number of keypoints that count, for each person.
        loss_weight: Factor of the loss.
    """

    def __init__(self, use_target_weight: bool = False, topk: int = 8, loss_weight: float = 1.):
        super().__init__()
        if topk < 1:
            raise ValueError(f'topk is {topk}, but at least 1 keypoint must count')
        self.use_target_weight = use_target_weight
        self.topk = topk
        self.loss_weight = loss_weight

    def forward(self, output: Tensor, target: Tensor, target_weights: Tensor | None = None) -> Tensor:
        """Computes the loss.

        Args:
            output: Predicted heatmaps (B, K, h, w).
            target: Target heatmaps (B, K, h, w).
            target_weights: (B, K); needed with ``use_target_weight``.
        """
        if output.shape[1] < self.topk:
            raise ValueError(f'topk is {self.topk}, but there are only {output.shape[1]} keypoints')
        if self.use_target_weight and target_weights is None:
            raise ValueError('use_target_weight is set, but no target_weights (B, K) are given')
        losses = (output - target).square().mean(dim=(2, 3))
        if self.use_target_weight:
            losses = losses * target_weights.square()
        return losses.topk(self.topk, dim=1, sorted=False).values.mean() * self.loss_weight
