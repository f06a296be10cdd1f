"""People and frames as images of a model's input size."""
from typing import NamedTuple

import cv2
import numpy as np

#: A person's box is taken this much larger, as in training.
PADDING = 1.25
_ZERO_WHEN_NORMALISED = (124, 116, 104)


class Crop(NamedTuple):
    """An image for a model.

    Attributes:
        image: (H, W, 3) uint8 RGB, of the model's input size.
        box: Part of the frame that it shows: x0, y0, x1, y1 in pixels of the frame, of which any may lie outside.
    """
    image: np.ndarray
    box: tuple[float, float, float, float]


def cut_person(image: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> Crop:
    """Cuts a person out for a pose model as mmpose's ``TopdownAffine(use_udp=True)`` does, black outside of the image.

    Args:
        image: (H, W, 3) uint8.
        box: x0, y0, x1, y1.
        size: (H, W) of the crop.
    """
    from mmpose.structures.bbox import bbox_xyxy2cs, get_udp_warp_matrix
    center, scale = bbox_xyxy2cs(np.asarray(box, np.float32), PADDING)
    aspect = size[1] / size[0]
    width, height = scale
    scale = np.array([width, width / aspect] if width > height * aspect else [height * aspect, height], np.float32)
    matrix = get_udp_warp_matrix(center, scale, 0., size[::-1])
    crop = cv2.warpAffine(image, matrix, size[::-1], flags=cv2.INTER_LINEAR)
    return Crop(crop, (*(center - scale / 2).tolist(), *(center + scale / 2).tolist()))


def cut_person_evenly(image: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> Crop:
    """Cuts a person out for a dense model as ``SapiensCropPerson`` does: averaged where it shrinks, the mean colour
    outside of the image.
    """
    from ..dense.transforms.geometry import warp_image
    low, high = np.asarray(box[:2], np.float64), np.asarray(box[2:4], np.float64)
    sides = np.array(size[::-1], np.float64)
    half = sides * ((high - low) * PADDING / sides).max() / 2
    middle = (low + high) / 2
    zoom = sides[0] / (2 * half[0])
    shift = (zoom - 1) / 2 - zoom * (middle - half)
    crop = warp_image(image, np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]]), size, _ZERO_WHEN_NORMALISED)
    return Crop(crop, (*(middle - half).tolist(), *(middle + half).tolist()))


def resize_frame(image: np.ndarray, size: tuple[int, int]) -> Crop:
    """A whole frame at a model's size, as ``SapiensResize`` makes it."""
    height, width = image.shape[:2]
    shrinks = size[0] < height or size[1] < width
    crop = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return Crop(crop, (0., 0., width, height))
