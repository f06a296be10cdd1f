"""Image-only augmentations: background replacement and photometric distortion."""
import os
import os.path as osp

import cv2
import mmcv
import numpy as np
from mmseg.datasets.transforms import PhotoMetricDistortion
from mmseg.registry import TRANSFORMS

from ...tasks import MASK_LABEL, dense_tasks
from ...vocabularies.body_parts import IGNORED_PART
from ..label_files import IMAGE_SUFFIXES, file_size, read_image
from .base import SapiensTransform

_SOFTNESS = 0.8  # standard deviation of the edge's blur, in pixels


@TRANSFORMS.register_module()
class SapiensRandomBackground(SapiensTransform):
    """Puts a random photo behind the person without a halo; labels stay the same.

    Pixels at the person's edge mix the colors of the person and of the old background, so a band of 2 pixels on both
    sides of it takes its colors from the person farther inside, blended with the new background by a soft mask.

    It comes after `SapiensLoadLabels`, and either before `SapiensRandomWarp`, as in the release, at the image's own
    size, which zooms the photo with the person; or after it, which is much cheaper and lets the photo fill the padding
    too.

    Required: ``img`` or ``img_path``; ``gt_person_mask`` or a dense label, of the image's size. Modified: ``img``.

    Args:
        folder: Photos without people (png, jpg, webp), in subfolders too; a FileNotFoundError without any.
        prob: Probability of a new background.
    """

    def __init__(self, folder: str, prob: float = 0.8):
        if not 0 <= prob <= 1:
            raise ValueError(f'prob: got {prob}, expected 0 to 1')
        if not osp.isdir(folder):
            raise FileNotFoundError(f"folder: got '{folder}', expected a folder of photos without people; set it "
                                    '(BACKGROUND_ROOT in our configs), or remove SapiensRandomBackground from the '
                                    'pipeline')
        self.folder = folder
        self.prob = prob
        self.photos = sorted(
            osp.relpath(osp.join(place, name), folder) for place, _, names in os.walk(folder, followlinks=True)
            for name in names if name.lower().endswith(IMAGE_SUFFIXES))
        if not self.photos:
            raise FileNotFoundError(f"folder: got '{folder}' without images, expected {', '.join(IMAGE_SUFFIXES)}")

    def transform(self, results: dict) -> dict:
        if np.random.rand() >= self.prob:
            return results
        image = results['img'] if 'img' in results else read_image(results['img_path'])
        results['img'] = replace_background(image, person_mask(results), self._draw(image.shape[:2]))
        return results

    def _draw(self, shape: tuple[int, int]) -> np.ndarray:
        """Returns a random crop, 1 to 1/1.5 of the largest, of a random photo, mirrored or not."""
        path = osp.join(self.folder, self.photos[np.random.randint(len(self.photos))])
        goal, size = np.array(shape), np.array(file_size(path))
        zoom = (goal / size).max() * np.random.uniform(1, 1.5)
        reduction = 1
        if path.lower().endswith(('.jpg', '.jpeg')):
            while reduction < 8 and 2 * reduction * zoom <= 1:
                reduction *= 2
        photo = read_image(path, reduction)
        crop = np.minimum(np.maximum(np.round(goal / (zoom * reduction)), 1), photo.shape[:2]).astype(int)
        top, left = np.random.randint(0, np.array(photo.shape[:2]) - crop + 1)
        # Down to half the size, linear interpolation is as good as the mean, and faster.
        shrinks = (crop > 2 * goal).any()
        photo = cv2.resize(photo[top:top + crop[0], left:left + crop[1]], shape[::-1],
                           interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        return cv2.flip(photo, 1) if np.random.rand() < 0.5 else photo


def person_mask(results: dict) -> np.ndarray:
    """Returns (H, W) uint8, 1 on the person, from the mask or else the first dense label; else a ValueError."""
    if MASK_LABEL.key in results:
        return results[MASK_LABEL.key]
    for task in dense_tasks().values():
        label = results.get(task.label.key)
        if label is not None and task.kind == 'classes':
            return ((label > 0) & (label != IGNORED_PART)).astype(np.uint8)
        if label is not None and task.kind == 'depth':
            return (label > 0).astype(np.uint8)
        if label is not None and task.kind == 'vectors':
            x, y, z = np.moveaxis(label, 2, 0)
            return ((x != 0) | (y != 0) | (z != 0)).astype(np.uint8)  # 4 times as fast as any(axis=2)
    raise ValueError(f"labels of '{results.get('img_path')}': got none, expected a mask or a dense label; put "
                     'SapiensLoadLabels before')


def replace_background(image: np.ndarray, mask: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Puts a person, where ``mask`` (H, W) uint8 is 1, in front of another background; images (H, W, 3) uint8."""
    out = np.array(background, order='C')
    left, top, width, height = cv2.boundingRect(mask)
    margin = 4  # reach of the soft edge
    near = slice(max(top - margin, 0), top + height + margin), slice(max(left - margin, 0), left + width + margin)
    if width:
        out[near] = _blend(image[near], mask[near], out[near])
    return out


def _blend(image: np.ndarray, mask: np.ndarray, background: np.ndarray) -> np.ndarray:
    inner = cv2.erode(mask, np.ones((5, 5), np.uint8), borderValue=1)
    alpha = cv2.GaussianBlur(mask * np.uint8(255), (0, 0), _SOFTNESS, borderType=cv2.BORDER_REPLICATE)
    out = cv2.copyTo(image, inner, background.copy())
    # Sums over 9 x 9 pixels, of those inside alone.
    weight = cv2.boxFilter(inner, cv2.CV_16U, (9, 9), normalize=False, borderType=cv2.BORDER_CONSTANT)
    color = cv2.boxFilter(cv2.bitwise_and(image, image, mask=inner), cv2.CV_32F, (9, 9), normalize=False,
                           borderType=cv2.BORDER_CONSTANT)
    # Thin parts such as fingers have no inside; they keep their colors up to the hard edge.
    rows, columns = np.nonzero((alpha > 0) & (inner == 0) & ((weight > 0) | (mask > 0)))
    near = weight[rows, columns].astype(np.float32)[:, None]
    edge = image[rows, columns].astype(np.float32)
    person = np.where(near > 0, color[rows, columns] / np.maximum(near, 1), edge)
    share = alpha[rows, columns].astype(np.float32)[:, None] / 255
    behind = out[rows, columns].astype(np.float32)
    out[rows, columns] = np.rint(behind + (person - behind) * share).astype(np.uint8)
    return out


@TRANSFORMS.register_module()
class SapiensPhotometricDistortion(PhotoMetricDistortion):
    """mmseg's ``PhotoMetricDistortion`` of ``img`` (H, W, 3) uint8 with equal results, faster by lookup tables."""

    def convert(self, img: np.ndarray, alpha: float = 1, beta: float = 0) -> np.ndarray:
        table = np.clip(np.arange(256, dtype=np.float32) * np.float32(alpha) + np.float32(beta), 0, 255)
        return cv2.LUT(img, table.astype(np.uint8))

    def hue(self, img: np.ndarray) -> np.ndarray:
        if np.random.randint(2):
            img = mmcv.bgr2hsv(img)
            table = (np.arange(256) + np.random.randint(-self.hue_delta, self.hue_delta)) % 180
            img[:, :, 0] = cv2.LUT(img[:, :, 0], table.astype(np.uint8))
            img = mmcv.hsv2bgr(img)
        return img
