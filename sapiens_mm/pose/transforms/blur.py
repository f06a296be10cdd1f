"""Random blur of a person crop."""
import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmpose.registry import TRANSFORMS

_FILTERS = dict(mean=lambda img, side: cv2.blur(img, (side, side)), median=cv2.medianBlur)


@TRANSFORMS.register_module()
class SapiensRandomBlur(BaseTransform):
    """Blurs the image by the mean or the median of a square around each pixel.

    What albumentations' ``Blur`` and ``MedianBlur`` do, without that dependency.

    Required and modified key: ``img`` (H, W, 3), uint8.

    Args:
        kind: ``'mean'`` or ``'median'``.
        prob: Probability of doing it at all, 0 to 1.
        kernel_size: Smallest and largest side of the square in pixels, odd, at least 3; each odd side in between is as
            likely.

    Raises:
        ValueError: If an argument is none of these.
    """

    def __init__(self, kind: str = 'mean', prob: float = 0.1, kernel_size: tuple[int, int] = (3, 7)):
        if kind not in _FILTERS:
            raise ValueError(f"kind: got '{kind}', expected 'mean' or 'median'")
        if not 0 <= prob <= 1:
            raise ValueError(f'prob: got {prob}, expected 0 to 1')
        if not 3 <= kernel_size[0] <= kernel_size[1] or not all(side % 2 == 1 for side in kernel_size):
            raise ValueError(f'kernel_size: got {kernel_size}, expected (smallest, largest), odd and at least 3')
        self.kind = kind
        self.prob = prob
        self.kernel_size = tuple(kernel_size)

    def transform(self, results: dict) -> dict:
        if np.random.rand() >= self.prob:
            return results
        side = int(np.random.choice(np.arange(self.kernel_size[0], self.kernel_size[1] + 1, 2)))
        results['img'] = _FILTERS[self.kind](results['img'], side)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(kind='{self.kind}', prob={self.prob}, kernel_size={self.kernel_size})"
