"""Crops: people and whole frames as images of a model's input size."""
from typing import NamedTuple

import cv2
import numpy as np

#: Factor by which a person's box is enlarged, as in training.
PADDING = 1.25


class Crop(NamedTuple):
    """A model input (H, W, 3) uint8 RGB and its region x0, y0, x1, y1 in pixels, which may exceed the frame."""
    image: np.ndarray
    box: tuple[float, float, float, float]


def crop_for_pose(image: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> Crop:
    """Crops a person to a size (H, W) as mmpose's ``TopdownAffine(use_udp=True)``, black outside the image."""
    from mmpose.structures.bbox import bbox_xyxy2cs, get_udp_warp_matrix
    center, scale = bbox_xyxy2cs(np.asarray(box, np.float32), PADDING)
    aspect = size[1] / size[0]
    width, height = scale
    scale = np.array([width, width / aspect] if width > height * aspect else [height * aspect, height], np.float32)
    matrix = get_udp_warp_matrix(center, scale, 0., size[::-1])
    crop = cv2.warpAffine(image, matrix, size[::-1], flags=cv2.INTER_LINEAR)
    return Crop(crop, (*(center - scale / 2).tolist(), *(center + scale / 2).tolist()))


def crop_for_dense(image: np.ndarray, box: np.ndarray, size: tuple[int, int],
                   outside: tuple[int, int, int] | None = None) -> Crop:
    """Crops a person as ``SapiensCropPerson``: area-averaged when it shrinks, the mean color outside the image.

    ``outside`` is another color there.
    """
    from ..dense.transforms.geometry import MEAN_COLOR, crop_box
    low, high = np.asarray(box[:2], np.float64), np.asarray(box[2:4], np.float64)
    return Crop(*crop_box(image, low, high, size, PADDING, outside or MEAN_COLOR[::-1]))


def resize_frame(image: np.ndarray, size: tuple[int, int]) -> Crop:
    """Resizes a whole frame to a model's input size (H, W) as ``SapiensResize``."""
    from ..dense.transforms.geometry import resize_image
    return Crop(resize_image(image, size), (0., 0., *image.shape[1::-1]))
