"""Tests of the pose head."""
import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData
from mmpose.evaluation.functional import pose_pck_accuracy
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

import sapiens_mm.pose  # noqa: F401
from sapiens_mm.pose.head import correct_keypoints

CODEC = dict(type='SapiensUDPHeatmap', input_size=(96, 128), heatmap_size=(24, 32), sigma=2)
FEATS = (torch.randn(2, 32, 8, 6, generator=torch.Generator().manual_seed(1)), )


def build(**kwargs):
    torch.manual_seed(0)
    settings = dict(
        type='SapiensPoseHead', in_channels=32, out_channels=17, deconv_out_channels=(8, 8), conv_out_channels=(8, 8),
        decoder=CODEC)
    return MODELS.build({**settings, **kwargs})


def samples(num_keypoints=17):
    rng = np.random.default_rng(0)
    codec = build().decoder
    out = []
    for _ in range(2):
        keypoints = rng.uniform(0, 96, (1, num_keypoints, 2)).astype(np.float32)
        sample = PoseDataSample(metainfo=dict(flip_indices=list(range(num_keypoints))[::-1]))
        sample.gt_instance_labels = InstanceData(**codec.encode(keypoints)).to_tensor()
        out.append(sample)
    return out


@pytest.mark.parametrize(('change', 'error', 'match'), [
    (dict(deconv_kernel_sizes=(4, )), ValueError, 'deconv_kernel_sizes'),
    (dict(decoder={**CODEC, 'type': 'UDPHeatmap'}), ValueError, 'UDPHeatmap'),
    (dict(out_channels=5), ValueError, r'\(5, 32, 24\).*\(17, 32, 24\)'),
    (dict(decoder=None), RuntimeError, 'decoder'),
])
def test_bad_arguments_are_named(change, error, match):
    with pytest.raises(error, match=match):
        build(**change).loss(FEATS, samples())


def test_equals_public_model(reference):
    entry, head = reference['pose'], build()
    head.load_state_dict({key[5:]: value for key, value in entry['state_dict'].items()
                          if key.startswith('head.')})
    with torch.no_grad():
        out = head.eval()((entry['feat'], ))
    torch.testing.assert_close(out, entry['out'], atol=1e-4, rtol=0)


@pytest.mark.parametrize('num_keypoints', [17, 133, 308, 5])
def test_every_number_of_keypoints(num_keypoints, tmp_path):
    """Shapes, gradients of all parameters, the flip test, and saving and loading."""
    head, data = build(out_channels=num_keypoints), samples(num_keypoints)
    losses = head.loss(FEATS, data)
    target = torch.cat([head.decoder.render(sample.gt_instance_labels.keypoint_labels) for sample in data])
    torch.testing.assert_close(losses['loss_kpt'], (head(FEATS) - target).square().mean())
    losses['loss_kpt'].backward()
    # The gradients of biases before an InstanceNorm are 0.
    assert all(param.grad is not None for param in head.parameters())
    assert all(layer.weight.grad.abs().sum() > 0 for layer in head.modules() if hasattr(layer, 'kernel_size'))

    torch.save(head.state_dict(), tmp_path / 'head.pth')
    loaded = build(out_channels=num_keypoints, init_cfg=dict(type='Normal', layer='Conv2d', std=1.))
    loaded.load_state_dict(torch.load(tmp_path / 'head.pth', weights_only=True))
    head.eval()
    heatmaps = head(FEATS)
    assert heatmaps.shape == (2, num_keypoints, 32, 24)
    assert torch.equal(loaded.eval()(FEATS), heatmaps)

    preds, fields = head.predict(FEATS, data, test_cfg=dict(output_heatmaps=True))
    expected, scores = head.decoder.decode_heatmaps(heatmaps)
    for i in range(2):
        np.testing.assert_allclose(preds[i].keypoints, expected[i:i + 1], atol=1e-4)
        np.testing.assert_allclose(preds[i].keypoint_scores, scores[i:i + 1].detach())
        assert torch.equal(fields[i].heatmaps, heatmaps[i])
        np.testing.assert_array_equal(head.predict(FEATS, data)[i].keypoints, preds[i].keypoints)


def test_flip_test_averages_with_the_swapped_mirror_image():
    head, data, mirrored = build().eval(), samples(), (torch.randn(2, 32, 8, 6), )
    _, fields = head.predict([FEATS, mirrored], data, test_cfg=dict(flip_test=True, output_heatmaps=True))
    expected = (head(FEATS) + head(mirrored).flip(-1)[:, data[0].metainfo['flip_indices']]) / 2
    torch.testing.assert_close(torch.stack([field.heatmaps for field in fields]), expected)


@pytest.mark.parametrize('logged', [True, False])
def test_accuracy_is_computed_where_it_is_logged(logged):
    hub = MessageHub.get_current_instance()
    hub.update_info('logged_iter', logged)
    losses = build().loss(FEATS, samples())
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
