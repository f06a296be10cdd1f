"""A pinhole camera, and the framings that fill an image with given points."""
from dataclasses import dataclass

import numpy as np

#: Written beside every camera, so that a file explains itself.
CONVENTION = ('OpenCV: x right, y down, z forward; world to camera is rotation @ point + translation (metres); '
              'the centre of the top-left pixel is (0, 0)')


@dataclass
class Camera:
    """A pinhole camera without distortion.

    Attributes:
        intrinsics: (3, 3) float64 in pixels, without skew. The centre of the top-left pixel is (0, 0), so the image
            covers -0.5 .. width - 0.5.
        rotation: (3, 3) float64, world to camera; the camera's x is right, y down, z forward.
        translation: (3,) float64 in metres, world to camera.
        height: Pixels.
        width: Pixels.

    Raises:
        ValueError: A matrix of another shape, a size below 1, or a rotation that is not one.
    """

    intrinsics: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    height: int
    width: int

    def __post_init__(self):
        self.intrinsics = np.asarray(self.intrinsics, np.float64)
        self.rotation = np.asarray(self.rotation, np.float64)
        self.translation = np.asarray(self.translation, np.float64).reshape(-1)
        self.height, self.width = check_size((self.height, self.width))
        shapes = self.intrinsics.shape, self.rotation.shape, self.translation.shape
        if shapes != ((3, 3), (3, 3), (3,)):
            raise ValueError(f'a camera needs (3, 3) intrinsics, (3, 3) rotation and (3,) translation, not {shapes}')
        k = self.intrinsics
        if not np.isfinite(k).all() or k[0, 0] <= 0 or k[1, 1] <= 0:
            raise ValueError(f'focal lengths must be positive pixels, not {k[0, 0]}, {k[1, 1]}')
        if abs(k[0, 1]) > 1e-6 * k[0, 0] or not np.array_equal(k[[1, 2, 2, 2], [0, 0, 1, 2]], [0, 0, 0, 1]):
            raise ValueError(f'intrinsics must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], not {k.tolist()}')
        if not np.allclose(self.rotation @ self.rotation.T, np.eye(3), atol=1e-4) or np.linalg.det(self.rotation) < 0:
            raise ValueError(f'not a rotation: {self.rotation.tolist()}')

    @property
    def centre(self) -> np.ndarray:
        """(3,) where the camera stands in the world, in metres."""
        return -self.rotation.T @ self.translation

    @property
    def forward(self) -> np.ndarray:
        """(3,) unit viewing direction in the world."""
        return self.rotation[2].copy()

    def transform(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) world points in the camera's frame, float64 metres."""
        return np.asarray(points, np.float64) @ self.rotation.T + self.translation

    def project(self, points: np.ndarray) -> tuple:
        """Where points of the world lie in the image.

        Args:
            points: (N, 3) metres.

        Returns:
            ``(uv, z)``: (N, 2) float64 pixels and (N,) float64 metres along the optical axis. NaN pixels for points
            that are not in front of the camera (``z <= 0``).
        """
        local = self.transform(points)
        z = local[:, 2]
        with np.errstate(divide='ignore', invalid='ignore'):
            uv = local[:, :2] / z[:, None] * np.diag(self.intrinsics)[:2] + self.intrinsics[:2, 2]
        uv[z <= 0] = np.nan
        return uv, z

    def rays(self, uv: np.ndarray) -> np.ndarray:
        """(N, 3) float64 directions in the camera's frame, with z = 1, through the pixels ``uv`` (N, 2)."""
        xy = (np.asarray(uv, np.float64) - self.intrinsics[:2, 2]) / np.diag(self.intrinsics)[:2]
        return np.concatenate([xy, np.ones((len(xy), 1))], axis=1)

    def to_dict(self) -> dict:
        """For JSON; `from_dict` reads it back exactly."""
        return dict(intrinsics=self.intrinsics.tolist(), rotation=self.rotation.tolist(),
                    translation=self.translation.tolist(), width=self.width, height=self.height,
                    convention=CONVENTION)

    @classmethod
    def from_dict(cls, content: dict) -> 'Camera':
        """What `to_dict` gave."""
        names = ('intrinsics', 'rotation', 'translation', 'width', 'height')
        missing = [name for name in names if name not in content]
        if missing:
            raise ValueError(f'a camera without {", ".join(missing)}; expected {", ".join(names)}')
        return cls(**{name: content[name] for name in names})


def check_size(size) -> tuple:
    """``(height, width)`` as two whole numbers of at least 1.

    Raises:
        ValueError: Anything else.
    """
    height, width = size
    if int(width) != width or int(height) != height or min(width, height) < 1:
        raise ValueError(f'an image must be at least 1 x 1 whole pixels, not {height} x {width} (height x width)')
    return int(height), int(width)


def intrinsics_of(focal: float, size: tuple) -> np.ndarray:
    """(3, 3) intrinsics with the principal point in the middle of the image.

    Args:
        focal: Focal length in units of the image's longer side (1.0 is 53 degrees, 2.0 is 28 degrees).
        size: ``(height, width)`` pixels.
    """
    height, width = check_size(size)
    if not focal > 0:
        raise ValueError(f'the focal length must be positive, not {focal}')
    f = float(focal) * max(width, height)
    return np.array([[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1]])


def view_rotation(azimuth: float = 0.0, elevation: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """(3, 3) rotation, world (z up) to camera, of a camera that looks at the middle of the scene.

    Args:
        azimuth: Degrees. 0: the camera stands on the -y side and looks along +y, so +x is right in the image.
            Positive: it has walked counter-clockwise seen from above, towards +x.
        elevation: Degrees above the horizon; positive looks down.
        roll: Degrees; positive turns the camera clockwise seen from behind it, so the image's content turns
            counter-clockwise.
    """
    a, e, r = np.radians([azimuth, elevation, roll])
    forward = np.array([-np.sin(a) * np.cos(e), np.cos(a) * np.cos(e), -np.sin(e)])
    right = np.array([np.cos(a), np.sin(a), 0.0])
    down = np.cross(forward, right)
    turned = np.cos(r) * right + np.sin(r) * down
    return np.stack([turned, np.cross(forward, turned), forward])


def look_at(eye, target, size: tuple, focal: float, up=(0.0, 0.0, 1.0), roll: float = 0.0) -> Camera:
    """A camera at ``eye`` that looks at ``target``.

    Args:
        eye: (3,) metres.
        target: (3,) metres; lands in the middle of the image.
        size: ``(height, width)`` pixels.
        focal: Focal length in units of the image's longer side.
        up: (3,) the world's up.
        roll: Degrees, as in `view_rotation`.

    Raises:
        ValueError: ``eye`` is ``target``, or the camera looks along ``up``.
    """
    eye, target, up = (np.asarray(v, np.float64) for v in (eye, target, up))
    forward = target - eye
    right = np.cross(forward, up)
    if np.linalg.norm(right) < 1e-9:
        raise ValueError(f'no view from {eye.tolist()} to {target.tolist()} with up {up.tolist()}: they are in line')
    forward, right = forward / np.linalg.norm(forward), right / np.linalg.norm(right)
    down = np.cross(forward, right)
    r = np.radians(roll)
    turned = np.cos(r) * right + np.sin(r) * down
    rotation = np.stack([turned, np.cross(forward, turned), forward])
    return Camera(intrinsics_of(focal, size), rotation, -rotation @ eye, *size)


def frame_box(points: np.ndarray, size: tuple, focal: float, margin: float = 0.06, azimuth: float = 0.0,
              elevation: float = 0.0, roll: float = 0.0, near: float = 0.1) -> Camera:
    """The nearest camera of given direction and focal length that sees all points: they fill the image.

    The points touch two opposite edges of the image (less the margin) and are centred between the other two.
    The answer is exact, also for points at different distances.

    Args:
        points: (N, 3) metres: corners of a box or vertices of a mesh.
        size: ``(height, width)`` pixels.
        focal: Focal length in units of the image's longer side.
        margin: Share of the width and height left free on each side, below 0.5. Negative crops.
        azimuth: Degrees, see `view_rotation`.
        elevation: Degrees, see `view_rotation`.
        roll: Degrees, see `view_rotation`.
        near: Metres that the nearest point keeps from the camera.

    Raises:
        ValueError: No points, points that are not finite, or a margin that leaves no image.
    """
    points = np.asarray(points, np.float64).reshape(-1, 3)
    if len(points) == 0 or not np.isfinite(points).all():
        raise ValueError(f'cannot frame {len(points)} points: at least one is needed, all of them finite')
    if not margin < 0.5:
        raise ValueError(f'a margin of {margin} on each side leaves no image; give less than 0.5')
    intrinsics = intrinsics_of(focal, size)
    rotation = view_rotation(azimuth, elevation, roll)
    local = points @ rotation.T
    half = np.array(size[::-1], np.float64) / 2 * (1 - 2 * margin) / intrinsics[0, 0]
    # A point is inside when |x - cx| <= half * (z - cz): one bound on the camera's (cx, cz) from either side.
    high = (local[:, :2] - half * local[:, 2:]).max(axis=0)
    low = (-local[:, :2] - half * local[:, 2:]).max(axis=0)
    z = min((-(high + low) / (2 * half)).min(), local[:, 2].min() - near)
    centre = np.append(((high + half * z) - (low + half * z)) / 2, z)
    return Camera(intrinsics, rotation, -centre, *size)
