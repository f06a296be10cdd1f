"""Denoising of rendered images by Open Image Denoise."""
import atexit
from functools import cache

import numpy as np

from .extra import denoiser


@cache
def _processor():
    # Not the fastest device: a GPU gives other bytes.
    return denoiser().Device(denoiser().DeviceType.CPU)


atexit.register(_processor.cache_clear)  # a device left at exit is reported as a leak


def denoise(image: np.ndarray, albedo: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Removes the noise of a path tracer; images do not depend on the number of threads.

    Args:
        image: (H, W, 3) linear light from 0 on, persons at about the brightness of a finished image.
        albedo, normal: (H, W, 3) guides from the same rays, 0 to 1 and -1 to 1.
    Returns (H, W, 3) float32 from 0 on.
    """
    oidn = denoiser()
    image, albedo, normal = (np.ascontiguousarray(one, np.float32) for one in (image, albedo, normal))
    # Without input_scale its threads would measure the brightness, and the order of sums change the last bits.
    return np.array(oidn.denoise(image, albedo, normal, hdr=True, quality=oidn.Quality.Fast, input_scale=1.0,
                                 device=_processor()))
