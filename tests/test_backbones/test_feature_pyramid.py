"""Tests of the feature pyramid."""
import pytest
import torch
from mmengine.registry import MODELS

import sapiens_mm  # noqa: F401  (registers the pyramid)


@pytest.mark.parametrize('num_outs', [0, 7])
def test_bad_number_of_maps(num_outs):
    with pytest.raises(ValueError, match='1 to 6'):
        MODELS.build(dict(type='SapiensFeaturePyramid', in_channels=32, num_outs=num_outs))


@pytest.mark.parametrize('settings', [
    dict(strides=()), dict(strides=(2, 4)), dict(strides=(8, 64)), dict(strides=(8, 8)), dict(strides=(4, 7.97)),
    dict(strides=(16, 8)), dict(strides=(64, 128)), dict(strides=(128, 256)), dict(start_stride=8, num_outs=6),
    dict(start_stride=12), dict(strides=(8, 16), num_outs=3), dict(strides=(4, 16), start_stride=8)
])
def test_bad_strides(settings):
    with pytest.raises(ValueError, match='strides'):
        MODELS.build(dict(type='SapiensFeaturePyramid', in_channels=32, **settings))


@pytest.mark.parametrize(('settings', 'strides'), [
    (dict(strides=(8, 16, 32, 64, 128)), (8, 16, 32, 64, 128)),
    (dict(start_stride=8, num_outs=3), (8, 16, 32)),
    (dict(strides=[16]), (16, )),
    (dict(strides=(4, 16)), (4, 16)),
    (dict(start_stride=32, num_outs=3), (32, 64, 128)),
])
def test_only_the_strides_asked_for_hold_parameters(settings, strides):
    neck = MODELS.build(dict(type='SapiensFeaturePyramid', in_channels=32, out_channels=8, **settings))
    outs = neck(torch.randn(2, 32, 16, 8))
    assert [(256 // out.shape[-2], 128 // out.shape[-1]) for out in outs] == [(s, s) for s in strides]
    assert all(out.is_contiguous() for out in outs)
    sum(out.square().sum() for out in outs).backward()
    assert all(param.grad is not None for param in neck.parameters())
    assert len(neck.levels) == sum(stride <= 32 for stride in strides)


@pytest.mark.parametrize('num_outs', [1, 3, 4, 6])
def test_strides(num_outs):
    neck = MODELS.build(dict(type='SapiensFeaturePyramid', in_channels=32, out_channels=8, num_outs=num_outs))
    outs = neck((torch.zeros(2, 32, 1, 1), torch.randn(2, 32, 8, 6)))  # the last map counts
    sizes = [(32, 24), (16, 12), (8, 6), (4, 3), (2, 2), (1, 1)][:num_outs]
    assert [tuple(out.shape) for out in outs] == [(2, 8, *size) for size in sizes]
    sum(out.square().sum() for out in outs).backward()
    assert all(param.grad is not None for param in neck.parameters())
    assert all(out.is_contiguous() for out in outs)
    assert torch.equal(neck(torch.ones(1, 32, 8, 6))[-1], neck([torch.ones(1, 32, 8, 6)])[-1])


def test_norm_is_over_channels():
    neck = MODELS.build(dict(type='SapiensFeaturePyramid', in_channels=32, out_channels=16))
    for out in neck(torch.randn(1, 32, 8, 6) * 7):
        torch.testing.assert_close(out.mean(1), torch.zeros_like(out[:, 0]), atol=1e-4, rtol=0)
