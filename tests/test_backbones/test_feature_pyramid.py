import pytest
import torch
from mmengine.registry import MODELS


@pytest.mark.parametrize('num_outs', [0, 7])
def test_bad_number_of_maps(num_outs):
    with pytest.raises(ValueError, match='1 to 6'):
        MODELS.build(dict(type='SapiensFeaturePyramid', in_channels=32, num_outs=num_outs))


@pytest.mark.parametrize('num_outs', [1, 3, 4, 6])
def test_strides(num_outs):
    neck = MODELS.build(dict(type='SapiensFeaturePyramid', in_channels=32, out_channels=8, num_outs=num_outs))
    outs = neck((torch.zeros(2, 32, 1, 1), torch.randn(2, 32, 8, 6)))  # the last map counts
    sizes = [(32, 24), (16, 12), (8, 6), (4, 3), (2, 2), (1, 1)][:num_outs]
    assert [tuple(out.shape) for out in outs] == [(2, 8, *size) for size in sizes]
    sum(out.square().sum() for out in outs).backward()
    assert all(param.grad is not None for param in neck.parameters())
    assert torch.equal(neck(torch.ones(1, 32, 8, 6))[-1], neck([torch.ones(1, 32, 8, 6)])[-1])


def test_norm_is_over_channels():
    neck = MODELS.build(dict(type='SapiensFeaturePyramid', in_channels=32, out_channels=16))
    for out in neck(torch.randn(1, 32, 8, 6) * 7):
        torch.testing.assert_close(out.mean(1), torch.zeros_like(out[:, 0]), atol=1e-4, rtol=0)
