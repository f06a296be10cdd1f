"""Skeletons of people drawn into images."""
import colorsys
import re
from collections.abc import Sequence

import cv2
import numpy as np

_LEFT_HUE, _RIGHT_HUE = 0.08, 0.58  # orange and blue, which color-blind people can tell apart
_CENTER, _EDGE = (255, 255, 255), (25, 25, 25)
_FINGERS = ('thumb', 'forefinger', 'middle_finger', 'ring_finger', 'pinky_finger')
_FINE = re.compile('thumb|finger|hand_root|(^|_)(nose|eye|ear)$')
# Radii as shares of the person's size; of dots as shares of the face's.
_LIMB, _JOINT, _FINE_LINK, _FINE_JOINT, _DOT = 0.0065, 0.0095, 0.002, 0.003, 0.01
_SHIFT = 4  # fractional bits of OpenCV's coordinates


def draw_skeleton(image: np.ndarray,
                  keypoints: np.ndarray,
                  scores: np.ndarray,
                  metainfo: dict,
                  threshold: float = 0.3,
                  boxes: np.ndarray | None = None,
                  track_ids: Sequence[int] | None = None,
                  occluded: np.ndarray | None = None) -> np.ndarray:
    """Draws people with thick limbs, thin fingers and a dotted face into a copy of an image (H, W, 3) uint8 RGB.

    The person's left is orange, the right blue, the middle white; the fingers of a hand differ in hue.

    Args:
        keypoints: (N, K, 2) in pixels; may be outside of the image or NaN.
        scores: (N, K); keypoints below ``threshold`` are not drawn.
        metainfo: Of the keypoint set, with mmpose's fields ``keypoint_id2name`` and ``skeleton_links``.
        boxes: (N, 4) or (N, 5), x0, y0, x1, y1 in pixels, to draw as well.
        track_ids: N numbers to write beside the people; each colors its box.
        occluded: (N, K) bool; these keypoints are drawn hollow.
    """
    drawing = np.array(image, order='C')
    image_size = np.array(drawing.shape[1::-1])
    strokes, radii, colors, fine, dots = _strokes(metainfo)
    for person, points in enumerate(np.asarray(keypoints, np.float64)):
        # OpenCV's coordinates have 32 bits, so keypoints a whole image away are not drawn.
        near = (np.abs(points / image_size - 0.5) < 1.5).all(axis=-1)
        shown = near & (np.asarray(scores[person]) >= threshold)
        corners = points[shown] if boxes is None else np.reshape(boxes[person][:4], (2, 2))
        if not len(corners):
            continue
        low, high = corners.min(axis=0).clip(0, image_size), corners.max(axis=0).clip(0, image_size)
        size = (high - low).max()
        # Strokes of a small person stay visible in the whole image, but thinner than the person.
        size = max(size, np.clip(3 * size, image_size.max() / 24, image_size.max() / 6))
        if boxes is not None or track_ids is not None:
            _draw_box(drawing, low, high, size, boxes is not None, None if track_ids is None else track_ids[person])
        drawn = shown[strokes].all(axis=1)
        units = np.full(len(strokes), size)
        units[dots] = min(_spread(points[strokes[drawn & dots, 0]]), size)
        for layer in (drawn & ~fine, drawn & fine):
            ends = points[strokes[layer]]
            radius = np.maximum(radii[layer] * units[layer] - 0.5, 0.1)  # OpenCV's antialiasing adds half a pixel
            edge = np.maximum(radius * 0.35, 0.7)
            _fill(drawing, _capsules(ends, radius + edge), [_EDGE] * len(ends))
            _fill(drawing, _capsules(ends, radius), colors[layer].tolist())
            if occluded is not None:
                first, last = strokes[layer].T
                hollow = (first == last) & occluded[person][first]
                _fill(drawing, _capsules(ends[hollow], radius[hollow] * 0.6), [_EDGE] * hollow.sum())
    return drawing


def _strokes(metainfo: dict) -> tuple[np.ndarray, ...]:
    """Returns ends (S, 2), equal for points, radius (S,), color (S, 3), is fine (S,), is a dot (S,) of strokes."""
    names = [metainfo['keypoint_id2name'][i].lower() for i in range(len(metainfo['keypoint_id2name']))]
    links = np.array(metainfo['skeleton_links'], int).reshape(-1, 2)
    sides = np.array([_side(name) for name in names])
    colors = np.array([_color(name, side) for name, side in zip(names, sides)])
    fine = np.array([_FINE.search(name) is not None for name in names])
    # Points without links are those of the face, and a few close to a joint.
    single = ~np.isin(np.arange(len(names)), links) & (len(links) > 0)

    start, end = links.T
    link_colors = np.where((sides[end] != 0)[:, None], colors[end], colors[start])
    link_colors[sides[start] * sides[end] < 0] = _CENTER
    fine_links = fine[links].any(axis=1)
    points = np.arange(len(names))
    return (np.concatenate([links, np.stack([points, points], axis=1)]),
            np.concatenate([np.where(fine_links, _FINE_LINK, _LIMB),
                            np.where(single, _DOT, np.where(fine, _FINE_JOINT, _JOINT))]),
            np.concatenate([link_colors, colors]),
            np.concatenate([fine_links, fine | single]),
            np.concatenate([np.zeros(len(links), bool), single]))


def _spread(dots: np.ndarray) -> float:
    """Estimates the width of the face from dots (N, 2), most of which belong to the face."""
    return 4 * np.median(np.abs(dots - np.median(dots, axis=0)).max(axis=1)) if len(dots) else 0.


def _side(name: str) -> int:
    words = set(re.split('[^a-z]+', name))
    return bool(words & {'left', 'l'}) - bool(words & {'right', 'r'})


def _color(name: str, side: int) -> tuple[int, int, int]:
    if not side:
        return _CENTER
    finger = re.search('|'.join(_FINGERS), name)
    return rgb((_LEFT_HUE if side > 0 else _RIGHT_HUE) + (0.05 * (_FINGERS.index(finger[0]) - 2) if finger else 0))


def rgb(hue: float, saturation: float = 0.85) -> tuple[int, int, int]:
    return tuple(round(255 * value) for value in colorsys.hsv_to_rgb(hue % 1, saturation, 1))


def _capsules(ends: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Returns polygons (S, V, 2) around the points within ``radius`` (S,) of the lines between ``ends`` (S, 2, 2)."""
    along = ends[:, 1] - ends[:, 0]
    length = np.linalg.norm(along, axis=-1, keepdims=True)
    along = np.where(length > 0, along / np.maximum(length, 1e-9), (1, 0))
    angle = np.linspace(-np.pi / 2, np.pi / 2, 12)
    across = np.stack([-along[:, 1], along[:, 0]], axis=-1)
    cap = (np.cos(angle)[:, None] * along[:, None] + np.sin(angle)[:, None] * across[:, None]) * radius[:, None, None]
    return np.concatenate([ends[:, 1, None] + cap, ends[:, 0, None] - cap], axis=1)


def _fill(image: np.ndarray, polygons: np.ndarray, colors: Sequence) -> None:
    for polygon, color in zip(np.rint(polygons * 2**_SHIFT).astype(np.int32), colors):
        cv2.fillConvexPoly(image, polygon, color, cv2.LINE_AA, _SHIFT)


def _draw_box(image: np.ndarray, low: np.ndarray, high: np.ndarray, size: float, with_box: bool,
              track_id: int | None) -> None:
    # The golden ratio makes successive hues differ most.
    color = _CENTER if track_id is None else rgb(track_id * 0.618, 0.6)
    corners = np.rint(low).astype(int).tolist(), np.rint(high).astype(int).tolist()
    if with_box:
        cv2.rectangle(image, *corners, color, max(1, round(size / 250)), cv2.LINE_AA)
    if track_id is not None:
        scale = max(size / 500, 0.5)
        place = corners[0][0], max(corners[0][1] - round(8 * scale), round(24 * scale))
        for ink, thickness in ((_EDGE, 5), (color, 2)):
            cv2.putText(image, str(track_id), place, cv2.FONT_HERSHEY_SIMPLEX, scale, ink,
                        max(1, round(thickness * scale)), cv2.LINE_AA)
