"""Top-down pose estimator with the flip test in one batch."""
import torch
from mmpose.models.pose_estimators import TopdownPoseEstimator
from mmpose.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class SapiensPoseEstimator(TopdownPoseEstimator):
    """mmpose's ``TopdownPoseEstimator``, with one forward pass of twice the batch for the flip test."""

    def predict(self, inputs: Tensor, data_samples: list) -> list:
        """Predicts B persons from normalized crops (B, 3, H, W), placed by ``input_center`` and ``input_scale``.

        Adds ``pred_instances``: ``keypoints`` (1, K, 2) in pixels of the image and ``keypoint_scores`` (1, K); with
        ``test_cfg.output_heatmaps`` also ``pred_fields``.
        """
        if not self.test_cfg.get('flip_test', False):
            return super().predict(inputs, data_samples)
        feats = self.extract_feat(torch.cat([inputs, inputs.flip(-1)]))
        preds = self.head.predict(list(zip(*(feat.chunk(2) for feat in feats))), data_samples, test_cfg=self.test_cfg)
        instances, fields = preds if isinstance(preds, tuple) else (preds, None)
        return self.add_pred_to_datasample(instances, fields, data_samples)
