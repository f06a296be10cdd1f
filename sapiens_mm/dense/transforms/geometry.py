"""Geometric transforms of images and dense labels in one interpolation, and the crops of testing."""
import os.path as osp

import cv2
import numpy as np
from mmseg.registry import TRANSFORMS

from ...tasks import MASK_LABEL, dense_tasks, labels
from ...vocabularies.body_parts import IGNORED_PART
from ..label_files import file_size, read_image
from .base import SapiensTransform
from .loading import check_background, check_depth, check_parts, count_classes

#: Color that becomes 0 when the image is normalized, BGR.
MEAN_COLOR = (104, 116, 124)
# Class shares of a crop are counted at this fraction of its size.
_COARSE = 8
_INTERPOLATIONS = dict(linear=cv2.INTER_LINEAR, nearest=cv2.INTER_NEAREST)


def window(matrix: np.ndarray, size: tuple[int, int], shape: tuple[int, int]) -> tuple:
    """Returns the part of a source of ``shape`` (H, W) that a warp to ``size`` (H, W) by ``matrix`` (2, 3) reads.

    Slices of rows and columns, with a step where the output is less than half as fine, and the (2, 3) matrix from the
    sliced source to the output. None where the output shows nothing of the source.
    """
    height, width = size
    step = max(1, int(1 / zoom_of(matrix) + 1e-6))
    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) - 0.5
    corners = corners @ inverse[:, :2].T + inverse[:, 2]
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 2 * step, 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 2 * step + 1, shape[::-1])
    if (high <= low).any():
        return None
    inner = matrix.copy()
    inner[:, 2] += matrix[:, :2] @ low
    inner[:, :2] *= step
    return slice(low[1], high[1], step), slice(low[0], high[0], step), inner


def zoom_of(matrix: np.ndarray) -> float:
    """Returns the pixels of the output per pixel of the source."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))


def warp_label(label: np.ndarray, matrix: np.ndarray, size: tuple[int, int], no_label: float,
               flags: int = cv2.INTER_NEAREST) -> np.ndarray:
    """Warps a label (H, W) or (H, W, 3) by a (2, 3) matrix; of one on disk it reads only the visible part."""
    part = window(matrix, size, label.shape[:2])
    if part is None:
        return np.full((*size, *label.shape[2:]), no_label, label.dtype)
    rows, columns, inner = part
    return cv2.warpAffine(np.ascontiguousarray(label[rows, columns]), inner, size[::-1], flags=flags,
                          borderMode=cv2.BORDER_CONSTANT, borderValue=(no_label, ) * 3)


def warp_image(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int], pad_val=MEAN_COLOR) -> np.ndarray:
    """Warps an image (H, W, 3); where it shrinks to less than half, pixels are averaged first."""
    part = window(matrix, size, image.shape[:2])
    if part is None:
        return np.full((*size, 3), pad_val, image.dtype)
    rows, columns, inner = part
    step = rows.step
    region = image[rows.start:rows.stop, columns.start:columns.stop]
    if step > 1 and min(region.shape[:2]) >= step:
        height, width = (side // step for side in region.shape[:2])
        region = cv2.resize(region[:height * step, :width * step], (width, height), interpolation=cv2.INTER_AREA)
        # A mean lies in the middle of its pixels, not on the first of them.
        inner[:, 2] += inner[:, :2] @ np.full(2, (step - 1) / 2 / step)
    elif step > 1:
        region = region[::step, ::step]
    return cv2.warpAffine(region, inner, size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT,
                          borderValue=pad_val)


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes an image (H, W, 3) to (H', W'); averages where it shrinks along either axis."""
    shrinks = size[0] < image.shape[0] or size[1] < image.shape[1]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def crop_box(image: np.ndarray, low: np.ndarray, high: np.ndarray, size: tuple[int, int], padding: float,
             pad_val=MEAN_COLOR) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """Crops a box from an image (H, W, 3) uint8, padded by a factor and then to the aspect ratio of the crop.

    ``low`` (x0, y0) and ``high`` (x1, y1) are in pixels, the whole image from (0, 0) to (W, H). Returns the crop (H',
    W') and the x0, y0, x1, y1 that it shows; ``pad_val`` is the color outside of the image.
    """
    sides = np.array(size[::-1], np.float64)
    half = sides * ((high - low) * padding / sides).max() / 2
    middle = (low + high) / 2
    zoom = sides[0] / (2 * half[0])
    shift = (zoom - 1) / 2 - zoom * (middle - half)
    crop = warp_image(image, np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]]), size, pad_val)
    return crop, (*(middle - half).tolist(), *(middle + half).tolist())


def warp_normals(normals: np.ndarray, matrix: np.ndarray, size: tuple[int, int],
                 flags: int = cv2.INTER_LINEAR) -> np.ndarray:
    """Warps (H, W, 3) normals, rotated or mirrored with the image, to unit length; none where shorter than 0.5."""
    normals = warp_label(normals, matrix, size, 0, flags)
    turn = np.eye(3, dtype=np.float32)
    turn[:2, :2] = matrix[:, :2] / zoom_of(matrix)
    turn[[0, 1], [1, 0]] *= -1  # y is down in the image, up in normals
    normals = cv2.transform(normals, turn)
    x, y, z = cv2.split(normals)
    length = cv2.sqrt(x * x + y * y + z * z)
    factor = 1 / np.maximum(length, np.float32(0.5))
    factor[length < 0.5] = 0
    return cv2.multiply(normals, cv2.merge([factor] * 3))


def warp(results: dict, matrix: np.ndarray, size: tuple[int, int], pad_val=MEAN_COLOR,
         normal_interpolation: str = 'linear') -> dict:
    """Warps an image and all its labels, as if the camera had been turned, mirrored, moved or zoomed.

    Args:
        results: A sample. An image that is not loaded is decoded from ``img_path``, at a fraction of its size where
            that suffices.
        matrix: (2, 3), pixels of the source to pixels of the output: a similarity, with or without a mirror.
        size: (H, W) of the output; ``pad_val`` is the BGR outside of the source.
        normal_interpolation: ``'linear'`` or ``'nearest'``.

    Raises a ValueError if a label's crop is not finite, or not of the vocabulary.
    """
    matrix = np.asarray(matrix, np.float64)
    image, image_matrix = _image(results, matrix)
    results['img'] = warp_image(image, image_matrix, size, pad_val)
    mirrored = bool(np.linalg.det(matrix[:, :2]) < 0)
    on_disk = isinstance(results.get('gt_depth_map'), np.memmap)
    tasks, fills = {task.label.key: task for task in dense_tasks().values()}, _fills()
    for key in results.get('seg_fields', ()):
        kind, path = (tasks[key].kind, results.get(tasks[key].label.path_key)) if key in tasks else (None, None)
        if kind == 'vectors':
            results[key] = warp_normals(results[key], matrix, size, _INTERPOLATIONS[normal_interpolation])
            if not np.isfinite(results[key]).all():
                raise ValueError(f"'{path}': got normals with inf or NaN, expected (0, 0, 0) for no label")
        else:
            results[key] = warp_label(results[key], matrix, size, fills[key])
        if key == 'gt_depth_map':
            check_depth(results[key], path)
        if kind == 'classes':
            check_parts(count_classes(results[key]), path, results.get('num_classes'))
            if mirrored:
                table = np.arange(256, dtype=np.uint8)
                table[:len(results['flip_indices'])] = results['flip_indices']
                results[key] = cv2.LUT(results[key], table)
    if on_disk:  # SapiensLoadLabels checked some rows only
        check_background(results['gt_depth_map'], results.get('gt_person_mask'), results.get('depth_map_path'),
                         results.get('max_depth'))
    results['img_shape'] = results['pad_shape'] = tuple(size)
    results['scale_factor'] = (zoom_of(matrix), ) * 2
    results['flip'] = mirrored
    if mirrored:
        results['flip_direction'] = 'horizontal'
    return results


def _image(results: dict, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if 'img' in results:
        return results['img'], matrix
    path, reduction = results['img_path'], 1
    if osp.splitext(path)[1].lower() in ('.jpg', '.jpeg'):
        while reduction < 8 and 2 * reduction * zoom_of(matrix) <= 1:
            reduction *= 2
    reduced = matrix.copy()
    reduced[:, 2] += matrix[:, :2] @ np.full(2, (reduction - 1) / 2)
    reduced[:, :2] *= reduction
    return read_image(path, reduction), reduced


def _fills() -> dict[str, int]:
    return {label.key: label.fill for label in labels()}


@TRANSFORMS.register_module()
class SapiensRandomWarp(SapiensTransform):
    """Random scale, crop, rotation and mirror image, in one interpolation from the file to the input.

    Unlike in mmseg's chain of steps, only the crop's pixels are computed, a JPEG is decoded at the fraction of its size
    that the crop needs, and only the crop of labels on disk (``SapiensLoadLabels(mmap=True)``) is read. The image is
    averaged where it shrinks to less than half, then interpolated linearly; classes, values and masks take the nearest
    pixel; a mirror image swaps left and right classes. Padding and the corners that a rotation exposes have no label.

    Required: ``img`` or ``img_path``; ``seg_fields``; ``flip_indices`` with ``gt_seg_map``. Modified: ``img``, the
    labels, ``img_shape``, ``pad_shape``, ``scale_factor``, ``flip``.

    Args:
        size: (H, W) of the crop.
        scale_range: Range of a uniform factor on the largest scale at which the image fits into ``base_size`` (H, W),
            by default ``size``, in either orientation (as in mmcv's ``RandomResize``); ``(1, 1)`` disables it.
        cat_max_ratio: Crops are drawn up to 10 times, until there are two classes or more and none has more than this
            share of the labeled pixels (classes or, without these, person and background).
        rotate_prob: Probability of a rotation about the crop's center, by up to ``rotate_range`` degrees either way.
        flip_prob: Probability of a mirror image.
        pad_val: BGR outside of the image.
        corner_label: Class of the corners in ``gt_seg_map``: 255 (ignored), or with ``stock_padding`` 0 (background).
        normal_interpolation: ``'linear'``, or ``'nearest'``, which does not blend normals of different surfaces.
        stock_padding: Pad as mmseg does: the rotation sees only the crop; small images sit at the upper left. Otherwise
            corners show the rest of the image, and small images lie anywhere.
    """

    def __init__(self, size: tuple[int, int] = (1024, 768), scale_range: tuple[float, float] = (0.2, 2.),
                 base_size: tuple[int, int] | None = None, cat_max_ratio: float = 0.75, rotate_prob: float = 0.5,
                 rotate_range: float = 45., flip_prob: float = 0.5, pad_val: tuple = MEAN_COLOR,
                 corner_label: int = IGNORED_PART, normal_interpolation: str = 'linear', stock_padding: bool = False):
        if not 0 < scale_range[0] <= scale_range[1]:
            raise ValueError(f'scale_range: got {scale_range}, expected (min, max) with 0 < min <= max')
        for name, value in (('rotate_prob', rotate_prob), ('flip_prob', flip_prob), ('cat_max_ratio', cat_max_ratio)):
            if not 0 <= value <= 1:
                raise ValueError(f'{name}: got {value}, expected 0 to 1')
        if corner_label not in (0, IGNORED_PART):
            raise ValueError(f'corner_label: got {corner_label}, expected {IGNORED_PART} (ignored) or 0 (background)')
        if corner_label != IGNORED_PART and not stock_padding:
            raise ValueError(f'corner_label: got {corner_label} without stock_padding, expected {IGNORED_PART}; set '
                             'stock_padding=True')
        if normal_interpolation not in _INTERPOLATIONS:
            raise ValueError(f"normal_interpolation: got '{normal_interpolation}', expected "
                             f"{' or '.join(map(repr, _INTERPOLATIONS))}")
        self.size = check_size(size)
        self.scale_range = tuple(scale_range)
        self.base_size = self.size if base_size is None else check_size(base_size)
        self.cat_max_ratio = cat_max_ratio
        self.rotate_prob = rotate_prob
        self.rotate_range = rotate_range
        self.flip_prob = flip_prob
        self.pad_val = tuple(pad_val)
        self.corner_label = corner_label
        self.normal_interpolation = normal_interpolation
        self.stock_padding = stock_padding

    def transform(self, results: dict) -> dict:
        if 'img' in results:
            shape = results['img'].shape[:2]
        else:
            shape = results['ori_shape'] = results.get('ori_shape') or file_size(results['img_path'])
        fit = min(max(self.base_size) / max(shape), min(self.base_size) / min(shape))
        zoom = fit * np.random.uniform(*self.scale_range)
        turned, angle = np.random.rand() < self.rotate_prob, np.random.uniform(-self.rotate_range, self.rotate_range)
        flip = np.random.rand() < self.flip_prob
        # Classes from a mask have none on the person.
        first = () if results.get('classes_from_mask') else ('gt_seg_map', )
        keys = (*first, MASK_LABEL.key, *(task.label.key for task in dense_tasks().values()))
        judged = next((key for key in keys if key in results), None)
        for _ in range(10):
            place = np.random.rand(2)
            matrix = self.matrix(shape, zoom, place, angle if turned else 0., flip)
            if self.cat_max_ratio == 1 or judged is None or self._is_varied(results[judged], matrix):
                break
        results = warp(results, matrix, self.size, self.pad_val, self.normal_interpolation)
        if turned and self.stock_padding:
            self._pad_corners(results, shape, zoom, place, angle, flip)
        return results

    def matrix(self, shape: tuple[int, int], zoom: float, place, angle: float, flip: bool) -> np.ndarray:
        """Returns the (2, 3) matrix from pixels of the image, of ``shape`` (H, W), to pixels of the crop.

        ``zoom``: crop pixels per image pixel; ``place`` (x, y), 0 to 1: of the crop in the image, or the image in the
        crop; ``angle``: counter-clockwise, in degrees, about the crop's center, before a ``flip``.
        """
        offset = np.array(shape[::-1]) * zoom - self.size[::-1]
        offset = (np.maximum(offset, 0) if self.stock_padding else offset) * place
        matrix = np.array([[zoom, 0, (zoom - 1) / 2 - offset[0]], [0, zoom, (zoom - 1) / 2 - offset[1]], [0, 0, 1]])
        return self._turn(shape, zoom, angle, flip) @ matrix

    def _turn(self, shape: tuple[int, int], zoom: float, angle: float, flip: bool) -> np.ndarray:
        """Returns the (2, 3) matrix of the rotation and mirror image alone, after the crop."""
        width, height = self.size[::-1]
        if self.stock_padding:  # a smaller image fills a part of the crop
            width, height = np.minimum(self.size[::-1], np.array(shape[::-1]) * zoom)
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1)
        if flip:
            turn[0] = -turn[0]
            turn[0, 2] += width - 1
        return turn

    def _pad_corners(self, results: dict, shape: tuple[int, int], zoom: float, place, angle: float, flip: bool) -> None:
        crop = np.zeros(self.size, np.uint8)
        height, width = np.round(np.array(shape) * zoom).astype(int)
        crop[:height, :width] = 1
        turn = self._turn(shape, zoom, angle, flip)
        shown = cv2.warpAffine(crop, turn, self.size[::-1], flags=cv2.INTER_NEAREST) & crop
        beyond = shown == 0
        results['img'][beyond] = self.pad_val
        fills = _fills()
        for key in results.get('seg_fields', ()):
            results[key][beyond] = fills[key]
        if 'gt_seg_map' in results:
            results['gt_seg_map'][crop > shown] = self.corner_label

    def _is_varied(self, label: np.ndarray, matrix: np.ndarray) -> bool:
        size = tuple(-(-side // _COARSE) for side in self.size)
        if label.dtype == np.uint8:
            ids = warp_label(label, matrix / _COARSE, size, IGNORED_PART)
        else:
            values = warp_label(label if label.ndim == 2 else label[..., 2], matrix / _COARSE, size, -2)
            ids = np.where(values == -2, IGNORED_PART, values != 0)
        counts = np.bincount(ids.ravel(), minlength=256)[:IGNORED_PART]
        return np.count_nonzero(counts) > 1 and counts.max() < self.cat_max_ratio * counts.sum()


@TRANSFORMS.register_module()
class SapiensResize(SapiensTransform):
    """Resizes the image (averaged where it shrinks) and labels loaded before it (nearest pixel) to ``size`` (H, W)."""

    def __init__(self, size: tuple[int, int] = (1024, 768)):
        self.size = check_size(size)

    def transform(self, results: dict) -> dict:
        shape = results['img'].shape[:2]
        results['img'] = resize_image(results['img'], self.size)
        for key in results.get('seg_fields', ()):
            results[key] = cv2.resize(results[key], self.size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        results['img_shape'] = results['pad_shape'] = self.size
        results['scale_factor'] = self.size[1] / shape[1], self.size[0] / shape[0]
        return results


@TRANSFORMS.register_module()
class SapiensCropPerson(SapiensTransform):
    """Crops the image to the person, for testing; labels keep the size of the image.

    The box of ``gt_person_mask`` (the whole image without a person) is padded by ``padding``, then to the input's
    aspect ratio. It becomes ``crop_box`` (x0, y0, x1, y1): floats in pixels of the original image, whose whole is (0,
    0, width, height); it may reach outside. Required: ``img``; ``gt_person_mask``, else a ValueError.

    Args:
        size: (H, W) of the input.
        padding: Factor by which the box is larger than the person.
        pad_val: BGR outside of the image.
    """

    def __init__(self, size: tuple[int, int] = (1024, 768), padding: float = 1.25, pad_val: tuple = MEAN_COLOR):
        if not padding >= 1:
            raise ValueError(f'padding: got {padding}, expected at least 1')
        self.size = check_size(size)
        self.padding = padding
        self.pad_val = tuple(pad_val)

    def transform(self, results: dict) -> dict:
        image = results['img']
        if 'gt_person_mask' not in results:
            raise ValueError(f"gt_person_mask of '{results.get('img_path')}': got none, expected a mask; load the "
                             'labels before, from a dataset with masks')
        low, high, padding = np.zeros(2), np.array(image.shape[1::-1], np.float64), 1.
        left, top, width, height = cv2.boundingRect(results['gt_person_mask'])
        if width:
            low, high = np.array([left, top], np.float64), np.array([left + width, top + height], np.float64)
            padding = self.padding
        results['img'], results['crop_box'] = crop_box(image, low, high, self.size, padding, self.pad_val)
        results['img_shape'] = results['pad_shape'] = self.size
        results['scale_factor'] = (self.size[1] / (results['crop_box'][2] - results['crop_box'][0]), ) * 2
        return results


def check_size(size) -> tuple[int, int]:
    """Returns (H, W) as two positive integers; a ValueError for anything else."""
    if len(size) != 2 or any(int(side) != side or side < 1 for side in size):
        raise ValueError(f'size: got {size}, expected (height, width) in whole pixels')
    return int(size[0]), int(size[1])
