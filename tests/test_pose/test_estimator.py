"""Tests of the pose estimator."""
import copy

import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

import sapiens_mm.pose  # noqa: F401

MODEL = dict(
    type='SapiensPoseEstimator',
    data_preprocessor=dict(type='PoseDataPreprocessor', mean=[120.] * 3, std=[60.] * 3, bgr_to_rgb=True),
    backbone=dict(
        type='SapiensViT', arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64),
        img_size=(128, 96), patch_cfg=dict(padding=2)),
    head=dict(
        type='SapiensPoseHead', in_channels=32, out_channels=17, deconv_out_channels=(8, 8), conv_out_channels=(8, 8),
        decoder=dict(type='SapiensUDPHeatmap', input_size=(96, 128), heatmap_size=(24, 32), sigma=2)),
    test_cfg=dict(flip_test=True, output_heatmaps=True))


def build(kind='SapiensPoseEstimator', **test_cfg):
    init_default_scope('mmpose')
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy({**MODEL, 'type': kind, 'test_cfg': {**MODEL['test_cfg'], **test_cfg}}))
    model.init_weights()
    torch.nn.init.normal_(model.head.final_layer.weight)
    return model.eval()


def samples(num=3):
    out = []
    for i in range(num):
        sample = PoseDataSample(metainfo=dict(
            flip_indices=list(range(17))[::-1], input_size=(96, 128), input_center=np.array([100. + i, 200.]),
            input_scale=np.array([48., 64.])))
        sample.gt_instances = InstanceData(bboxes=np.zeros((1, 4)), bbox_scores=np.ones(1))
        out.append(sample)
    return out


def test_flip_test_in_one_batch_equals_two_passes():
    x = torch.randn(3, 3, 128, 96)
    with torch.no_grad():
        ours = build().predict(x, samples())
        stock = build('TopdownPoseEstimator').predict(x, samples())
        plain = build(flip_test=False).predict(x, samples())
    for ours_i, stock_i, plain_i in zip(ours, stock, plain):
        torch.testing.assert_close(ours_i.pred_fields.heatmaps, stock_i.pred_fields.heatmaps, atol=1e-5, rtol=1e-4)
        np.testing.assert_allclose(ours_i.pred_instances.keypoint_scores, stock_i.pred_instances.keypoint_scores,
                                   rtol=1e-3)
        assert not torch.allclose(ours_i.pred_fields.heatmaps, plain_i.pred_fields.heatmaps, atol=1e-3)


def test_keypoints_are_in_pixels_of_the_image():
    x = torch.randn(1, 3, 128, 96)
    model = build(flip_test=False)
    with torch.no_grad():
        sample, = model.predict(x, samples(1))
        inside, _ = model.head.decoder.decode_heatmaps(model.head(model.extract_feat(x)))
    # The crop of 96 x 128 pixels shows 48 x 64 pixels around (100, 200).
    np.testing.assert_allclose(sample.pred_instances.keypoints[0], inside[0] / 2 + torch.tensor([76., 168.]), atol=1e-3)
