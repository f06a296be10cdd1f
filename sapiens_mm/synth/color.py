"""Conversions between linear light and sRGB bytes (IEC 61966-2-1)."""
import numpy as np

_BYTES = np.arange(256) / 255
_LINEAR = np.where(_BYTES <= 0.04045, _BYTES / 12.92, ((_BYTES + 0.055) / 1.055)**2.4)


def to_linear(srgb: np.ndarray) -> np.ndarray:
    """Converts sRGB bytes to float64 linear light, 0 to 1."""
    return _LINEAR[srgb]


def to_srgb(linear: np.ndarray) -> np.ndarray:
    """Converts linear light to sRGB bytes."""
    x = np.clip(linear, 0, 1)
    x = np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-9)**(1 / 2.4) - 0.055)
    return np.clip(np.rint(x * 255), 0, 255).astype(np.uint8)


_SRGB = to_srgb(np.linspace(0, 1, 4096))


def to_srgb_fast(linear: np.ndarray) -> np.ndarray:
    """Converts linear light to sRGB bytes by a table of 4096 steps: fast for textures, with an error of at most 1."""
    return _SRGB[(np.clip(linear, 0, 1) * (len(_SRGB) - 1) + 0.5).astype(np.uint16)]
