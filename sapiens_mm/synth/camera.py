"""Pinhole camera, and framings that fill an image with given points."""
from dataclasses import dataclass

import numpy as np

#: Stored with every camera, so that a file explains itself.
CONVENTION = ('OpenCV: x right, y down, z forward; world to camera is rotation @ point + translation (meters); '
              'the center of the top-left pixel is (0, 0)')


@dataclass
class Camera:
    """A pinhole camera without distortion; raises a ValueError for a bad shape, size or rotation.

    Attributes:
        intrinsics: (3, 3) float64 pixels, no skew; the top-left pixel's center is (0, 0), so x is -0.5 to width - 0.5.
        rotation, translation: (3, 3) and (3,) float64 meters, world to camera; x is right, y down, z forward.
        height, width: Pixels.
    """
    intrinsics: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    height: int
    width: int

    def __post_init__(self):
        self.intrinsics = k = np.asarray(self.intrinsics, np.float64)
        self.rotation = np.asarray(self.rotation, np.float64)
        self.translation = np.asarray(self.translation, np.float64).reshape(-1)
        self.height, self.width = check_size((self.height, self.width))
        shapes = k.shape, self.rotation.shape, self.translation.shape
        if shapes != ((3, 3), (3, 3), (3,)):
            raise ValueError(f'intrinsics, rotation, translation: got shapes {shapes}, expected (3, 3), (3, 3), (3,)')
        if not np.isfinite(k).all() or k[0, 0] <= 0 or k[1, 1] <= 0:
            raise ValueError(f'focal lengths: got {k[0, 0]}, {k[1, 1]}, expected positive pixels')
        if abs(k[0, 1]) > 1e-6 * k[0, 0] or not np.array_equal(k[[1, 2, 2, 2], [0, 0, 1, 2]], [0, 0, 0, 1]):
            raise ValueError(f'intrinsics: got {k.tolist()}, expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]')
        if not np.allclose(self.rotation @ self.rotation.T, np.eye(3), atol=1e-4) or np.linalg.det(self.rotation) < 0:
            raise ValueError(f'rotation: got {self.rotation.tolist()}, expected an orthonormal matrix')

    @property
    def center(self) -> np.ndarray:
        """(3,) position of the camera in the world, in meters."""
        return -self.rotation.T @ self.translation

    @property
    def forward(self) -> np.ndarray:
        """(3,) unit viewing direction in the world."""
        return self.rotation[2].copy()

    def transform(self, points: np.ndarray) -> np.ndarray:
        """Returns (N, 3) world points in the camera's frame, float64 meters."""
        return np.asarray(points, np.float64) @ self.rotation.T + self.translation

    def project(self, points: np.ndarray) -> tuple:
        """Returns (N, 2) float64 pixels of (N, 3) world points, NaN behind the camera, and (N,) depths in meters."""
        local = self.transform(points)
        z = local[:, 2]
        with np.errstate(divide='ignore', invalid='ignore'):
            uv = local[:, :2] / z[:, None] * np.diag(self.intrinsics)[:2] + self.intrinsics[:2, 2]
        uv[z <= 0] = np.nan
        return uv, z

    def rays(self, uv: np.ndarray) -> np.ndarray:
        """Returns (N, 3) float64 directions in the camera's frame, with z = 1, through the pixels ``uv`` (N, 2)."""
        xy = (np.asarray(uv, np.float64) - self.intrinsics[:2, 2]) / np.diag(self.intrinsics)[:2]
        return np.concatenate([xy, np.ones((len(xy), 1))], axis=1)

    def to_dict(self) -> dict:
        return dict(intrinsics=self.intrinsics.tolist(), rotation=self.rotation.tolist(),
                    translation=self.translation.tolist(), width=self.width, height=self.height, convention=CONVENTION)

    @classmethod
    def from_dict(cls, content: dict) -> 'Camera':
        names = ('intrinsics', 'rotation', 'translation', 'width', 'height')
        if missing := [name for name in names if name not in content]:
            raise ValueError(f'camera: {", ".join(missing)} missing, expected {", ".join(names)}')
        return cls(**{name: content[name] for name in names})


def check_size(size) -> tuple:
    """Returns ``(height, width)`` as integers; raises a ValueError unless both are whole numbers of at least 1."""
    height, width = size
    if int(width) != width or int(height) != height or min(width, height) < 1:
        raise ValueError(f'image size: got {height} x {width} (height x width), expected whole pixels from 1')
    return int(height), int(width)


def intrinsics_of(focal: float, size: tuple) -> np.ndarray:
    """Returns centered (3, 3) intrinsics for ``size`` (height, width); ``focal`` in longer sides (1.0: 53 degrees)."""
    height, width = check_size(size)
    if not focal > 0:
        raise ValueError(f'focal length: got {focal}, expected a positive number')
    f = float(focal) * max(width, height)
    return np.array([[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1]])


def view_rotation(azimuth: float = 0.0, elevation: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Returns the (3, 3) rotation, world (z up) to camera, of a camera that looks at the middle of the scene.

    Args:
        azimuth: Degrees, counter-clockwise from above, toward +x; at 0 it looks from -y along +y, with +x right.
        elevation: Degrees above the horizon; positive looks down.
        roll: Degrees; positive turns the camera clockwise seen from behind it.
    """
    a, e, r = np.radians([azimuth, elevation, roll])
    forward = np.array([-np.sin(a) * np.cos(e), np.cos(a) * np.cos(e), -np.sin(e)])
    right = np.array([np.cos(a), np.sin(a), 0.0])
    right = np.cos(r) * right + np.sin(r) * np.cross(forward, right)
    return np.stack([right, np.cross(forward, right), forward])


def frame_box(points: np.ndarray, size: tuple, focal: float, margin: float = 0.06, azimuth: float = 0.0,
              elevation: float = 0.0, roll: float = 0.0, near: float = 0.1) -> Camera:
    """Creates the nearest camera of a given direction and focal length that sees all points (N, 3) in meters.

    The points touch two opposite edges (less the margin) and are centered exactly between the others. Raises a
    ValueError if there are no points, or points are not finite.

    Args:
        size, focal: See `intrinsics_of`.
        margin: Share of width and height left free on each side, below 0.5 (else a ValueError); negative to crop.
        azimuth, elevation, roll: See `view_rotation`.
        near: Smallest distance in meters from the camera to a point.
    """
    points = np.asarray(points, np.float64).reshape(-1, 3)
    if len(points) == 0 or not np.isfinite(points).all():
        raise ValueError(f'points to frame: got {len(points)} points, expected at least one, all of them finite')
    if not margin < 0.5:
        raise ValueError(f'margin: got {margin}, expected less than 0.5')
    intrinsics = intrinsics_of(focal, size)
    rotation = view_rotation(azimuth, elevation, roll)
    local = points @ rotation.T
    half = np.array(size[::-1], np.float64) / 2 * (1 - 2 * margin) / intrinsics[0, 0]
    # A point is inside when |x - cx| <= half * (z - cz): one bound on the camera's (cx, cz) from either side.
    high = (local[:, :2] - half * local[:, 2:]).max(axis=0)
    low = (-local[:, :2] - half * local[:, 2:]).max(axis=0)
    z = min((-(high + low) / (2 * half)).min(), local[:, 2].min() - near)
    center = np.append(((high + half * z) - (low + half * z)) / 2, z)
    return Camera(intrinsics, rotation, -center, *size)
