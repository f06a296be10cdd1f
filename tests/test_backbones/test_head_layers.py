"""Tests of the upsampling and convolution layers of heads."""
import pytest
import torch

from sapiens_mm.backbones.head_layers import conv_layers, upsampling_layers


def test_bad_sizes_are_named():
    with pytest.raises(ValueError, match='deconv_kernel_sizes: got 1 .* 2'):
        upsampling_layers(8, (8, 8), (4, ))
    with pytest.raises(ValueError, match='deconv_kernel_sizes: got 3'):
        upsampling_layers(8, (8, ), (3, ))
    with pytest.raises(ValueError, match='conv_kernel_sizes: got 2'):
        conv_layers(8, (8, ), (2, ))


@pytest.mark.parametrize('kernel', [2, 4])
def test_each_upsampling_layer_doubles_the_size(kernel):
    layers = upsampling_layers(8, (6, 4), (kernel, kernel))
    assert layers(torch.randn(2, 8, 5, 3)).shape == (2, 4, 20, 12)
    assert set(dict(layers.named_parameters())) == {'0.weight', '3.weight'}


@pytest.mark.parametrize('kernel', [1, 3])
def test_convolutions_keep_the_size(kernel):
    layers = conv_layers(8, (6, 4), (kernel, kernel))
    assert layers(torch.randn(2, 8, 5, 3)).shape == (2, 4, 5, 3)
    assert set(dict(layers.named_parameters())) == {'0.weight', '0.bias', '3.weight', '3.bias'}


def test_no_layers_is_identity():
    x = torch.randn(1, 8, 2, 2)
    assert torch.equal(conv_layers(8, (), ())(x), x)
