"""Images and exact label buffers of triangle meshes, rendered by Mitsuba 3 (variant ``scalar_rgb``).

The same meshes are rendered in two scenes. For the image, each of `samples` rays per pixel is lit by a random point of
a light (direct light only, see `lights.emitters`), a box filter averages them, and a denoiser may clean them. For the
labels, every triangle emits a color that encodes its number, which one ray through the center of each pixel reads
(Mitsuba's integrator for indices takes ten times as long). Depth and normal are then computed in float64 from that
triangle and the camera, so that they are exact at the pixel's center.

The bytes depend only on the arguments, not on the number of threads or processes: blocks of pixels have a fixed size,
and with a box filter every pixel belongs to one block.
"""
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from ..vocabularies.body_parts import BODY_PARTS_28, PART_IDS
from .camera import Camera
from .color import to_linear, to_srgb
from .denoise import denoise
from .extra import mitsuba
from .lights import emitters, panel
from .mesh import cross
from .scene import BLOCK, NEAR, check_meshes, glowing_shape, sensor, shape, speck, trace

#: Pixels per batch of label computation, so that 4K images do not take gigabytes.
CHUNK = 1 << 18
#: Offset in pixels of the second ray, see `_close_holes`: more than the errors of float32 rays (1e-4).
ASIDE = np.array([1.7e-3, -1.3e-3])
#: Largest distance in pixels of the second ray's triangle from the center.
ON_CENTER = 5e-4
#: Linear brightness that exposure leaves nearly all pixels of the persons below.
BRIGHT = 0.8
#: The same for bare skin; light skin in full white light has a brightness of 0.56.
BRIGHT_SKIN = 0.55
#: Classes of bare skin among the 28 body parts.
SKIN = [PART_IDS[name] for name, _ in BODY_PARTS_28 if name.split('_')[-1] in ('Neck', 'Foot', 'Hand', 'Arm', 'Leg',
                                                                             'Torso')]
#: Weights of linear RGB in brightness.
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
#: Share of the light's color that is balanced, as a power: the rest stays, as in photos.
WHITENESS = 0.65
#: Brightness of the brightest channel up to which images are linear.
SHOULDER = 0.6


@dataclass
class Buffers:
    """Arrays of one rendering, all of the image's height and width.

    Attributes:
        rgb: (H, W, 3) uint8 sRGB in RGB order; None from `label_buffers`, as is alpha.
        alpha: (H, W) float32 share of a pixel's rays that hit a mesh (without a backdrop: or a light).
        depth: (H, W) float32 meters along the optical axis at the pixel's center, 0 without a mesh.
        normal: (H, W, 3) float32 unit normals in the camera's frame: x right, y up, z to the viewer; 0 without a mesh.
        instance, part: (H, W) uint8: the person's number from 1, and class of 28 body parts; 0 for everything else.
        mesh, face: (H, W) int32 index of the mesh in the list and of the face in the mesh, -1 for none.
        seconds: Duration of each stage: ``scene``, ``labels``, ``rgb``.
    """
    rgb: np.ndarray | None
    alpha: np.ndarray | None
    depth: np.ndarray
    normal: np.ndarray
    instance: np.ndarray
    part: np.ndarray
    mesh: np.ndarray
    face: np.ndarray
    seconds: dict = field(default_factory=dict)

    @property
    def person(self) -> np.ndarray:
        """(H, W) bool: a person is visible."""
        return self.instance > 0

    def person_depth(self) -> np.ndarray:
        """Returns (H, W) float32 depth on persons, 0 elsewhere: the label of the depth task."""
        return np.where(self.person, self.depth, np.float32(0))

    def person_normal(self) -> np.ndarray:
        """Returns (H, W, 3) float32 normals on persons, 0 elsewhere: the label of the normal task."""
        return np.where(self.person[..., None], self.normal, np.float32(0))


def render(meshes: list, camera: Camera, lights: list, *, samples: int = 16, seed: int = 0,
           backdrop: np.ndarray | None = None, key: float = 0.3, denoised: bool = False) -> Buffers:
    """Renders an image of meshes with its labels.

    Args:
        meshes: `Mesh` objects in the world (meters, z up).
        camera: A camera with square pixels.
        lights: At least one, see `lights.emitters`.
        samples: Rays per pixel, at least 1; rounded up to a product of two similar numbers.
        seed: 0 to 2**32 - 1. The same arguments and seed give the same bytes.
        backdrop: (H, W, 3) uint8 sRGB behind the meshes, unlit and blended in linear light; None: the environment.
        key: Exposure: mean linear brightness of the persons, 0 to 1, see `expose`.
        denoised: Whether to remove the noise of few samples, see `denoise.denoise`. Labels do not depend on it.

    Raises:
        MissingExtra: Mitsuba is not installed.
        ValueError: There are no lights, a mesh is broken, or backdrop, camera, samples or seed are invalid.
    """
    if samples < 1:
        raise ValueError(f'samples per pixel: got {samples}, expected at least 1')
    if not 0 <= seed < 2**32:
        raise ValueError(f'seed: got {seed}, expected 0 to 2**32 - 1')
    if not lights:
        raise ValueError('lights: got none, expected at least one')
    if abs(camera.intrinsics[0, 0] / camera.intrinsics[1, 1] - 1) > 1e-6:
        raise ValueError(f'focal lengths: got {camera.intrinsics[0, 0]}, {camera.intrinsics[1, 1]}, expected square '
                         'pixels; only label_buffers() takes others')
    if backdrop is not None and (backdrop.shape != (camera.height, camera.width, 3) or backdrop.dtype != np.uint8):
        raise ValueError(f'backdrop: got {backdrop.dtype} {backdrop.shape}, expected uint8 '
                         f'{(camera.height, camera.width, 3)}')
    start = time.perf_counter()
    mi = mitsuba()
    check_meshes(meshes)
    shapes = {f'mesh{i:05d}': shape(mesh) for i, mesh in enumerate(meshes) if len(mesh.faces)}
    shining = {f'light{i:03d}': light for i, light in enumerate(emitters(lights, meshes, camera))}
    scene = mi.load_dict(dict(type='scene', speck=speck(), **shapes, **shining), optimize=False)
    built = time.perf_counter()
    # Lamps are invisible in front of a backdrop.
    panels = [panel(light) for light in lights if light['type'] == 'panel' and backdrop is None]
    buffers, shares = _labels(meshes, camera, [mesh.vertices for mesh in meshes], camera, panels)
    labeled = time.perf_counter()
    # A second ray in the direction of reflection would halve the noise, and double the time.
    integrator = mi.load_dict(dict(type='direct', emitter_samples=1, bsdf_samples=0, block_size=BLOCK,
                                   hide_emitters=backdrop is not None))
    # spp=0: the sampler's number.
    image = np.array(mi.render(scene, sensor=sensor(camera, samples), integrator=integrator, spp=0, seed=seed))
    buffers.alpha = np.clip(image[..., 3], 0, 1).astype(np.float32)
    albedo = _albedo(meshes, buffers, shares)
    linear = balance(image[..., :3], buffers, albedo)
    if denoised:
        linear = denoise(_scaled(linear, buffers, key), albedo, buffers.normal)
        if backdrop is not None:
            linear[buffers.alpha == 0] = 0  # the backdrop keeps its bytes
    linear = expose(linear, buffers, key)
    if backdrop is not None:
        linear = linear + (1 - buffers.alpha[..., None]) * to_linear(backdrop)
    buffers.rgb = to_srgb(linear)
    buffers.seconds = dict(scene=built - start, labels=labeled - built, rgb=time.perf_counter() - labeled)
    return buffers


def label_buffers(meshes: list, camera: Camera) -> Buffers:
    """Renders only the labels, for scans over real photos; pixels need not be square."""
    start = time.perf_counter()
    check_meshes(meshes)
    # Mitsuba's pixels are square: squeeze the world along the camera's x instead, with the camera at the origin.
    fx, fy = camera.intrinsics[0, 0], camera.intrinsics[1, 1]
    squeeze = np.array([fx / fy, 1.0, 1.0])
    squared = Camera(np.array([[fy, 0, camera.intrinsics[0, 2]], [0, fy, camera.intrinsics[1, 2]], [0, 0, 1]]),
                     np.eye(3), np.zeros(3), camera.height, camera.width)
    buffers, _ = _labels(meshes, camera, [camera.transform(mesh.vertices) * squeeze for mesh in meshes], squared)
    buffers.seconds = dict(labels=time.perf_counter() - start)
    return buffers


class _Joined:
    def __init__(self, meshes: list, camera: Camera):
        self.camera = camera
        first = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
        none = np.zeros((0, 3), int)
        self.faces = np.concatenate([none, *[mesh.faces + start for mesh, start in zip(meshes, first)]])
        self.vertices = camera.transform(np.concatenate([none, *[mesh.vertices for mesh in meshes]]))
        self.normals = np.concatenate([none, *[np.zeros_like(mesh.vertices) if mesh.normals is None else mesh.normals
                                               for mesh in meshes]]) @ camera.rotation.T
        self.starts = np.cumsum([0, *[len(mesh.faces) for mesh in meshes]])

    def evaluate(self, at: tuple, number: np.ndarray) -> tuple:
        """Evaluates the faces ``number`` (N,) at pixels (rows, columns).

        Returns (N,) depths, (N, 3) normals, (N,) offsets in pixels, and (N, 3) barycentric coordinates.
        """
        depth, normal, off, shares = (np.zeros((len(number), *shape)) for shape in ((), (3, ), (), (3, )))
        for begin in range(0, len(number), CHUNK):
            piece = slice(begin, begin + CHUNK)
            rays = self.camera.rays(np.stack([at[1][piece], at[0][piece]], axis=1))
            corners = self.faces[number[piece]]
            points, normal[piece], shares[piece] = surface(self.vertices[corners], self.normals[corners], rays)
            depth[piece] = points[:, 2]
            with np.errstate(divide='ignore', invalid='ignore'):
                miss = (points[:, :2] / points[:, 2:] - rays[:, :2]) * np.diag(self.camera.intrinsics)[:2]
            off[piece] = np.nan_to_num(np.linalg.norm(miss, axis=1), nan=np.inf)
        return depth, normal, off, shares


def _labels(meshes: list, camera: Camera, places: list, view: Camera, panels: Sequence[dict] = ()) -> tuple:
    """Finds the triangle at each pixel with Mitsuba (vertices ``places`` of each mesh), and computes the labels.

    Returns `Buffers` and (H, W, 3) float32 barycentric coordinates.
    """
    joined = _Joined(meshes, camera)
    shapes, glowing = {}, None
    if len(joined.faces):
        shapes['meshes'] = glowing = glowing_shape(meshes, np.concatenate(places), joined.faces, view.center)
    shapes |= {f'panel{i:03d}': {key: value for key, value in panel.items() if key != 'emitter'}
               for i, panel in enumerate(panels)}
    scene = mitsuba().load_dict(dict(type='scene', speck=speck(), **shapes), optimize=False)

    color = trace(scene, view, 'path', max_depth=1)
    hit = color[..., 2] > 0
    mesh, face = (np.where(hit, np.rint(color[..., i]).astype(np.int32), -1) for i in (1, 0))
    depth, normal = np.zeros(mesh.shape), np.zeros((*mesh.shape, 3))
    shares = np.zeros((*mesh.shape, 3), np.float32)
    at = np.nonzero(hit)
    depth[at], normal[at], _, shares[at] = joined.evaluate(at, joined.starts[mesh[at]] + face[at])
    _close_holes(joined, view, scene, glowing, mesh, face, depth, normal, shares)

    instance, part, hit = np.zeros(mesh.shape, np.uint8), np.zeros(mesh.shape, np.uint8), mesh >= 0
    if hit.any():
        instance[hit] = np.array([one.instance for one in meshes])[mesh[hit]]
        part[hit] = np.concatenate([one.parts for one in meshes])[joined.starts[mesh[hit]] + face[hit]]
    _refine_parts(part, meshes, mesh, face, shares)
    return Buffers(None, None, depth.astype(np.float32), normal.astype(np.float32), instance, part, mesh, face), shares


def _refine_parts(part: np.ndarray, meshes: list, mesh, face, shares) -> None:
    """Corrects in place the classes on faces that a border between parts crosses, see `Mesh.part_weights`."""
    for number, one in enumerate(meshes):
        if one.part_weights is None:
            continue
        at = np.nonzero(mesh == number)
        corners = one.faces[face[at]]
        classes = one.part_weights.argmax(axis=1)[corners]
        crossed = (classes != classes[:, :1]).any(axis=1)
        at = at[0][crossed], at[1][crossed]
        part[at] = np.einsum('ni,nij->nj', shares[at], one.part_weights[corners[crossed]]).argmax(axis=1)


def _close_holes(joined: _Joined, view: Camera, scene, glowing, mesh, face, depth, normal, shares) -> None:
    """Corrects in place the pixels whose ray passed between two triangles.

    Mitsuba's intersections are not watertight: a ray very close to an edge sometimes (one pixel in 10,000 to 400,000)
    hits the surface behind. A second ray beside each measures depth; a nearer triangle that covers the pixel's center
    replaces the first.
    """
    intrinsics = view.intrinsics.copy()
    intrinsics[:2, 2] -= ASIDE
    beside = Camera(intrinsics, view.rotation, view.translation, view.height, view.width)
    length = trace(scene, beside, 'depth')[..., 0]
    rays = beside.rays(np.stack(np.meshgrid(np.arange(view.width), np.arange(view.height)), -1).reshape(-1, 2))
    # Mitsuba measures along the ray, from the near plane on.
    near = length / np.linalg.norm(rays, axis=1).reshape(length.shape) + NEAR
    rows, columns = np.nonzero((length > 0) & ((mesh < 0) | (near < depth * (1 - 1e-4))))
    number = np.full(len(rows), -1)
    mi = mitsuba()
    for k, direction in enumerate(rays[rows * view.width + columns]):
        direction = beside.rotation.T @ direction
        met = scene.ray_intersect(mi.Ray3f(beside.center.tolist(), (direction / np.linalg.norm(direction)).tolist()))
        if met.is_valid() and met.shape == glowing:
            number[k] = met.prim_index
    at, number = (rows[number >= 0], columns[number >= 0]), number[number >= 0]
    z, turned, off, inside = joined.evaluate(at, number)
    better = (off < ON_CENTER) & ((mesh[at] < 0) | (z < depth[at]))
    at, number = (at[0][better], at[1][better]), number[better]
    mesh[at] = np.searchsorted(joined.starts, number, side='right') - 1
    face[at] = number - joined.starts[mesh[at]]
    depth[at], normal[at], shares[at] = z[better], turned[better], inside[better]


def _albedo(meshes: list, buffers: Buffers, shares: np.ndarray) -> np.ndarray:
    """Returns (H, W, 3) float32 linear colors of the surfaces at the pixels' centers, 0 without a mesh.

    Mitsuba's integrator for them takes ten times as long as the whole image.
    """
    out = np.zeros((*buffers.mesh.shape, 3), np.float32)
    for number, mesh in enumerate(meshes):
        at = np.nonzero(buffers.mesh == number)
        if np.ndim(mesh.albedo) == 1:
            out[at] = mesh.albedo
        elif len(at[0]):
            corners = mesh.uv[mesh.faces[buffers.face[at]]]
            out[at] = texels(mesh.albedo, np.einsum('ni,nij->nj', shares[at], corners))
    return out


def texels(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Returns (N, 3) float64 linear colors of a texture (h, w, 3) uint8 sRGB, repeated, at (N, 2) coordinates, v up."""
    height, width = texture.shape[:2]
    places = (uv % 1 * [1, -1] + [0, 1]) * [width, height] - 0.5
    # OpenCV's images have at most 32767 rows and columns.
    rows = np.pad(places, ((0, -len(places) % 4096), (0, 0))).reshape(-1, 4096, 2).astype(np.float32)
    colors = cv2.remap(texture, rows, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return to_linear(colors.reshape(-1, 3)[:len(uv)])


def surface(corners: np.ndarray, normals: np.ndarray, rays: np.ndarray) -> tuple:
    """Intersects each ray from the origin with its triangle, in the camera's frame (x right, y down, z forward).

    Args:
        corners, normals: (N, 3, 3) float64 corners in meters, and their normals, 0 for flat triangles.
        rays: (N, 3) float64 directions with z = 1.
    Returns (N, 3) float64 points, always on the triangle; (N, 3) float64 unit normals that face the viewer (x right,
    y up, z to the viewer): the smooth normal, or the triangle's for flat ones; and (N, 3) barycentric coordinates.
    """
    flat = cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    # Barycentric coordinates: volumes of the ray with each edge.
    shares = np.stack([np.einsum('ni,ni->n', rays, cross(corners[:, (i + 1) % 3], corners[:, (i + 2) % 3]))
                       for i in range(3)], axis=1)
    total = shares.sum(axis=1, keepdims=True)
    with np.errstate(divide='ignore', invalid='ignore'):
        shares = np.where(np.abs(total) > 1e-30, shares / total, 1 / 3)
    # The renderer's rays are float32: at an edge they may have met a triangle that these just miss.
    shares = np.clip(shares, 0, 1)
    shares /= shares.sum(axis=1, keepdims=True)
    points = np.einsum('ni,nij->nj', shares, corners)

    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-30)
    # Turn over the normals of triangles seen from behind.
    over = np.where(np.sign(np.einsum('ni,ni->n', flat, rays))[:, None] > 0, -1.0, 1.0)
    smooth = np.einsum('ni,nij->nj', shares, normals) * over
    length = np.linalg.norm(smooth, axis=1, keepdims=True)
    good = (length[:, 0] > 1e-6) & (np.einsum('ni,ni->n', smooth, rays) < 0)
    flat = np.where(good[:, None], smooth / np.maximum(length, 1e-6), flat * over)
    return points, flat * [1.0, -1.0, -1.0], shares


def balance(linear: np.ndarray, buffers: Buffers, albedo: np.ndarray) -> np.ndarray:
    """Scales the channels of (H, W, 3) radiance to nearly white light on bare skin (else persons, else meshes).

    Skin in the shade, lit by the blue sky alone, would be gray otherwise.

    Args:
        albedo: (H, W, 3) linear colors of the surfaces.
    """
    skin = buffers.person & np.isin(buffers.part, SKIN)
    chosen = next((one for one in (skin, buffers.person) if one.any()), buffers.mesh >= 0)
    seen, own = np.nan_to_num(linear[chosen], posinf=0.0).astype(float), albedo[chosen].astype(float)
    # A pixel has one weight for all channels: a bright cyan hat above a face in its shade is no sign of cyan light.
    light = (seen / np.maximum(own, 0.01) * own.min(axis=1, keepdims=True)).sum(axis=0)
    if not (light > 0).all():
        return linear
    return linear * np.clip((light @ LUMINANCE / light)**WHITENESS, 0.5, 2.0).astype(np.float32)


def expose(linear: np.ndarray, buffers: Buffers, key: float) -> np.ndarray:
    """Scales (H, W, 3) radiance so that the geometric mean brightness of the persons (else the meshes) is ``key``.

    The scale is lower if more than a twentieth of their pixels would exceed :data:`BRIGHT`, or a twentieth of those of
    bare skin :data:`BRIGHT_SKIN`. Values above
    :data:`SHOULDER` are compressed and keep their hue, so that a sky ten times as bright as the people stays blue.
    """
    linear = _scaled(linear, buffers, key)
    top = linear.max(axis=-1, keepdims=True)
    over = np.maximum(top - SHOULDER, 0) / (1 - SHOULDER)
    return linear * np.where(over > 0, (SHOULDER + (1 - SHOULDER) * over / (1 + over)) / np.maximum(top, SHOULDER), 1)


def _scaled(linear: np.ndarray, buffers: Buffers, key: float) -> np.ndarray:
    brightness = np.maximum(linear, 0) @ LUMINANCE
    chosen = buffers.person if buffers.person.any() else buffers.mesh >= 0
    values = brightness[chosen] if chosen.any() else brightness.ravel()
    values = values[np.isfinite(values)]
    scale = 1.0
    if len(values) and values.max() > 0:
        scale = key / np.exp(np.log(values + 1e-4 * values.max()).mean())
        # Faces above dark clothes keep their exposure.
        skin = brightness[buffers.person & np.isin(buffers.part, SKIN)]
        for some, limit in ((values, BRIGHT), (skin[np.isfinite(skin)], BRIGHT_SKIN)):
            if len(some):
                scale = min(scale, limit / max(np.quantile(some, 0.95), 1e-12))
    return np.nan_to_num(linear * scale, nan=0.0, posinf=10.0, neginf=0.0)
