"""Losses of body parts, depth and normals. They compute in float32, whatever the predictions come in.

None of them waits for the device or loops over images, and each is 0 with a gradient of 0 where nothing is labelled.
"""
from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor

from ..utils.problems import guide


@MODELS.register_module()
class SapiensWeightedCrossEntropyLoss(nn.Module):
    """Cross entropy times the weight of the true class, averaged over all pixels, also those without a label.

    mmseg's ``CrossEntropyLoss`` divides by the sum of the weights instead if there are any, which it adds up pixel by
    pixel in Python.

    Args:
        class_weight: A factor for each class; by default 1.
        ignore_index: The label of pixels without one; that of the head goes before.
        loss_weight: Factor of the loss.
        loss_name: Its name in the log.
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
        """Computes the loss.

        Args:
            pred: Logits (B, C, H, W).
            label: Classes (B, H, W), int64.
            weight: Factor of each pixel (B, H, W).
            ignore_index: The label of pixels without one; by default that of the loss.
        """
        if self.class_weight is not None and len(self.class_weight) != pred.shape[1]:
            raise ValueError(f'class_weight has {len(self.class_weight)} entries, but there are {pred.shape[1]} '
                             'classes: give one for each')
        ignore_index = self.ignore_index if ignore_index is None else ignore_index
        losses = F.cross_entropy(
            pred.float(), label, self.class_weight, ignore_index=ignore_index, reduction='none')
        if weight is not None:
            losses = losses * weight
        return losses.mean() * self.loss_weight


@MODELS.register_module()
class SapiensSiLogLoss(nn.Module):
    """Scale-invariant logarithmic loss of depth (Eigen et al., 2014, https://arxiv.org/abs/1406.2283).

    Of each image ``sqrt(mean(e^2) - mean(e)^2 / 2)``, ``e = log(target) - log(pred)``, over its pixels with a target
    above ``eps``, and of that the mean over the images that have any. Predictions below ``eps``, negative ones too,
    count as ``eps`` and get no gradient themselves, as in the public release. So let a head begin with a positive
    output (a bias of 0.5): one that is negative everywhere does not learn.

    Args:
        loss_weight: Factor of the loss.
        eps: The smallest depth that counts, for targets and predictions.
        loss_name: Its name in the log.
    """

    def __init__(self, loss_weight: float = 1., eps: float = 1e-6, loss_name: str = 'loss_silog'):
        super().__init__()
        self.loss_weight = loss_weight
        self.eps = eps
        self.loss_name = loss_name

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            pred: Depths (B, ...).
            target: Depths of the same shape; at most ``eps`` or not finite where there is none.
        """
        _check_shapes(pred, target)
        pred, target = pred.float().flatten(1), target.float().flatten(1)
        valid = (target > self.eps) & target.isfinite()
        # Before the logarithm: the gradient of a value that is masked afterwards can still be NaN.
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
    """Loss of surface normals: ``loss_cos``, 1 - cosine, and ``loss_l1``, the sum of the coordinates' differences.

    Both are means over all labelled pixels of the batch. The cosine takes the prediction divided by its length, the
    differences the prediction as it is, so that it learns to have length 1. A target is a label where its length is
    within 0.5 of 1; where there is none it is (0, 0, 0).

    Args:
        cos_weight: Factor of ``loss_cos``.
        l1_weight: Factor of ``loss_l1``.
        eps: Shorter predictions are divided by this instead of their length, which bounds the gradient.
    """

    def __init__(self, cos_weight: float = 1., l1_weight: float = 1., eps: float = 1e-3):
        super().__init__()
        self.cos_weight = cos_weight
        self.l1_weight = l1_weight
        self.eps = eps

    def forward(self, pred: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Computes both losses.

        Args:
            pred: Vectors (B, 3, H, W).
            target: Unit vectors of the same shape.
        """
        _check_shapes(pred, target)
        pred, target = pred.float(), target.float()
        # Squares and sums: torch's norm over channels takes many times as long on a CPU.
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
        raise ValueError(f'predictions are {tuple(pred.shape)} and targets {tuple(target.shape)}, but both need the '
                         'same shape')
