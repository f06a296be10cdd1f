"""Random occlusion of a person crop."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmpose.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SapiensCoarseDropout(BaseTransform):
    """Blackens one rectangle of the image (DeVries and Taylor, 2017, https://arxiv.org/abs/1708.04552).

    What albumentations' ``CoarseDropout`` with one hole does, without that dependency.

    Required and modified key: ``img`` (H, W, C).

    Args:
        size: Smallest and largest side of the rectangle, as a share of the image's side, in (0, 1].
        prob: Probability of doing it at all.
    """

    def __init__(self, size: tuple[float, float] = (0.2, 0.4), prob: float = 1.):
        if not 0 < size[0] <= size[1] <= 1:
            raise ValueError(f'size is {size}, but must be (smallest, largest) with 0 < smallest <= largest <= 1')
        self.size = size
        self.prob = prob

    def transform(self, results: dict) -> dict:
        if np.random.rand() >= self.prob:
            return results
        img = results['img']
        shape = np.array(img.shape[:2])
        sides = np.round(np.random.uniform(*self.size, 2) * shape).astype(int)
        top, left = np.random.randint(0, shape - sides + 1)
        img = img.copy()  # the array may be a cache's
        img[top:top + sides[0], left:left + sides[1]] = 0
        results['img'] = img
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size}, prob={self.prob})'
