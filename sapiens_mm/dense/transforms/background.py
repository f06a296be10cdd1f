"""Background replacement with photos."""
import os
import os.path as osp

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from ...vocabularies.body_parts import IGNORED_PART
from ..label_files import IMAGE_SUFFIXES, file_size, read_image

_SOFTNESS = 0.8  # standard deviation of the edge's blur, in pixels


@TRANSFORMS.register_module()
class SapiensRandomBackground(BaseTransform):
    """Puts a random photo behind the person, with clean edges; labels stay as they are.

    At the person's edge the pixels of a photo are a mixture of the person and what was behind. So the colors of a band
    of 2 pixels inside and outside of the edge are taken from the person farther inside, and blended with the new
    background by a soft mask: nothing of the old one is left.

    It stands after `SapiensLoadLabels`, and either

    * before `SapiensRandomWarp`, as in the release: at the image's own size, so that the photo is zoomed, cropped and
      turned with the person, and padding keeps its color. An image that is not read yet is decoded whole, and a label
      on disk is read whole, in the samples that get a photo and in no others; or
    * after it, at the size of the input, which costs a fraction. The photo fills the padding too.

    Required keys: ``img`` or ``img_path``; ``gt_person_mask`` or else ``gt_seg_map``, ``gt_depth_map`` or
    ``gt_normal_map``, of the image's size. Modified: ``img``.

    Args:
        folder: Photos without people (png, jpg, webp), at any depth.
        prob: Probability of doing it at all.

    Raises:
        FileNotFoundError: If the folder is missing or holds no photo.
    """

    def __init__(self, folder: str, prob: float = 0.8):
        if not 0 <= prob <= 1:
            raise ValueError(f'prob is {prob}, but must be 0 to 1')
        if not osp.isdir(folder):
            raise FileNotFoundError(f"'{folder}' is not a folder; expected photos without people in it. Name such a "
                                    'folder (in our configs BACKGROUND_ROOT does), or leave SapiensRandomBackground '
                                    'out of the pipeline')
        self.folder = folder
        self.prob = prob
        self.photos = sorted(
            osp.relpath(osp.join(place, name), folder) for place, _, names in os.walk(folder, followlinks=True)
            for name in names if name.lower().endswith(IMAGE_SUFFIXES))
        if not self.photos:
            raise FileNotFoundError(f"'{folder}' holds no photos ({', '.join(IMAGE_SUFFIXES)})")

    def transform(self, results: dict) -> dict:
        if np.random.rand() >= self.prob:
            return results
        image = results['img'] if 'img' in results else read_image(results['img_path'])
        results['img'] = replace_background(image, person_mask(results), self._draw(image.shape[:2]))
        return results

    def _draw(self, shape: tuple[int, int]) -> np.ndarray:
        """A random cut, 1 to 1/1.5 of the largest, from a random photo, mirrored or not."""
        path = osp.join(self.folder, self.photos[np.random.randint(len(self.photos))])
        goal, size = np.array(shape), np.array(file_size(path))
        zoom = (goal / size).max() * np.random.uniform(1, 1.5)
        reduction = 1
        if path.lower().endswith(('.jpg', '.jpeg')):
            while reduction < 8 and 2 * reduction * zoom <= 1:
                reduction *= 2
        photo = read_image(path, reduction)
        cut = np.minimum(np.maximum(np.round(goal / (zoom * reduction)), 1), photo.shape[:2]).astype(int)
        top, left = np.random.randint(0, np.array(photo.shape[:2]) - cut + 1)
        # Where it shrinks by less than half, linear interpolation is as good as the mean, and faster.
        shrinks = (cut > 2 * goal).any()
        photo = cv2.resize(photo[top:top + cut[0], left:left + cut[1]], shape[::-1],
                           interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        return cv2.flip(photo, 1) if np.random.rand() < 0.5 else photo

    def __repr__(self) -> str:
        return f"{type(self).__name__}(folder='{self.folder}', prob={self.prob})"


def person_mask(results: dict) -> np.ndarray:
    """(H, W) uint8, 1 on the person: the sample's mask or what its labels say.

    Raises:
        ValueError: If it has no label.
    """
    if 'gt_person_mask' in results:
        return results['gt_person_mask']
    if 'gt_seg_map' in results:
        parts = results['gt_seg_map']
        return ((parts > 0) & (parts != IGNORED_PART)).astype(np.uint8)
    if 'gt_depth_map' in results:
        return (results['gt_depth_map'] > 0).astype(np.uint8)
    if 'gt_normal_map' in results:
        x, y, z = np.moveaxis(results['gt_normal_map'], 2, 0)
        return ((x != 0) | (y != 0) | (z != 0)).astype(np.uint8)  # 4 times as fast as any(axis=2)
    raise ValueError(f"'{results.get('img_path')}' has neither a mask nor a label that shows where the person is. Load "
                     'the labels (SapiensLoadLabels) before')


def replace_background(image: np.ndarray, mask: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Puts a person before another background.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) uint8, 1 on the person.
        background: (H, W, 3) uint8.

    Returns:
        (H, W, 3) uint8, a new array.
    """
    out = np.array(background, order='C')
    left, top, width, height = cv2.boundingRect(mask)
    margin = 4  # the soft edge reaches as far
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
    # Fingers and the like have no inside: they keep their colors, up to the hard edge.
    rows, columns = np.nonzero((alpha > 0) & (inner == 0) & ((weight > 0) | (mask > 0)))
    near = weight[rows, columns].astype(np.float32)[:, None]
    own = image[rows, columns].astype(np.float32)
    person = np.where(near > 0, color[rows, columns] / np.maximum(near, 1), own)
    share = alpha[rows, columns].astype(np.float32)[:, None] / 255
    behind = out[rows, columns].astype(np.float32)
    out[rows, columns] = np.rint(behind + (person - behind) * share).astype(np.uint8)
    return out
