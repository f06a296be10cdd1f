"""Heatmap head of the public pose models."""
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

    Renders training targets from coordinates on the model's device, so that the data loader carries no heatmaps.

    Args:
        out_channels: Number of keypoints K; ``in_channels`` is that of the backbone's map.
        deconv_out_channels: Channels of the transposed convolutions (``deconv_kernel_sizes``); each doubles the size.
        conv_out_channels: Channels of the convolutions after them (``conv_kernel_sizes``).
        loss: Config of the loss, called with predicted and target heatmaps (B, K, h, w) and weights (B, K).
        decoder: Config of the codec, a ``SapiensUDPHeatmap``, which renders targets and decodes heatmaps.
    """

    def __init__(self, in_channels: int, out_channels: int, deconv_out_channels: Sequence[int] = (768, 768),
                 deconv_kernel_sizes: Sequence[int] = (4, 4), conv_out_channels: Sequence[int] = (768, 768),
                 conv_kernel_sizes: Sequence[int] = (1, 1),
                 loss: dict = dict(type='mmpose.KeypointMSELoss', use_target_weight=True),  # noqa: B006
                 decoder: dict | None = None, init_cfg: dict | None = None):
        if init_cfg is None:
            init_cfg = dict(type='Normal', layer=['Conv2d', 'ConvTranspose2d'], std=0.001)
        super().__init__(init_cfg)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.loss_module = MODELS.build(loss)
        self.decoder = None if decoder is None else KEYPOINT_CODECS.build(decoder)
        if decoder is not None and not hasattr(self.decoder, 'render'):
            raise ValueError(f"decoder: got a {type(self.decoder).__name__}, expected one that renders targets; use "
                             "type='SapiensUDPHeatmap'")

        self.deconv_layers = upsampling_layers(in_channels, deconv_out_channels, deconv_kernel_sizes)
        width = [in_channels, *deconv_out_channels][-1]
        self.conv_layers = conv_layers(width, conv_out_channels, conv_kernel_sizes)
        self.final_layer = nn.Conv2d([width, *conv_out_channels][-1], out_channels, 1)

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Returns heatmaps (B, K, h, w) of the last feature map (B, C, h', w')."""
        return self.final_layer(self.conv_layers(self.deconv_layers(feats[-1])))

    def predict(self, feats: Sequence[Tensor] | list[Sequence[Tensor]], batch_data_samples: list,
                test_cfg: dict = {}) -> list | tuple[list, list]:  # noqa: B006
        """Predicts keypoints from feature maps; with ``flip_test`` from two, of the images and of the mirrored images.

        ``test_cfg``: ``flip_test`` averages heatmaps of both; ``output_heatmaps`` returns heatmaps too. Returns B
        ``InstanceData`` with ``keypoints`` (1, K, 2) in pixels of the model's input and ``keypoint_scores`` (1, K);
        with ``output_heatmaps`` also B ``PixelData`` with ``heatmaps`` (K, h, w).
        """
        if test_cfg.get('flip_test', False):
            heatmaps, mirrored = self.forward([torch.cat(pair) for pair in zip(*feats)]).chunk(2)
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
        """Returns ``loss_kpt`` and, in iterations logged by ``SapiensLoggedIterHook``, the accuracy ``acc_pose``.

        Data samples have ``keypoint_labels`` (1, K, 2), ``keypoint_weights`` (1, K) in ``gt_instance_labels``.
        """
        if self.decoder is None:
            raise RuntimeError("decoder: got None, expected a codec to render targets; use type='SapiensUDPHeatmap'")
        pred = self.forward(feats)
        labels = torch.cat([sample.gt_instance_labels.keypoint_labels for sample in batch_data_samples])
        weights = torch.cat([sample.gt_instance_labels.keypoint_weights for sample in batch_data_samples])
        target = self.decoder.render(labels)
        if target.shape != pred.shape:
            raise ValueError(f'heatmaps of the head: got {tuple(pred.shape[1:])} (K, h, w), expected the '
                             f'{tuple(target.shape[1:])} of the targets; check out_channels, heatmap_size of the codec '
                             'and the keypoints of the dataset')
        losses = dict(loss_kpt=self.loss_module(pred, target, weights))
        if MessageHub.get_current_instance().get_info('logged_iter', True):
            losses['acc_pose'] = correct_keypoints(pred.detach(), target, weights > 0)
        return losses


def correct_keypoints(pred: Tensor, target: Tensor, valid: Tensor, threshold: float = 0.05) -> Tensor:
    """Returns the share (PCK) of keypoints whose peak is within ``threshold`` of the target's, 0 if none is valid.

    For heatmaps (B, K, h, w) and ``valid`` (B, K), with the threshold as a share of the heatmap's width (x) and height
    (y), which mmpose's ``pose_pck_accuracy`` swaps. The mean over keypoints that are valid at least once.
    """
    (peaks, scores), (target_peaks, _) = heatmap_maximum(pred), heatmap_maximum(target)
    size = peaks.new_tensor(pred.shape[:1:-1]).float()
    error = ((peaks - target_peaks) / size).norm(dim=-1)
    correct = (error < threshold) & (scores > 0) & valid
    count = valid.sum(0)
    share = correct.sum(0) / count.clamp(min=1)
    return share.sum() / (count > 0).sum().clamp(min=1)
