"""Between linear light and sRGB bytes (IEC 61966-2-1)."""
import numpy as np

_BYTES = np.arange(256) / 255
_LINEAR = np.where(_BYTES <= 0.04045, _BYTES / 12.92, ((_BYTES + 0.055) / 1.055)**2.4)


def to_linear(srgb: np.ndarray) -> np.ndarray:
    """float64 linear light of 0..1 from sRGB bytes."""
    return _LINEAR[srgb]


def to_srgb(linear: np.ndarray) -> np.ndarray:
    """sRGB bytes from linear light."""
    x = np.clip(linear, 0, 1)
    x = np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-9)**(1 / 2.4) - 0.055)
    return np.clip(np.rint(x * 255), 0, 255).astype(np.uint8)


_SRGB = to_srgb(np.linspace(0, 1, 4096))


def to_srgb_fast(linear: np.ndarray) -> np.ndarray:
    """As :func:`to_srgb`, from a table of 4096 steps, so off by up to one: for textures.

    Powers of a whole texture would take longer than everything else about it.
    """
    return _SRGB[(np.clip(linear, 0, 1) * (len(_SRGB) - 1) + 0.5).astype(np.uint16)]
