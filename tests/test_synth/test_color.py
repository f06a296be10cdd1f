"""Conversions between linear light and sRGB bytes."""
import numpy as np
import pytest

from sapiens_mm.synth.color import to_linear, to_srgb, to_srgb_fast


@pytest.mark.parametrize(('encode', 'tolerance'), [(to_srgb, 0.5), (to_srgb_fast, 1)])
def test_srgb_is_the_standard_curve(encode, tolerance):
    linear = np.linspace(0, 1, 1001)
    expected = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear**(1 / 2.4) - 0.055)
    assert encode(linear).dtype == np.uint8
    assert np.abs(encode(linear).astype(float) - expected).max() <= tolerance
    np.testing.assert_array_equal(encode(np.array([-1., 2.])), [0, 255])


def test_every_byte_comes_back():
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(to_srgb(to_linear(every)), every)
