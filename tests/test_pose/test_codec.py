"""Tests of the heatmap codec."""
import numpy as np
import pytest
import torch
from mmpose.codecs import UDPHeatmap

from sapiens_mm.pose import SapiensUDPHeatmap
from sapiens_mm.pose.codec import heatmap_maximum


def codecs(input_size=(192, 256), heatmap_size=(48, 64), sigma=2.):
    settings = dict(input_size=input_size, heatmap_size=heatmap_size, sigma=sigma)
    return SapiensUDPHeatmap(**settings), UDPHeatmap(**settings)


def random_keypoints(rng, num=40, low=-60, high=300):
    keypoints = rng.uniform(low, high, (1, num, 2)).astype(np.float32)
    visible = rng.integers(0, 3, (1, num)).astype(np.float32)
    return keypoints, visible


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match='10'):
        SapiensUDPHeatmap((192, 256), (48, 64), blur_kernel_size=10)
    with pytest.raises(ValueError, match='64x48'):
        codecs()[0].decode_heatmaps(torch.zeros(1, 1, 48, 64))


def test_encode_equals_public_implementation(reference):
    entry = reference['encode']
    h, w = entry['heatmaps'].shape[-2:]
    ours, _ = codecs((w * 4, h * 4), (w, h), 6)
    encoded = ours.encode(entry['keypoints'].numpy(), entry['visible'].numpy())
    heatmaps = ours.render(torch.as_tensor(encoded['keypoint_labels']))[0]
    torch.testing.assert_close(heatmaps, entry['heatmaps'], atol=1e-5, rtol=0)
    np.testing.assert_array_equal(encoded['keypoint_weights'], entry['weights'])


@pytest.mark.parametrize('sigma', [1.3, 2, 2.5, 6])
def test_encode_equals_mmpose(sigma):
    """Points inside, near and beyond the border, points without a label, and radii that are not integers."""
    ours, stock = codecs(sigma=sigma)
    rng = np.random.default_rng(0)
    for _ in range(5):
        keypoints, visible = random_keypoints(rng)
        expected, encoded = stock.encode(keypoints, visible), ours.encode(keypoints, visible)
        rendered = ours.render(torch.as_tensor(encoded['keypoint_labels']))[0].numpy()
        np.testing.assert_allclose(rendered, expected['heatmaps'], atol=1e-5)
        np.testing.assert_array_equal(encoded['keypoint_weights'], expected['keypoint_weights'])
        assert expected['heatmaps'].max() > 0.5


def test_encode_without_visibility_renders_all():
    ours, _ = codecs()
    encoded = ours.encode(np.full((1, 3, 2), 100, dtype=np.float32))
    assert (encoded['keypoint_weights'] == 1).all()
    assert np.isfinite(encoded['keypoint_labels']).all()


def test_decode_equals_public_implementation(reference):
    """Two of the heatmaps have no positive value, for which the public decode returns NaN."""
    entry = reference['decode']
    h, w = entry['heatmaps'].shape[-2:]
    ours, _ = codecs((w * 4, h * 4), (w, h), 6)
    keypoints, scores = ours.decode_heatmaps(entry['heatmaps'])
    defined = entry['keypoints'].isfinite().all(-1)
    assert (~defined).nonzero().tolist() == [[0, 0], [0, 1]]
    torch.testing.assert_close(keypoints[defined].double(), entry['keypoints'][defined], atol=1e-2, rtol=0)
    torch.testing.assert_close(scores, entry['scores'], atol=1e-6, rtol=0)
    assert keypoints.isfinite().all()
    assert (scores[~defined] <= 0).all()


@pytest.mark.parametrize(('noise', 'height'), [
    (0., 1.), (0.02, 1.), (0., 100.),
    # Low enough for mmpose's clip at 1e-3, which needs the blur of whole maps.
    (0., 0.01), (0., 0.002), (0., 0.0011), (0., 60.)])
@pytest.mark.parametrize('sigma', [2, 6])
def test_decode_equals_mmpose(noise, height, sigma):
    ours, stock = codecs(sigma=sigma)
    rng = np.random.default_rng(1)
    keypoints, visible = random_keypoints(rng, low=-10, high=260)
    heatmaps = stock.encode(keypoints, visible)['heatmaps']
    heatmaps = ((heatmaps + rng.normal(0, noise, heatmaps.shape)) * height).astype(np.float32)
    with np.errstate(all='ignore'):
        expected, scores = stock.decode(heatmaps)
    decoded, decoded_scores = ours.decode(heatmaps)
    assert decoded.shape == (1, 40, 2)
    np.testing.assert_array_equal(decoded_scores, scores)
    # At a peak of noise the Newton steps of both are hundreds of pixels of rounding error.
    clear = (scores > 0) & (visible > 0) & (np.abs(expected - 128) < 300).all(-1)
    assert clear.sum() > 20
    np.testing.assert_allclose(decoded[clear], expected[clear], atol=1e-2)
    assert np.isfinite(decoded).all()


@pytest.mark.parametrize('value', [0., 0.5, -1., 1e-5, 70.])
def test_decode_of_constant_maps_is_finite(value):
    keypoints, scores = codecs()[0].decode(np.full((3, 64, 48), value, dtype=np.float32))
    assert np.isfinite(keypoints).all()
    np.testing.assert_allclose(scores, value)


def test_decode_ignores_the_other_persons_of_the_batch():
    ours, _ = codecs()
    heatmaps = ours.render(8 + torch.rand(5, 7, 2) * torch.tensor([31., 47.]))
    heatmaps = heatmaps * torch.tensor([2e-3, 1e-2, 1., 10., 60.])[:, None, None, None]
    batch, _ = ours.decode_heatmaps(heatmaps)
    for i in range(5):
        alone, _ = ours.decode_heatmaps(heatmaps[i:i + 1])
        torch.testing.assert_close(alone[0], batch[i], atol=1e-3, rtol=0)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_decode_low_precision(dtype):
    ours, _ = codecs(sigma=6)
    truth = 8 + torch.rand(2, 9, 2) * torch.tensor([31., 47.])
    heatmaps = ours.render(truth)
    decoded, scores = ours.decode_heatmaps(heatmaps.to(dtype))
    assert decoded.dtype == scores.dtype == torch.float32
    expected, _ = ours.decode_heatmaps(heatmaps)
    # A heatmap pixel is four pixels; heights are rounded.
    assert (decoded - expected).abs().max() < (0.5 if dtype == torch.bfloat16 else 0.1)
    # Autocast must not lower the precision of the refinement itself.
    with torch.autocast('cpu', dtype=torch.bfloat16):
        torch.testing.assert_close(ours.decode_heatmaps(heatmaps)[0], expected)


def test_round_trip():
    """Decoding a rendered keypoint gives it back, up to UDP's two units (it encodes by input - 1, decodes by input)."""
    ours, _ = codecs(sigma=2)
    truth = np.random.default_rng(2).uniform(20, 170, (1, 30, 2)).astype(np.float32)
    heatmaps = ours.render(torch.as_tensor(ours.encode(truth)['keypoint_labels']))
    decoded, scores = ours.batch_decode(heatmaps)
    np.testing.assert_allclose(decoded[0], truth * np.array([192 / 191, 256 / 255]), atol=0.05)
    assert scores[0].shape == (1, 30)


def test_heatmap_maximum_takes_the_first_of_equals():
    maps = torch.zeros(2, 4, 5)
    maps[0, 1, 3] = maps[0, 1, 4] = maps[0, 2, 0] = 1
    positions, values = heatmap_maximum(maps)
    assert positions.tolist() == [[3, 1], [0, 0]]
    assert values.tolist() == [1, 0]
