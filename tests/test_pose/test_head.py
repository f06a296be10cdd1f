import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData
from mmpose.evaluation.functional import pose_pck_accuracy
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

import sapiens_mm.pose  # noqa: F401
from sapiens_mm.backbones import SapiensViT
from sapiens_mm.pose.head import correct_keypoints

CODEC = dict(type='SapiensUDPHeatmap', input_size=(96, 128), heatmap_size=(24, 32), sigma=2)


def build(**kwargs):
    torch.manual_seed(0)
    settings = dict(
        type='SapiensPoseHead', in_channels=32, out_channels=17, deconv_out_channels=(8, 8), conv_out_channels=(8, 8),
        decoder=CODEC)
    return MODELS.build({**settings, **kwargs})


def samples(num=2, num_keypoints=17):
    rng = np.random.default_rng(0)
    codec = build().decoder
    out = []
    for _ in range(num):
        keypoints = rng.uniform(0, 96, (1, num_keypoints, 2)).astype(np.float32)
        sample = PoseDataSample(metainfo=dict(flip_indices=list(range(num_keypoints))[::-1]))
        sample.gt_instance_labels = InstanceData(**codec.encode(keypoints)).to_tensor()
        out.append(sample)
    return out


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match='2 entries and deconv_kernel_sizes has 1'):
        build(deconv_kernel_sizes=(4, ))
    with pytest.raises(ValueError, match="decoder is a UDPHeatmap.*type='SapiensUDPHeatmap'"):
        build(decoder={**CODEC, 'type': 'UDPHeatmap'})
    with pytest.raises(ValueError, match=r'predicts heatmaps \(5, 32, 24\).*targets are \(17, 32, 24\)'):
        build(out_channels=5).loss((torch.randn(2, 32, 8, 6), ), samples())
    with pytest.raises(RuntimeError, match='has no decoder to render its targets'):
        build(decoder=None).loss((torch.randn(2, 32, 8, 6), ), samples())


def test_equals_public_model(reference):
    entry = reference['pose']
    state = entry['state_dict']
    h, w = reference['img_size']
    backbone = SapiensViT(reference['arch'], img_size=(h, w), patch_cfg=dict(padding=entry['patch_padding']))
    backbone.load_state_dict({k[len('backbone.'):]: v for k, v in state.items() if k.startswith('backbone.')})
    head = build()
    head.load_state_dict({k[len('head.'):]: v for k, v in state.items() if k.startswith('head.')})
    with torch.no_grad():
        out = head.eval()(backbone.eval()(reference['input']))
    torch.testing.assert_close(out, entry['out'], atol=1e-4, rtol=0)


def test_loss_is_that_of_rendered_targets():
    head, data = build(), samples()
    feats = (torch.randn(2, 32, 8, 6), )
    losses = head.loss(feats, data)
    target = torch.cat([head.decoder.render(sample.gt_instance_labels.keypoint_labels) for sample in data])
    torch.testing.assert_close(losses['loss_kpt'], (head(feats) - target).square().mean())
    losses['loss_kpt'].backward()
    # The biases before an InstanceNorm cancel out.
    assert all(param.grad is not None for param in head.parameters())
    assert head.final_layer.weight.grad.abs().sum() > 0


@pytest.mark.parametrize('logged', [True, False])
def test_accuracy_is_computed_where_it_is_logged(logged):
    hub = MessageHub.get_current_instance()
    hub.update_info('logged_iter', logged)
    losses = build().loss((torch.randn(2, 32, 8, 6), ), samples())
    hub.update_info('logged_iter', True)
    assert ('acc_pose' in losses) == logged


def test_accuracy_equals_mmpose_on_square_maps():
    torch.manual_seed(1)
    target = torch.rand(4, 9, 20, 20)
    pred = torch.where(torch.rand(4, 9, 1, 1) < 0.5, target, torch.rand(4, 9, 20, 20))
    valid = torch.rand(4, 9) < 0.7
    _, expected, _ = pose_pck_accuracy(pred.numpy(), target.numpy(), valid.numpy())
    assert 0.2 < expected < 0.9
    assert correct_keypoints(pred, target, valid).item() == pytest.approx(expected)
    assert correct_keypoints(pred, target, torch.zeros_like(valid)).item() == 0


def test_accuracy_measures_x_by_width():
    target, near, far = torch.zeros(3, 1, 1, 100, 20)
    target[..., 50, 10] = near[..., 54, 10] = far[..., 50, 14] = 1  # 4 % of the height, 20 % of the width
    valid = torch.ones(1, 1, dtype=torch.bool)
    assert correct_keypoints(near, target, valid) == 1
    assert correct_keypoints(far, target, valid) == 0


def test_predict():
    head, data = build().eval(), samples()
    feats = (torch.randn(2, 32, 8, 6), )
    preds = head.predict(feats, data)
    assert [tuple(pred.keypoints.shape) for pred in preds] == [(1, 17, 2)] * 2
    preds, fields = head.predict(feats, data, test_cfg=dict(output_heatmaps=True))
    expected, scores = head.decoder.decode_heatmaps(head(feats))
    for i in range(2):
        np.testing.assert_allclose(preds[i].keypoints[0], expected[i], atol=1e-4)
        np.testing.assert_allclose(preds[i].keypoint_scores[0], scores[i].detach())
        assert fields[i].heatmaps.shape == (17, 32, 24)


def test_flip_test_averages_with_the_swapped_mirror_image():
    head, data = build().eval(), samples()
    feats, mirrored = (torch.randn(2, 32, 8, 6), ), (torch.randn(2, 32, 8, 6), )
    _, fields = head.predict([feats, mirrored], data, test_cfg=dict(flip_test=True, output_heatmaps=True))
    flip_indices = data[0].metainfo['flip_indices']
    expected = (head(feats) + head(mirrored).flip(-1)[:, flip_indices]) / 2
    torch.testing.assert_close(torch.stack([field.heatmaps for field in fields]), expected)
