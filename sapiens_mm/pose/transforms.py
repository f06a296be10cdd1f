"""Image transforms of pose pipelines: loading, blur, coarse dropout, photometric distortion."""
import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.fileio import get
from mmpose.datasets.transforms import LoadImage, PhotometricDistortion
from mmpose.registry import TRANSFORMS

from ..utils.images import decode
from ..utils.problems import Problem, guide, report

_BLURS = dict(mean=lambda img, side: cv2.blur(img, (side, side)), median=cv2.medianBlur)


@TRANSFORMS.register_module()
class SapiensLoadImage(LoadImage):
    """Loads an upright BGR image of the annotated size; ``color_type`` and ``imdecode_backend`` have no effect."""

    def transform(self, results: dict) -> dict | None:
        """Adds ``img`` (H, W, 3), ``img_shape``, ``ori_shape`` (H, W); a ValueError if not of ``annotated_shape``."""
        if 'img' not in results:
            results['img'] = self._read(results['img_path'])
        results = super().transform(results)
        expected = results.get('annotated_shape')
        if expected is not None and tuple(expected) != results['img'].shape[:2]:
            height, width = results['img'].shape[:2]
            turned = ', as if its EXIF orientation had been ignored' if tuple(expected) == (width, height) else ''
            report(Problem('image sizes', f"image '{results['img_path']}'", f'{width} x {height} pixels (w x h)',
                           f'{expected[1]} x {expected[0]} as in its annotation{turned}; use the image that was '
                           'annotated, or scale the annotations'))
        return results

    def _read(self, path: str) -> np.ndarray:
        try:
            return decode(get(path, backend_args=self.backend_args), cv2.IMREAD_COLOR)
        except (FileNotFoundError, IsADirectoryError) as error:
            raise FileNotFoundError(f"image '{path}' does not exist; correct data_root or data_prefix of the dataset, "
                                    f'or file_name in its annotations. {guide("missing files")}') from error
        except ValueError as error:
            raise ValueError(f"image '{path}' cannot be decoded: {error}; replace it, or remove its entry from the "
                             f'annotations. {guide("unreadable images")}') from error


@TRANSFORMS.register_module()
class SapiensRandomBlur(BaseTransform):
    """Blurs ``img`` (H, W, 3) uint8 by the mean or the median of a square, as albumentations' Blur and MedianBlur.

    Args:
        kind: ``'mean'`` or ``'median'``.
        prob: Probability of a blur, 0 to 1.
        kernel_size: Smallest and largest side in pixels, odd, at least 3; the odd sides between are equally likely.
    """

    def __init__(self, kind: str = 'mean', prob: float = 0.1, kernel_size: tuple[int, int] = (3, 7)):
        if kind not in _BLURS:
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
        results['img'] = _BLURS[self.kind](results['img'], side)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(kind='{self.kind}', prob={self.prob}, kernel_size={self.kernel_size})"


@TRANSFORMS.register_module()
class SapiensCoarseDropout(BaseTransform):
    """Blackens one rectangle of ``img`` (H, W, C) (DeVries and Taylor, 2017, https://arxiv.org/abs/1708.04552).

    Args:
        size: Smallest and largest side of the rectangle, as a share of the image's side, in (0, 1].
        prob: Probability of a dropout, 0 to 1.
    """

    def __init__(self, size: tuple[float, float] = (0.2, 0.4), prob: float = 1.):
        if not 0 < size[0] <= size[1] <= 1:
            raise ValueError(f'size: got {size}, expected (smallest, largest), shares of the image in (0, 1]')
        self.size = size
        self.prob = prob

    def transform(self, results: dict) -> dict:
        if np.random.rand() >= self.prob:
            return results
        img = results['img'].copy()  # the array may belong to a cache
        shape = np.array(img.shape[:2])
        sides = np.round(np.random.uniform(*self.size, 2) * shape).astype(int)
        top, left = np.random.randint(0, shape - sides + 1)
        img[top:top + sides[0], left:left + sides[1]] = 0
        results['img'] = img
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size}, prob={self.prob})'


@TRANSFORMS.register_module()
class SapiensPhotometricDistortion(PhotometricDistortion):
    """mmpose's ``PhotometricDistortion`` on ``img`` (H, W, 3) uint8, with equal results, faster by look-up tables."""

    def _convert(self, img: np.ndarray, alpha: float = 1, beta: float = 0) -> np.ndarray:
        table = np.clip(np.arange(256, dtype=np.float32) * np.float32(alpha) + np.float32(beta), 0, 255)
        return cv2.LUT(img, table.astype(np.uint8))
