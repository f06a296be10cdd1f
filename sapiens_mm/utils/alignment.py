"""Alignment of depth without scale to depth in meters: closed-form fits in float64."""
import numpy as np

ALIGNMENTS = ('none', 'scale', 'scale-shift', 'scale-shift-inverse')


def fit_depth(p: np.ndarray, z: np.ndarray, alignment: str) -> tuple[float, float, bool]:
    """Returns scale and shift of depths p to those in meters, z, and whether they swap near and far.

    ``none``: 1 and 0; ``scale``: z = s p; ``scale-shift``: z = s p + t; ``scale-shift-inverse``: 1 / z = s p + t, where
    a positive s swaps near and far. Least squares. A constant p gets s = 0 and t = the mean (with ``scale``, zeros
    stay zeros).
    """
    scale, shift = 1., 0.
    if alignment == 'scale':
        power = dot(p, p)
        scale = dot(p, z) / power if power > 0 else 0.
    elif alignment != 'none':
        scale, shift = fit_line(p, z if alignment == 'scale-shift' else 1 / z)
    return scale, shift, bool(scale > 0 if alignment == 'scale-shift-inverse' else scale < 0)


def align_depth(p: np.ndarray, scale: float, shift: float, alignment: str, near: float, far: float) -> np.ndarray:
    """Returns depths p in meters by a scale and shift of :func:`fit_depth`, limited to ``near`` and ``far``."""
    z = scale * p + shift
    if alignment == 'scale-shift-inverse':
        z = 1 / z.clip(1 / far, 1 / near)
    return z.clip(near, far)


def fit_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Returns slope and offset of the least-squares line; slope 0 where x is constant (to six digits)."""
    mean_x, mean_y = x.mean(), y.mean()
    offset = x - mean_x
    spread = dot(offset, offset)
    slope = dot(offset, y - mean_y) / spread if spread > 1e-12 * dot(x, x) else 0.0
    return slope, mean_y - slope * mean_x


def dot(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the sum of products of two arrays; with BLAS (``a @ b``) its digits would depend on the threads."""
    return float((a * b).sum())
