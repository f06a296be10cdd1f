"""Textures of walls and floors."""
import numpy as np
import pytest

from sapiens_mm.synth.surfaces import TEXTURES


@pytest.mark.parametrize('name', TEXTURES)
def test_textures_repeat_without_a_seam(name):
    image = TEXTURES[name](np.random.default_rng(3))
    assert np.isfinite(image).all()
    np.testing.assert_array_equal(image, TEXTURES[name](np.random.default_rng(3)))
    # Across the edge the image changes no more than inside.
    for axis in (0, 1):
        inside = np.abs(np.diff(image, axis=axis)).mean(axis=tuple(a for a in range(3) if a != axis)).max()
        across = np.abs(np.take(image, 0, axis) - np.take(image, -1, axis)).mean()
        assert across <= inside * 1.3 + 0.02
