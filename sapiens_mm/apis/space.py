"""Points in space from the depth of people, which has no scale: what is given, fitted or assumed."""
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ..formats.mesh import Surface
from ..names import DEPTH_ALIGNMENTS
from ..utils.alignment import align_depth, fit_depth
from ..utils.text import first_line
from ..visualization.maps import depth_limits

#: Without a reference or a range, the largest person has this size in meters, and people this depth.
PERSON_SIZE, PERSON_DEPTH = 1.7, .4
#: Without a focal length or a field of view, the focal length is the image's longer side: 53 degrees.
_FOV = 2 * math.degrees(math.atan(.5))
#: Limits of depth in meters, and least depth of people by a reference.
_NEAR, _FAR, _LEAST = .1, 100., 1e-3
#: Least number of pixels that a scale and a shift are fitted to.
_LEAST_PIXELS = 10


class ReferenceProblem(OSError, ValueError):
    """A reference that is missing, cannot be read, or does not fit; the input counts as not written."""


@dataclass(frozen=True)
class Space:
    """How depth without scale becomes meters; raises a ValueError for invalid or conflicting values.

    Attributes:
        focal: Focal length in pixels.
        fov: Instead, the field of view in degrees over the longer side; by default 53.
        depth_range: Meters from the camera to the nearest and the farthest 1 per cent of people's pixels.
        reference: Instead, true depth in meters: a ``.npy`` file (H, W) of the image's size, or a folder of such files
            by output names (``a.jpg.npy``). Values that are not finite or not above 0 do not count. By default the
            largest person is 1.7 m high or wide, and people are 0.4 m deep.
        alignment: How the reference is fitted on people, one of :data:`~sapiens_mm.names.DEPTH_ALIGNMENTS`.
        per_frame_scale: Whether each frame of a video has its own scale; by default all have the median one.
    """
    focal: float | None = None
    fov: float | None = None
    depth_range: tuple[float, float] | None = None
    reference: str | os.PathLike | None = None
    alignment: str = DEPTH_ALIGNMENTS[0]
    per_frame_scale: bool = False

    def __post_init__(self):
        if self.focal is not None and self.fov is not None:
            raise ValueError(f'focal, fov: got {self.focal} and {self.fov}, expected at most one of them')
        if self.depth_range is not None and self.reference is not None:
            raise ValueError(f'depth_range, reference: got {self.depth_range} and {self.reference}, expected at most '
                             'one of them')
        if self.focal is not None and not 0 < self.focal < math.inf:
            raise ValueError(f'focal: got {self.focal}, expected a number of pixels above 0')
        if self.fov is not None and not 0 < self.fov < 180:
            raise ValueError(f'fov: got {self.fov}, expected degrees between 0 and 180')
        if self.depth_range is not None and not _NEAR <= self.depth_range[0] < self.depth_range[-1] <= _FAR:
            raise ValueError(f'depth_range: got {self.depth_range}, expected two numbers of meters, the nearer one '
                             f'first, from {_NEAR} to {_FAR:g}')
        if self.alignment not in DEPTH_ALIGNMENTS:
            raise ValueError(f"alignment: got '{self.alignment}', expected one of {', '.join(DEPTH_ALIGNMENTS)}")
        if self.reference is not None and not os.path.exists(self.reference):
            raise ValueError(f'reference: got {self.reference}, which does not exist, expected a .npy file or a folder')

    def describe(self) -> dict:
        return {**asdict(self), 'reference': None if self.reference is None else os.fspath(self.reference)}

    def fit(self, depth: np.ndarray, owner: np.ndarray, name: str = '') -> 'Fit | None':
        """Returns the scale of people's depth (H, W), None without people.

        ``owner`` (H, W) is the number of the person, -1 off people; ``name`` is that of the output. Raises a
        :class:`ReferenceProblem`, an OSError and ValueError.
        """
        people = (owner >= 0) & np.isfinite(depth)
        limits = depth_limits(depth, people)
        if limits is None:
            return None
        side, fov = max(depth.shape), _FOV if self.fov is None else self.fov
        focal = side / 2 / math.tan(math.radians(fov) / 2) if self.focal is None else float(self.focal)
        notes = dict(
            units='meters', axes='x right, y up, z to the viewer; the camera is at 0', focal_length=round(focal, 3),
            focal_length_from='given' if self.focal is not None else
            f'field of view of {fov:.4g} degrees, {"assumed" if self.fov is None else "given"}')
        if self.reference is not None:
            return self._fit_reference(self.reference_of(name), depth, people, focal, notes)
        near, far = self.depth_range or _assumed_range(owner, focal)
        notes |= dict(depth_from=f'range from {near:.4g} to {far:.4g} meters, ' + (
            'given' if self.depth_range else f'assumed: the largest person measures {PERSON_SIZE} meters, and people '
            f'are {PERSON_DEPTH} meters deep'))
        spread = limits[1] - limits[0]
        scale = (far - near) / spread if spread > 1e-6 * abs(limits[1]) else 0.
        return Fit(focal, scale, near - scale * limits[0] if scale else (near + far) / 2, 'scale-shift', notes)

    def reference_of(self, name: str) -> Path:
        """Returns the path of the reference of an output."""
        path = Path(self.reference)
        return path / f'{name}.npy' if path.is_dir() else path

    def _fit_reference(self, path: Path, depth, people, focal: float, notes: dict) -> 'Fit':
        true = read_reference(path, depth.shape)
        people = people & (true >= _NEAR) & (true <= _FAR)  # not NaN
        if people.sum() < _LEAST_PIXELS:
            raise ReferenceProblem(f'reference {path}: got {people.sum()} pixels of people from {_NEAR} to {_FAR:g} '
                                   f'meters, expected at least {_LEAST_PIXELS}')
        p = depth[people].astype(np.float64)
        scale, shift, swapped = fit_depth(p, true[people].astype(np.float64), self.alignment)
        fit = Fit(focal, scale, shift, self.alignment, notes)
        spread = np.ptp(fit.meters(np.percentile(p, (1, 99))))
        if swapped or not spread >= _LEAST:
            raise ReferenceProblem(
                f'reference {path}: got a scale of {scale:.3g}, by which people are {spread:.2g} meters deep'
                f'{" and inside out" if swapped else ""}, expected depth in meters of the same image')
        return replace(fit, notes={**notes, 'depth_from': f'{self.alignment} fitted on people to {path.name}'})


def _assumed_range(owner: np.ndarray, focal: float) -> tuple[float, float]:
    pixels = max(np.ptp(axis) + 1 for person in np.unique(owner[owner >= 0]) for axis in np.nonzero(owner == person))
    middle = max(focal * PERSON_SIZE / pixels, _NEAR + PERSON_DEPTH / 2)
    return middle - PERSON_DEPTH / 2, middle + PERSON_DEPTH / 2


def read_reference(path: str | os.PathLike, size: tuple[int, int]) -> np.ndarray:
    """Reads true depth (H, W) in meters; raises a :class:`ReferenceProblem`."""
    try:
        true = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ReferenceProblem(f'reference {path}: got {first_line(error)}, expected a .npy array') from error
    if not isinstance(true, np.ndarray) or true.shape != size or true.dtype.kind not in 'fiu':
        got = f'{true.dtype} {true.shape}' if isinstance(true, np.ndarray) else 'several arrays'
        raise ReferenceProblem(f'reference {path}: got {got}, expected numbers {size}, the size of the image')
    return true


@dataclass(frozen=True)
class Fit:
    """Scale and camera of depth in an image or a video.

    Attributes:
        focal: Pixels; the principal point is the image's center.
        scale, shift, alignment: See :func:`~sapiens_mm.utils.alignment.align_depth`.
        notes: What was given, fitted or assumed, JSON values.
    """
    focal: float
    scale: float
    shift: float
    alignment: str
    notes: dict

    def meters(self, depth: np.ndarray) -> np.ndarray:
        return align_depth(depth.astype(np.float64), self.scale, self.shift, self.alignment, _NEAR, _FAR)

    def points(self, depth: np.ndarray) -> np.ndarray:
        """Returns (H, W, 3) float32 points of depth (H, W) in meters and glTF's axes."""
        z = self.meters(depth)
        height, width = depth.shape
        x, y = np.arange(width) - (width - 1) / 2, np.arange(height)[:, None] - (height - 1) / 2
        return np.stack([x * z / self.focal, -y * z / self.focal, -z], axis=-1).astype(np.float32)


def median_fit(fits: Sequence[Fit]) -> Fit:
    """Returns the fit of medians of the numbers, with the notes of the first."""
    numbers = (float(np.median([getattr(fit, name) for fit in fits])) for name in ('focal', 'scale', 'shift'))
    notes = {**fits[0].notes, 'scale_of': f'median of {len(fits)} frames'}
    return Fit(*numbers, fits[0].alignment, notes)


def surface(fit: Fit | None, depth: np.ndarray, owner: np.ndarray, image: np.ndarray, normals: np.ndarray | None
            ) -> Surface:
    """Returns people's surface; without a fit nobody's. Arrays are (H, W, ...), see :class:`Surface`."""
    if fit is None:
        notes = dict(units='meters', depth_from='nothing: no people')
        return Surface(np.zeros((*owner.shape, 3), np.float32), np.full(owner.shape, -1), image, normals, notes)
    return Surface(fit.points(depth), np.where(np.isfinite(depth), owner, -1), image, normals,
                   {**fit.notes, 'scale': fit.scale, 'shift': fit.shift})


class Shot:
    """Frames of a video that wait on disk until all of them have been fitted."""

    def __init__(self, space: Space):
        self.space = space
        self._folder = TemporaryDirectory(prefix='sapiens_mm_')
        self._names: list[str] = []
        self._fits: list[Fit] = []
        self._people = False

    def add(self, name: str, depth: np.ndarray, owner: np.ndarray, image: np.ndarray, normals: np.ndarray | None
            ) -> None:
        """Adds a frame; see :func:`surface`. Raises errors as :meth:`Space.fit`.

        A frame without a reference in a folder of them has the scale of the others.
        """
        if self.space.reference is None or self.space.reference_of(name).exists():
            fit = self.space.fit(depth, owner, name)
            self._fits += [] if fit is None else [fit]
        people = owner >= 0
        self._people |= bool(people.any())
        arrays = dict(depth=depth, image=image) | ({} if normals is None else dict(normals=normals))
        np.savez_compressed(self._path(len(self._names)), owner=owner, **{
            key: np.where(people if array.ndim == 2 else people[..., None], array, 0).astype(array.dtype)
            for key, array in arrays.items()})
        self._names.append(name)

    def _path(self, number: int) -> str:
        return os.path.join(self._folder.name, f'{number:06d}.npz')

    def finish(self) -> Iterator[tuple[str, Surface]]:
        """Yields the name and the surface of each frame, all of one scale, and removes the frames.

        Raises a :class:`ReferenceProblem` if no frame has a reference.
        """
        with self._folder:
            if not self._fits and self._people:
                raise ReferenceProblem(f'reference {self.space.reference}: got none of {self._names[0]} and other '
                                       'frames, expected at least one')
            fit = median_fit(self._fits) if self._fits else None
            for number, name in enumerate(self._names):
                with np.load(self._path(number)) as arrays:
                    yield name, surface(fit, arrays['depth'], arrays['owner'], arrays['image'], arrays.get('normals'))
