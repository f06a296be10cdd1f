"""Losses of dense tasks, in float32 for predictions of any dtype, without host sync; 0 without labels."""
from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor

from ..utils.problems import guide


@MODELS.register_module()
class SapiensWeightedCrossEntropyLoss(nn.Module):
    """Cross entropy times the weight of the true class, averaged over all pixels, including those without a label.

    mmseg's ``CrossEntropyLoss`` divides by the sum of the weights instead.

    Args:
        class_weight: Factor of each class; 1 by default.
        ignore_index: Label of pixels to ignore; the head's takes precedence.
        loss_weight: Factor of the loss, whose name in the log is ``loss_name``.
    """

    def __init__(self,
                 class_weight: Sequence[float] | None = None,
                 ignore_index: int = 255,
                 loss_weight: float = 1.,
                 loss_name: str = 'loss_ce'):
        super().__init__()
        if class_weight is not None and not (all(0 <= value < float('inf') for value in class_weight)
                                             and any(class_weight)):
            raise ValueError(f'class_weight: got {list(class_weight)}, expected finite numbers of at least 0, not all '
                             f'0; correct class_weight. {guide("sigmas and weights")}')
        self.register_buffer(
            'class_weight',
            None if class_weight is None else torch.tensor(class_weight, dtype=torch.float32),
            persistent=False)
        self.ignore_index = ignore_index
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(self, pred: Tensor, label: Tensor, weight: Tensor | None = None,
                ignore_index: int | None = None) -> Tensor:
        """Computes the loss of logits (B, C, H, W) for classes (B, H, W) int64, with a factor (B, H, W) per pixel."""
        if self.class_weight is not None and len(self.class_weight) != pred.shape[1]:
            raise ValueError(f'class_weight: got {len(self.class_weight)} entries, expected {pred.shape[1]}, one per '
                             'class')
        ignore_index = self.ignore_index if ignore_index is None else ignore_index
        losses = F.cross_entropy(
            pred.float(), label, self.class_weight, ignore_index=ignore_index, reduction='none')
        if weight is not None:
            losses = losses * weight
        return losses.mean() * self.loss_weight


@MODELS.register_module()
class SapiensSiLogLoss(nn.Module):
    """Scale-invariant logarithmic loss of depth (Eigen et al., 2014, https://arxiv.org/abs/1406.2283).

    ``sqrt(mean(e^2) - mean(e)^2 / 2)`` with ``e = log(target) - log(pred)`` over the pixels of an image with a target
    above ``eps``, averaged over the images with such pixels. Predictions below ``eps`` count as ``eps`` and get no
    gradient, as in the release; so a head should start with positive outputs (a bias of 0.5).

    Args:
        loss_weight: Factor of the loss, whose name in the log is ``loss_name``.
        eps: Smallest depth of targets and predictions.
    """

    def __init__(self, loss_weight: float = 1., eps: float = 1e-6, loss_name: str = 'loss_silog'):
        super().__init__()
        self.loss_weight = loss_weight
        self.eps = eps
        self.loss_name = loss_name

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Computes the loss of depths (B, ...); a target is no label if it is at most ``eps`` or not finite."""
        _check_shapes(pred, target)
        pred, target = pred.float().flatten(1), target.float().flatten(1)
        valid = (target > self.eps) & target.isfinite()
        # Masked before the logarithm, since the gradient of a value masked afterwards can be NaN.
        pred, target = torch.where(valid, pred, 1), torch.where(valid, target, 1)
        error = target.log() - pred.clamp(min=self.eps).log()
        count = valid.sum(1)
        mean = error.sum(1) / count.clamp(min=1)
        square = error.square().sum(1) / count.clamp(min=1) - mean.square() / 2
        positive = square > 0  # the root has no finite gradient at 0
        losses = torch.where(positive, torch.where(positive, square, 1).sqrt(), square * 0)
        return losses.sum() / (count > 0).sum().clamp(min=1) * self.loss_weight


@MODELS.register_module()
class SapiensNormalLoss(nn.Module):
    """Loss of surface normals: ``loss_cos``, 1 - cosine, and ``loss_l1``, the L1 distance.

    Both are means over all labeled pixels of the batch (target length within 0.5 of 1). Only the cosine normalizes the
    prediction, so that it learns to have length 1.

    Args:
        cos_weight: Factor of ``loss_cos``; ``l1_weight`` that of ``loss_l1``.
        eps: Smallest length to normalize by, which bounds the gradient.
    """

    def __init__(self, cos_weight: float = 1., l1_weight: float = 1., eps: float = 1e-3):
        super().__init__()
        self.cos_weight = cos_weight
        self.l1_weight = l1_weight
        self.eps = eps

    def forward(self, pred: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Computes both losses of vectors (B, 3, H, W) for unit vectors of the same shape."""
        _check_shapes(pred, target)
        pred, target = pred.float(), target.float()
        # torch's norm over channels takes many times as long on a CPU.
        valid = ((target * target).sum(1, keepdim=True).sqrt() - 1).abs() < 0.5  # NaN is not
        count = valid.sum().clamp(min=1)
        pred, target = torch.where(valid, pred, 0), torch.where(valid, target, 0)
        length = (pred * pred).sum(1, keepdim=True).clamp(min=self.eps**2).sqrt()
        cosine = (pred / length * target).sum(1, keepdim=True)
        return dict(
            loss_cos=torch.where(valid, 1 - cosine, 0).sum() / count * self.cos_weight,
            loss_l1=(pred - target).abs().sum() / count * self.l1_weight)


def _check_shapes(pred: Tensor, target: Tensor) -> None:
    if pred.shape != target.shape:
        raise ValueError(f'predictions: got shape {tuple(pred.shape)}, expected {tuple(target.shape)} as the targets')
