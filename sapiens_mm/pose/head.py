"""The pose head of the public models."""
from collections.abc import Sequence

import torch
import torch.nn as nn
from mmengine.logging import MessageHub
from mmengine.structures import PixelData
from mmpose.models.heads import BaseHead
from mmpose.models.utils.tta import flip_heatmaps
from mmpose.registry import KEYPOINT_CODECS, MODELS
from torch import Tensor

from ..backbones.head_layers import conv_layers, upsampling_layers
from .codec import heatmap_maximum


@MODELS.register_module()
class SapiensPoseHead(BaseHead):
    """Heatmap head: transposed convolutions, 1x1 convolutions, InstanceNorm, SiLU.

    Training targets are rendered from the keypoints' coordinates on the model's device, so that the data loader
    carries two numbers a keypoint instead of a map.

    Args:
        in_channels: Channels of the backbone's map.
        out_channels: Number of keypoints K.
        deconv_out_channels: Channels of the transposed convolutions; each doubles the size.
        deconv_kernel_sizes: Their kernel sizes.
        conv_out_channels: Channels of the convolutions that follow.
        conv_kernel_sizes: Their kernel sizes.
        loss: Config of the loss, called with predicted and target heatmaps (B, K, h, w) and weights (B, K).
        decoder: Config of the codec, a ``SapiensUDPHeatmap``: it renders the targets and decodes the output.
        init_cfg: See :class:`mmengine.model.BaseModule`.
    """

    def __init__(self,
                 in_channels: int,
                 out_channels: int,
                 deconv_out_channels: Sequence[int] = (768, 768),
                 deconv_kernel_sizes: Sequence[int] = (4, 4),
                 conv_out_channels: Sequence[int] = (768, 768),
                 conv_kernel_sizes: Sequence[int] = (1, 1),
                 loss: dict = dict(type='mmpose.KeypointMSELoss', use_target_weight=True),  # noqa: B006
                 decoder: dict | None = None,
                 init_cfg: dict | None = None):
        if init_cfg is None:
            init_cfg = dict(type='Normal', layer=['Conv2d', 'ConvTranspose2d'], std=0.001)
        super().__init__(init_cfg)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.loss_module = MODELS.build(loss)
        self.decoder = None if decoder is None else KEYPOINT_CODECS.build(decoder)
        if decoder is not None and not hasattr(self.decoder, 'render'):
            raise ValueError(f"decoder is a {type(self.decoder).__name__}, but {type(self).__name__} renders its "
                             "targets itself and needs a codec that can: use type='SapiensUDPHeatmap'")

        self.deconv_layers = upsampling_layers(in_channels, deconv_out_channels, deconv_kernel_sizes)
        width = [in_channels, *deconv_out_channels][-1]
        self.conv_layers = conv_layers(width, conv_out_channels, conv_kernel_sizes)
        self.final_layer = nn.Conv2d([width, *conv_out_channels][-1], out_channels, 1)

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Heatmaps (B, K, h, w) from feature maps, of which the last one (B, C, h', w') is taken."""
        return self.final_layer(self.conv_layers(self.deconv_layers(feats[-1])))

    def predict(self, feats: Sequence[Tensor] | list[Sequence[Tensor]], batch_data_samples: list,
                test_cfg: dict = {}) -> list | tuple[list, list]:  # noqa: B006
        """Predicts keypoints.

        Args:
            feats: Feature maps; with ``flip_test`` a list of two, of the images and of the mirrored images.
            batch_data_samples: B data samples; their ``flip_indices`` are read with ``flip_test``.
            test_cfg: ``flip_test`` averages the heatmaps of the image and its mirror image; ``output_heatmaps``
                returns the heatmaps too.

        Returns:
            B ``InstanceData`` with ``keypoints`` (1, K, 2) in pixels of the model's input and ``keypoint_scores``
            (1, K); with ``output_heatmaps`` also B ``PixelData`` with ``heatmaps`` (K, h, w).
        """
        if test_cfg.get('flip_test', False):
            # One pass for both: each half is as cheap to join as it was to compute.
            joined = [torch.cat(pair) for pair in zip(*feats)]
            heatmaps, mirrored = self.forward(joined).chunk(2)
            heatmaps = (heatmaps + flip_heatmaps(
                mirrored,
                flip_mode='heatmap',
                flip_indices=batch_data_samples[0].metainfo['flip_indices'],
                shift_heatmap=test_cfg.get('shift_heatmap', False))) * 0.5
        else:
            heatmaps = self.forward(feats)
        preds = self.decode(heatmaps)
        if test_cfg.get('output_heatmaps', False):
            return preds, [PixelData(heatmaps=heatmap) for heatmap in heatmaps.detach()]
        return preds

    def loss(self, feats: Sequence[Tensor], batch_data_samples: list, train_cfg: dict = {}) -> dict:  # noqa: B006
        """Computes ``loss_kpt`` and, in iterations that are logged, ``acc_pose``: the share of correct keypoints.

        ``SapiensLoggedIterHook`` tells which ones are; without it all count.

        Args:
            feats: Feature maps.
            batch_data_samples: B data samples with ``gt_instance_labels``: ``keypoint_labels`` (1, K, 2) and
                ``keypoint_weights`` (1, K), as the codec encodes them.
            train_cfg: Unused; mmpose's estimators pass it.
        """
        if self.decoder is None:
            raise RuntimeError(f"{type(self).__name__} has no decoder to render its targets: set decoder to a codec of "
                               "type='SapiensUDPHeatmap'")
        pred = self.forward(feats)
        labels = torch.cat([sample.gt_instance_labels.keypoint_labels for sample in batch_data_samples])
        weights = torch.cat([sample.gt_instance_labels.keypoint_weights for sample in batch_data_samples])
        target = self.decoder.render(labels)
        if target.shape != pred.shape:
            raise ValueError(f'the head predicts heatmaps {tuple(pred.shape[1:])} (K, h, w), but the targets are '
                             f'{tuple(target.shape[1:])}: check out_channels, the codec\'s heatmap_size and the '
                             'dataset\'s keypoints')
        losses = dict(loss_kpt=self.loss_module(pred, target, weights))
        if MessageHub.get_current_instance().get_info('logged_iter', True):
            losses['acc_pose'] = correct_keypoints(pred.detach(), target, weights > 0)
        return losses


def correct_keypoints(pred: Tensor, target: Tensor, valid: Tensor, threshold: float = 0.05) -> Tensor:
    """Share of keypoints whose peak lies within ``threshold`` of the heatmap's size of the target's (PCK).

    Like mmpose's ``pose_pck_accuracy`` the mean over the keypoints that are valid at least once in the batch, except
    that x is divided by the width and y by the height (there it is the other way round).

    Args:
        pred: Heatmaps (B, K, h, w).
        target: Heatmaps (B, K, h, w).
        valid: (B, K), boolean.
        threshold: Distance in units of the heatmap's width (for x) and height (for y).

    Returns:
        A scalar on the device of ``pred``; 0 when nothing is valid.
    """
    (found, height), (wanted, _) = heatmap_maximum(pred), heatmap_maximum(target)
    size = found.new_tensor(pred.shape[:1:-1]).float()
    error = ((found - wanted) / size).norm(dim=-1)
    correct = (error < threshold) & (height > 0) & valid
    count = valid.sum(0)
    share = correct.sum(0) / count.clamp(min=1)
    return share.sum() / (count > 0).sum().clamp(min=1)
