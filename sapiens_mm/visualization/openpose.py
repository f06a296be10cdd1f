"""Poses in OpenPose's colors on black, as ControlNet reads them."""
import itertools
from collections.abc import Iterable, Mapping

import cv2
import numpy as np

from .skeleton import rgb

# Pairs of OpenPose's 18 body points; pair and point i have the i-th of 18 hues.
_LIMBS = ((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
          (0, 14), (14, 16), (0, 15), (15, 17))
_FINGERS = tuple(pair for finger in range(5)
                 for pair in itertools.pairwise((0, *range(4 * finger + 1, 4 * finger + 5))))
_LIMB_SHADE = .6
_BLUE, _WHITE = (0, 0, 255), (255, 255, 255)
# In pixels of an image whose shorter side is 512, at which ControlNet detects poses.
_SIDE, _JOINT, _FACE_DOT, _FINGER = 512, 4, 3, 2
_SHIFT = 4  # fractional bits of OpenCV's coordinates


def draw_openpose(size: tuple[int, int], people: Iterable[Mapping[str, tuple[np.ndarray, np.ndarray]]],
                  threshold: float = .3) -> np.ndarray:
    """Draws people into a black image of a size (H, W), (H, W, 3) uint8 RGB.

    ``people`` have points (K, 2) in pixels and scores (K) by OpenPose's fields: 18 of the body, 68 of the face and 21
    of each hand, or none of a part. Points below the threshold are not drawn.
    """
    canvas, scale = np.zeros((*size, 3), np.uint8), min(size) / _SIDE
    people = [{name: _shown(*part, size, threshold) for name, part in person.items()} for person in people]
    hues = [rgb(index / 18, 1) for index in range(18)]
    for person in people:
        body = person['pose_keypoints_2d']
        for (a, b), color in zip(_LIMBS, hues):
            if a in body and b in body:
                _draw_limb(canvas, body[a], body[b], _JOINT * scale, [round(_LIMB_SHADE * value) for value in color])
        for index, point in body.items():
            _draw_dot(canvas, point, _JOINT * scale, hues[index])
    for person in people:
        for name in ('hand_left_keypoints_2d', 'hand_right_keypoints_2d'):
            hand = person[name]
            for index, (a, b) in enumerate(_FINGERS):
                if a in hand and b in hand:
                    cv2.line(canvas, _fixed(hand[a]), _fixed(hand[b]), rgb(index / len(_FINGERS), 1),
                             max(1, round(_FINGER * scale)), cv2.LINE_AA, _SHIFT)
            for point in hand.values():
                _draw_dot(canvas, point, _JOINT * scale, _BLUE)
        for point in person['face_keypoints_2d'].values():
            _draw_dot(canvas, point, _FACE_DOT * scale, _WHITE)
    return canvas


def _shown(points: np.ndarray, scores: np.ndarray, size: tuple[int, int], threshold: float) -> dict[int, np.ndarray]:
    # OpenCV's coordinates have 32 bits, so keypoints a whole image away are not drawn.
    near = (np.abs(points / np.array(size[::-1]) - .5) < 1.5).all(axis=-1)
    return {index: points[index] for index in np.flatnonzero(near & (scores >= threshold)).tolist()}


def _draw_limb(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, radius: float, color: list[int]) -> None:
    along = end - start
    axes = np.array([np.linalg.norm(along) / 2, max(radius, .5)])
    angle = float(np.degrees(np.arctan2(along[1], along[0])))
    cv2.ellipse(canvas, _fixed((start + end) / 2), _fixed(axes), angle, 0, 360, color, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _draw_dot(canvas: np.ndarray, point: np.ndarray, radius: float, color: tuple[int, int, int]) -> None:
    cv2.circle(canvas, _fixed(point), round(max(radius, .5) * 2**_SHIFT), color, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _fixed(point: np.ndarray) -> tuple[int, int]:
    return tuple(np.rint(point * 2**_SHIFT).astype(int).tolist())
