"""Noise of a path tracer, and edges that only the guides show."""
import sys

import numpy as np
import pytest

from sapiens_mm.synth.denoise import denoise
from sapiens_mm.synth.extra import MissingExtra, denoiser

NORMAL = np.broadcast_to(np.float32([0, 0, 1]), (64, 64, 3))


def test_a_missing_library_is_one_line_that_names_the_option_to_do_without(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mitsuba_oidn', None)
    with pytest.raises(MissingExtra, match='--no-denoise.*pip install') as caught:
        denoiser()
    assert '\n' not in str(caught.value)


def test_noise_goes_and_an_edge_of_the_albedo_stays():
    pytest.importorskip('mitsuba_oidn')
    albedo = np.full((64, 64, 3), 0.2, np.float32)
    albedo[:, 32:] = 0.6
    noisy = albedo * np.random.default_rng(0).exponential(1, (64, 64, 1)).astype(np.float32)
    before = noisy.copy()
    clean = denoise(noisy, albedo, NORMAL)
    assert (clean.shape, clean.dtype) == (noisy.shape, np.float32)
    np.testing.assert_array_equal(noisy, before)
    for columns in (slice(0, 32), slice(32, 64)):
        assert clean[:, columns].std() < 0.3 * noisy[:, columns].std()
    assert clean[:, 33:].mean() > 2 * clean[:, :31].mean()
    np.testing.assert_array_equal(denoise(noisy, albedo, NORMAL), clean)
