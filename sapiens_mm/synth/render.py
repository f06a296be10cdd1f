"""Pictures and exact label buffers of triangle meshes, by Mitsuba 3 (variant ``scalar_rgb``).

Two scenes of the same meshes. The picture: `samples` rays per pixel, each lit by a random point of a light (direct
light only, see `emitters`), and a box filter. The labels: every triangle glows in a colour that is its number, and one
ray through the centre of each pixel reads it (Mitsuba's own integrator for indices takes ten times as long); depth and
normal are then computed in float64 from that triangle and the camera, so that they hold at the pixel's centre. (A
second ray, beside it by a thousandth of a pixel, closes the holes that float32 rays find between triangles: see
`_labels`.)

The bytes depend on the arguments alone, not on the number of threads or processes: blocks of pixels have a fixed
size (left alone, Mitsuba chooses it by the number of threads, and each block has a seed of its own), and the box filter
gives every pixel to one block (wider filters add up blocks in the order in which threads finish).
"""
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .camera import Camera
from .color import to_linear, to_srgb
from .extra import needs_extra
from .mesh import Mesh, cross, face_normals

#: Pixels on a side of a block, fixed: see above.
BLOCK = 16
#: A pixel's labels are computed this many at a time, so that 4K images do not take gigabytes.
CHUNK = 1 << 18
#: Pixels that the second ray lies off the centre: more than the errors of float32 rays (1e-4), less than matters.
ASIDE = np.array([1.7e-3, -1.3e-3])
#: Pixels that the second ray's triangle may be off the centre to count as hit there.
ON_CENTRE = 5e-4
#: Metres: nothing nearer is seen.
NEAR = 0.01
#: Linear brightness that exposure leaves nearly all pixels of the persons below.
BRIGHT = 0.8
#: Of the brightest channel: up to here pictures are linear.
SHOULDER = 0.6
#: Rays in a row of which the even light gets what lamps leave, each of them one: see `emitters`.
ROUND = 4
#: Directions along and across the map of a sky.
SKY_SIZE = 64
#: Metres to the sun, and its radius in radians (half of Mitsuba's 0.5358 degrees).
SUN_DISTANCE, SUN_RADIUS = 2e4, np.radians(0.5358 / 2)
#: Face indices travel through a float32 image.
MAX_FACES = 1 << 24


@dataclass
class Buffers:
    """What one rendering gives; all arrays share the image's height and width.

    Attributes:
        rgb: (H, W, 3) uint8 sRGB in RGB order; None from `label_buffers`.
        alpha: (H, W) float32 of 0..1: the share of a pixel's rays that met a mesh (without a backdrop: or a lamp, or
            even light); None from `label_buffers`.
        depth: (H, W) float32 metres along the optical axis, at the pixel's centre. 0 where no mesh is.
        normal: (H, W, 3) float32 unit normals in the camera's frame: x right, y up, z to the viewer. 0 where no mesh
            is.
        instance: (H, W) uint8: the person's number from 1; 0 for everything else.
        part: (H, W) uint8: class among the 28 body parts; 0 for everything else.
        mesh: (H, W) int32 index into the list of meshes, -1 where none is.
        face: (H, W) int32 index into that mesh's faces, -1 where none is.
        seconds: What each stage took: ``scene``, ``labels``, ``rgb``.
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
        """(H, W) bool: a person is seen here."""
        return self.instance > 0

    def person_depth(self) -> np.ndarray:
        """(H, W) float32 depth on persons, 0 elsewhere: what the tasks are trained on and scored by."""
        return np.where(self.person, self.depth, np.float32(0))

    def person_normal(self) -> np.ndarray:
        """(H, W, 3) float32 normals on persons, 0 elsewhere."""
        return np.where(self.person[..., None], self.normal, np.float32(0))


def mitsuba():
    """The module ``mitsuba`` with the variant that needs no library beside it.

    Raises:
        MissingExtra: It is not installed.
    """
    with needs_extra('rendering'):
        import mitsuba as mi
    if mi.variant() != 'scalar_rgb':
        mi.set_variant('scalar_rgb')
        mi.set_log_level(mi.LogLevel.Error)
    return mi


def set_threads(threads: int):
    """How many threads this process renders with (by default as many as there are cores).

    A tool that starts one process per core gives each of them 1, so that they do not fight. The pictures do not change.
    """
    mitsuba()
    import drjit

    if threads < 1:
        raise ValueError(f'rendering needs at least 1 thread, not {threads}')
    drjit.set_thread_count(threads)


def read_hdri(path):
    """An environment picture as Mitsuba's bitmap."""
    mi = mitsuba()
    import drjit

    # Mitsuba's reader of .exr waits forever where there is a single thread (seen with 3.9.1).
    threads = drjit.thread_count()
    drjit.set_thread_count(max(2, threads))
    try:
        return mi.Bitmap(str(path))
    finally:
        drjit.set_thread_count(threads)


def render(meshes: list, camera: Camera, lights: list, *, samples: int = 16, seed: int = 0,
           backdrop: np.ndarray | None = None, key: float = 0.3) -> Buffers:
    """A picture of meshes with its labels.

    Args:
        meshes: `Mesh` objects in the world (metres, z up).
        camera: Where from; pixels must be square.
        lights: Light descriptions, see `emitters`; at least one.
        samples: Rays per pixel for the picture, at least 1; rounded up to a product of two similar numbers.
        seed: 0 .. 2**32 - 1. The same arguments and seed give the same bytes.
        backdrop: (H, W, 3) uint8 sRGB picture of the camera's size to put behind the meshes, or None to see the
            environment's light there. It is blended in linear light by each pixel's alpha, and not lit: a photo keeps
            its own pixels, free of noise, whatever the exposure of the meshes.
        key: Exposure: linear brightness 0..1 that the persons (without persons: all that is seen) get on
            (geometric) average, or less: see `expose`.

    Raises:
        MissingExtra: Mitsuba is not installed.
        ValueError: No lights, a mesh that is broken, a backdrop of another size, or non-square pixels.
    """
    if samples < 1:
        raise ValueError(f'samples per pixel must be at least 1, not {samples}')
    if not 0 <= seed < 2**32:
        raise ValueError(f'the seed must be in 0 .. 2**32 - 1, not {seed}')
    if not lights:
        raise ValueError('a picture without lights is black; give at least one light')
    if abs(camera.intrinsics[0, 0] / camera.intrinsics[1, 1] - 1) > 1e-6:
        raise ValueError(f'pictures need square pixels, but fx, fy are {camera.intrinsics[0, 0]}, '
                         f'{camera.intrinsics[1, 1]}; only label_buffers() takes such a camera')
    if backdrop is not None and (backdrop.shape != (camera.height, camera.width, 3) or backdrop.dtype != np.uint8):
        raise ValueError(f'the backdrop is {backdrop.dtype} {backdrop.shape}; expected uint8 '
                         f'{(camera.height, camera.width, 3)}')
    start = time.perf_counter()
    mi = mitsuba()
    check_meshes(meshes)
    shapes = {f'mesh{i:05d}': shape(mesh) for i, mesh in enumerate(meshes) if len(mesh.faces)}
    shining = {f'light{i:03d}': one for i, one in enumerate(emitters(lights, meshes, camera))}
    scene = mi.load_dict(dict(type='scene', speck=speck(), **shapes, **shining), optimize=False)
    built = time.perf_counter()
    # Behind a backdrop the lamps are not seen.
    panels = [panel(light) for light in lights if light['type'] == 'panel' and backdrop is None]
    buffers = _labels(meshes, camera, [mesh.vertices for mesh in meshes], camera, panels)
    labelled = time.perf_counter()
    # A second ray along what the surface reflects best would halve the noise, and double the time.
    integrator = mi.load_dict(dict(type='direct', emitter_samples=1, bsdf_samples=0, block_size=BLOCK,
                                   hide_emitters=backdrop is not None))
    # spp=0: as many as the sampler made of `samples`.
    image = np.array(mi.render(scene, sensor=sensor(camera, samples), integrator=integrator, spp=0, seed=seed))
    alpha = image[..., 3]
    buffers.alpha = np.clip(alpha, 0, 1).astype(np.float32)
    linear = expose(image[..., :3], buffers, key)
    if backdrop is not None:
        linear = linear + (1 - buffers.alpha[..., None]) * to_linear(backdrop)
    buffers.rgb = to_srgb(linear)
    buffers.seconds = dict(scene=built - start, labels=labelled - built, rgb=time.perf_counter() - labelled)
    return buffers


def label_buffers(meshes: list, camera: Camera) -> Buffers:
    """The labels alone, for scans over real photos; pixels need not be square.

    Args:
        meshes: `Mesh` objects in the world.
        camera: Where from.
    """
    start = time.perf_counter()
    check_meshes(meshes)
    # Mitsuba's pixels are square: squeeze the world along the camera's x instead. It then stands at the origin.
    fx, fy = camera.intrinsics[0, 0], camera.intrinsics[1, 1]
    squeeze = np.array([fx / fy, 1.0, 1.0])
    squared = Camera(np.array([[fy, 0, camera.intrinsics[0, 2]], [0, fy, camera.intrinsics[1, 2]], [0, 0, 1]]),
                     np.eye(3), np.zeros(3), camera.height, camera.width)
    buffers = _labels(meshes, camera, [camera.transform(mesh.vertices) * squeeze for mesh in meshes], squared)
    buffers.seconds = dict(labels=time.perf_counter() - start)
    return buffers


def check_meshes(meshes: list):
    """Refuses what would crash the renderer or give wrong labels.

    Raises:
        ValueError: It says which mesh, and what is wrong with it.
    """
    for i, mesh in enumerate(meshes):
        where = f'mesh {i} ({mesh.name!r})'
        v, f = mesh.vertices, mesh.faces
        if v.ndim != 2 or v.shape[1] != 3 or f.ndim != 2 or f.shape[1] != 3:
            raise ValueError(f'{where} has vertices {v.shape} and faces {f.shape}; expected (V, 3) and (F, 3)')
        if not np.isfinite(v).all():
            raise ValueError(f'{where} has vertices that are not finite')
        if len(f) and not (f.min() >= 0 and f.max() < len(v)):
            raise ValueError(f'{where} has faces of vertices {f.min()} .. {f.max()}, but only {len(v)} vertices')
        if len(f) >= MAX_FACES:
            raise ValueError(f'{where} has {len(f)} faces; at most {MAX_FACES - 1} can be told apart')
        if np.shape(mesh.parts) != (len(f),):
            raise ValueError(f'{where} has parts of shape {np.shape(mesh.parts)} for {len(f)} faces')
        if not 0 <= mesh.instance <= 255:
            raise ValueError(f'{where} is instance {mesh.instance}; labels hold 0 .. 255')
        if mesh.uv is not None and np.shape(mesh.uv) != (len(v), 2):
            raise ValueError(f'{where} has texture coordinates of shape {np.shape(mesh.uv)} for {len(v)} vertices')
        if mesh.normals is not None and np.shape(mesh.normals) != (len(v), 3):
            raise ValueError(f'{where} has normals of shape {np.shape(mesh.normals)} for {len(v)} vertices')


def shape(mesh: Mesh):
    """``mesh`` with its material as a shape of Mitsuba."""
    mi = mitsuba()
    properties = mi.Properties()
    properties['bsdf'] = mi.load_dict(material(mesh))
    made = mi.Mesh(mesh.name, len(mesh.vertices), len(mesh.faces), props=properties,
                   has_vertex_normals=mesh.normals is not None, has_vertex_texcoords=mesh.uv is not None)
    arrays = mi.traverse(made)
    arrays['vertex_positions'] = np.ascontiguousarray(mesh.vertices, np.float32).ravel()
    arrays['faces'] = np.ascontiguousarray(mesh.faces, np.uint32).ravel()
    if mesh.normals is not None:
        arrays['vertex_normals'] = np.ascontiguousarray(mesh.normals, np.float32).ravel()
    if mesh.uv is not None:
        # Mitsuba's textures have their first row at v = 0; here v points up.
        arrays['vertex_texcoords'] = (np.asarray(mesh.uv, np.float32) * [1, -1] + [0, 1]).astype(np.float32).ravel()
    arrays.update()
    return made


def speck():
    """A triangle of a millimetre, 10 km below.

    Embree takes time to cut triangles up, on a grid over the whole scene. In so large a scene it hardly does, builds
    its tree in a third of the time, and the pictures take no longer.
    """
    corners = np.array([[0, 0, -1e4], [1e-3, 0, -1e4], [0, 1e-3, -1e4]], np.float32)
    return shape(Mesh('speck', corners, np.array([[0, 1, 2]]), np.zeros(1, np.uint8), roughness=1.0))


def glowing_shape(meshes: list, vertices: np.ndarray, faces: np.ndarray, viewer: np.ndarray):
    """A shape of all meshes' vertices and faces that shine towards a viewer (3,) in the colour (triangle, mesh, 1)."""
    mi = mitsuba()
    counts = [len(mesh.faces) for mesh in meshes]
    vertices, faces = vertices.astype(np.float32), faces.astype(np.uint32)
    # Mitsuba's surfaces shine to their front only, and cloth, hair and walls are seen from behind as well.
    away = np.einsum('fi,fi->f', face_normals(vertices, faces), viewer.astype(np.float32) - vertices[faces[:, 0]]) < 0
    faces = np.where(away[:, None], faces[:, ::-1], faces)
    properties = mi.Properties()
    properties['emitter'] = mi.load_dict(
        dict(type='area', radiance=dict(type='mesh_attribute', name='face_number')))
    made = mi.Mesh('meshes', len(vertices), len(faces), props=properties)
    colors = np.ones((len(faces), 3), np.float32)
    colors[:, 0] = np.concatenate([np.arange(count) for count in counts])
    colors[:, 1] = np.repeat(np.arange(len(meshes)), counts)
    made.add_attribute('face_number', 3, colors.ravel())
    arrays = mi.traverse(made)
    arrays['vertex_positions'] = vertices.ravel()
    arrays['faces'] = np.ascontiguousarray(faces).ravel()
    arrays.update()
    return made


def material(mesh: Mesh) -> dict:
    """The surface of a mesh for Mitsuba: seen from both sides, so that thin cloth is not black inside."""
    mi = mitsuba()
    albedo = np.asarray(mesh.albedo)
    if albedo.ndim == 3:
        if mesh.uv is None:
            raise ValueError(f'mesh {mesh.name!r} has a texture and no texture coordinates')
        if albedo.dtype != np.uint8 or albedo.shape[2] != 3:
            raise ValueError(f'mesh {mesh.name!r} has a texture of {albedo.dtype} {albedo.shape}; expected uint8 '
                             '(h, w, 3)')
        # A copy: the binding takes no read-only arrays.
        color = dict(type='bitmap', bitmap=mi.Bitmap(np.array(albedo, order='C')))
    else:
        color = dict(type='rgb', value=[float(c) for c in np.clip(albedo, 0, 1)])
    if mesh.roughness >= 0.7:  # a highlight would hardly be seen, and costs a fifth of the time
        inside = dict(type='diffuse', reflectance=color)
    else:
        inside = dict(type='principled', base_color=color, roughness=float(max(mesh.roughness, 0.05)), specular=0.5)
    return dict(type='twosided', bsdf=inside)


def emitters(lights: list, meshes: list, camera: Camera) -> list:
    """Lights of Mitsuba from their descriptions in plain numbers (so that they can go into a manifest).

    A ray's end is lit by one point of one of them: of :data:`ROUND` rays each lamp (the sun among them) gets one, and
    what shines from all around gets the others, at least as many as one lamp.

    Args:
        lights: Descriptions, each one of
            ``{'type': 'constant', 'radiance': [r, g, b]}``: the same from everywhere;
            ``{'type': 'sunsky', 'sun_direction': [x, y, z], 'turbidity': 1..10, 'sun_scale': s, 'sky_scale': s,
            'albedo': ground's 0..1}``: sun and sky, z up;
            ``{'type': 'hdri', 'file': path, 'yaw': degrees, 'scale': s}``: the user's environment picture;
            ``{'type': 'panel', 'centre': [x, y, z], 'target': [x, y, z], 'size': [w, h], 'radiance': [r, g, b]}``:
            a rectangle (metres) that shines towards its target.
        meshes: What they light.
        camera: What it sees shall have little noise.

    Raises:
        ValueError: Another type.
    """
    around, lamps = [], []
    for light in lights:
        kind = light.get('type')
        if kind == 'constant':
            around.append(dome(light, meshes, lights, camera))
        elif kind == 'sunsky':
            around.append(sky(light))
            if light['sun_scale'] > 0:
                lamps.append(panel(sun(light)))
        elif kind == 'hdri':
            # Mitsuba's environments have y up, our world z.
            turn = _turned(light['yaw']) @ _turned(90, [1, 0, 0])
            around.append(dict(type='envmap', bitmap=read_hdri(light['file']), scale=light['scale'], to_world=turn))
        elif kind == 'panel':
            lamps.append(panel(light))
        else:
            raise ValueError(f'no light of type {kind!r}; known: constant, sunsky, hdri, panel')
    for one in around:
        one.get('emitter', one)['sampling_weight'] = float(max(1, ROUND - len(lamps)))
    return around + lamps


def _turned(degrees: float, axis: Sequence[int] = (0, 0, 1)):
    return mitsuba().ScalarTransform4f().rotate(list(axis), degrees)


def panel(light: dict) -> dict:
    """A rectangle that shines to one side."""
    transform = mitsuba().ScalarTransform4f
    centre, target = np.asarray(light['centre'], float), np.asarray(light['target'], float)
    direction = target - centre
    upright = np.linalg.norm(direction[:2]) < 1e-3 * np.linalg.norm(direction)
    up = [0, 1, 0] if upright else [0, 0, 1]
    place = transform().look_at(centre.tolist(), target.tolist(), up)
    width, height = light['size']
    return dict(type='rectangle', to_world=place @ transform().scale([width / 2, height / 2, 1]),
                emitter=dict(type='area', radiance=dict(type='rgb', value=list(light['radiance']))))


def dome(light: dict, meshes: list, lights: list, camera: Camera) -> dict:
    """Even light from everywhere, as a ball around everything that shines inwards.

    Mitsuba's own draws all directions alike, the half below every surface too. Points drawn evenly from a ball's area,
    as seen from a place close to it, lie by the cosine of the angle to the ball's middle: just as they count for a
    surface that faces the middle. So this ball touches the scene from behind, and its middle lies on the camera's side
    and above. That halves the noise.
    """
    lamps = [(np.array(one['centre']), max(one['size'])) for one in lights if one['type'] == 'panel']
    points = np.concatenate([camera.centre[None], *[mesh.vertices for mesh in meshes],
                             *[centre + size * np.array([[-1], [1]]) for centre, size in lamps]])
    low, high = points.min(axis=0), points.max(axis=0)
    reach = max(1.0, np.linalg.norm(high - low) / 2)
    facing = [0, 0, 0.7] - camera.forward
    centre = (low + high) / 2 + facing / np.linalg.norm(facing) * 14.8 * reach
    return dict(type='sphere', center=centre.tolist(), radius=float(16 * reach), flip_normals=True,
                bsdf=dict(type='diffuse', reflectance=0.0),
                emitter=dict(type='area', radiance=dict(type='rgb', value=list(light['radiance']))))


def sun(light: dict) -> dict:
    """The sun of sun and sky as a panel: as large in the sky, and as bright, but a square."""
    direction = np.asarray(light['sun_direction'], float) / np.linalg.norm(light['sun_direction'])
    side = SUN_DISTANCE * SUN_RADIUS * np.sqrt(np.pi)
    return dict(type='panel', centre=(SUN_DISTANCE * direction).tolist(), target=[0, 0, 0], size=[side, side],
                radiance=_sunsky(dict(light, sky_scale=0.0), direction[None])[0].tolist())


def sky(light: dict) -> dict:
    """The sky of sun and sky as a small map: Mitsuba's model takes half of a picture's time."""
    mi = mitsuba()
    # Rows from the zenith to the nadir, columns from the sun on; both sides of the sun are alike.
    columns = (np.arange(SKY_SIZE // 2) + 0.5) * 2 * np.pi / SKY_SIZE
    rows = np.linspace(0, np.pi, SKY_SIZE)[:SKY_SIZE // 2 + 1]
    # The row below the horizon has its light, so that there is no dark seam above it.
    across, down = np.meshgrid(columns, np.minimum(rows, np.radians(89.9)))
    azimuth = np.arctan2(light['sun_direction'][1], light['sun_direction'][0])
    directions = np.stack([np.sin(down) * np.cos(azimuth + across), np.sin(down) * np.sin(azimuth + across),
                           np.cos(down)], axis=-1)
    half = _sunsky(dict(light, sun_scale=0.0), directions.reshape(-1, 3)).reshape(*down.shape, 3)
    image = np.zeros((SKY_SIZE, SKY_SIZE, 3), np.float32)
    image[:len(rows)] = np.concatenate([half, half[:, ::-1]], axis=1)
    turn = _turned(np.degrees(azimuth) - 90) @ _turned(90, [1, 0, 0])
    return dict(type='envmap', bitmap=mi.Bitmap(image), to_world=turn)


def _sunsky(light: dict, directions: np.ndarray) -> np.ndarray:
    """(N, 3) radiance of sun and sky from (N, 3) unit directions."""
    mi = mitsuba()
    model, place = mi.load_dict(light), mi.SurfaceInteraction3f()
    seen = np.zeros((len(directions), 3), np.float32)
    for i, direction in enumerate(-directions):
        place.wi = direction.tolist()
        seen[i] = model.eval(place, True)
    return seen


def sensor(camera: Camera, samples: int, centred: bool = False):
    """The camera for Mitsuba.

    Args:
        camera: Pixels must be square.
        samples: Rays per pixel.
        centred: One ray through each pixel's centre instead of random ones.
    """
    mi = mitsuba()
    k = camera.intrinsics
    # Mitsuba's camera has x to the left and y up: half a turn about the viewing axis.
    pose = np.eye(4)
    pose[:3, :3] = camera.rotation.T @ np.diag([-1.0, -1.0, 1.0])
    pose[:3, 3] = camera.centre
    if centred:
        sampler = dict(type='stratified', sample_count=1, jitter=False)
    else:
        # Half the noise of independent samples at 16 rays, at the same cost.
        sampler = dict(type='multijitter', sample_count=samples)
    return mi.load_dict(
        dict(type='perspective', fov_axis='x', fov=float(2 * np.degrees(np.arctan(camera.width / (2 * k[0, 0])))),
             # How far the image's middle lies from the principal point, in shares of the image.
             principal_point_offset_x=float(0.5 - (k[0, 2] + 0.5) / camera.width),
             principal_point_offset_y=float(0.5 - (k[1, 2] + 0.5) / camera.height),
             near_clip=NEAR, far_clip=1e6, to_world=mi.ScalarTransform4f(pose), sampler=sampler,
             film=dict(type='hdrfilm', width=camera.width, height=camera.height, rfilter=dict(type='box'),
                       pixel_format='rgb' if centred else 'rgba', component_format='float32')))


def trace(scene, view, integrator: str, **options) -> np.ndarray:
    """(H, W, C) float32: what an integrator of Mitsuba says of the one ray through each pixel's centre."""
    mi = mitsuba()
    integrator = mi.load_dict(dict(type=integrator, block_size=BLOCK, **options))
    return np.array(mi.render(scene, sensor=sensor(view, 1, centred=True), integrator=integrator, spp=1, seed=0))


def _labels(meshes: list, camera: Camera, places: list, view: Camera, panels: Sequence[dict] = ()) -> Buffers:
    """The triangle under each pixel from Mitsuba, everything else from the triangle.

    Mitsuba's triangles are not watertight: a ray that passes an edge by less than float32 resolves slips through now
    and then (one pixel in 10 000 to 400 000 was seen) and meets what lies behind. So a second ray is sent beside each
    (its depth alone, which is cheap). Where it meets something nearer, and the pixel's centre lies on that triangle
    too, this triangle counts.

    Args:
        meshes: All, in order.
        camera: For the labels.
        places: The vertices of each mesh as Mitsuba shall see them,
        view: and the camera that sees them so, with square pixels.
        panels: Shapes for Mitsuba that are no meshes, but hide what is behind them.
    """
    mi = mitsuba()
    counts = np.array([len(mesh.faces) for mesh in meshes], int)
    starts = np.cumsum([0, *counts])
    joined = _joined(meshes, camera)
    glowing = {}
    if counts.sum():
        glowing['meshes'] = glowing_shape(meshes, np.concatenate(places), joined[2], view.centre)
    dark = {f'panel{i:03d}': {key: value for key, value in panel.items() if key != 'emitter'}
            for i, panel in enumerate(panels)}
    scene = mi.load_dict(dict(type='scene', speck=speck(), **glowing, **dark), optimize=False)

    seen = trace(scene, view, 'path', max_depth=1)
    hit = seen[..., 2] > 0
    mesh = np.where(hit, np.rint(seen[..., 1]).astype(np.int32), -1)
    face = np.where(hit, np.rint(seen[..., 0]).astype(np.int32), -1)
    depth, normal = np.zeros(mesh.shape), np.zeros((*mesh.shape, 3))
    at = np.nonzero(hit)
    depth[at], normal[at], _ = _evaluate(*joined, camera, at, starts[mesh[at]] + face[at])

    intrinsics = view.intrinsics.copy()
    intrinsics[:2, 2] -= ASIDE
    beside = Camera(intrinsics, view.rotation, view.translation, view.height, view.width)
    length = trace(scene, beside, 'depth')[..., 0]
    rays = beside.rays(np.stack(np.meshgrid(np.arange(view.width), np.arange(view.height)), -1).reshape(-1, 2))
    # Mitsuba measures along the ray, from the near plane on.
    near = length / np.linalg.norm(rays, axis=1).reshape(length.shape) + NEAR
    rows, columns = np.nonzero((length > 0) & (~hit | (near < depth * (1 - 1e-4))))
    found = np.full(len(rows), -1)
    for k, (row, column) in enumerate(zip(rows.tolist(), columns.tolist())):
        direction = beside.rotation.T @ rays[row * view.width + column]
        met = scene.ray_intersect(mi.Ray3f(beside.centre.tolist(), (direction / np.linalg.norm(direction)).tolist()))
        if met.is_valid() and met.shape == glowing.get('meshes'):
            found[k] = met.prim_index
    rows, columns, found = rows[found >= 0], columns[found >= 0], found[found >= 0]
    at, i = (rows, columns), np.searchsorted(starts, found, side='right') - 1
    z, turned, off = _evaluate(*joined, camera, at, found)
    better = (off < ON_CENTRE) & ((mesh[at] < 0) | (z < depth[at]))
    at = rows[better], columns[better]
    mesh[at], face[at], depth[at], normal[at] = i[better], (found - starts[i])[better], z[better], turned[better]

    instance, part, hit = np.zeros(mesh.shape, np.uint8), np.zeros(mesh.shape, np.uint8), mesh >= 0
    if hit.any():
        instance[hit] = np.array([one.instance for one in meshes])[mesh[hit]]
        part[hit] = np.concatenate([one.parts for one in meshes])[starts[mesh[hit]] + face[hit]]
    return Buffers(None, None, depth.astype(np.float32), normal.astype(np.float32), instance, part, mesh, face)


def _joined(meshes: list, camera: Camera) -> tuple:
    """(V, 3) vertices and (V, 3) normals (0 for flat meshes) in the camera's frame, float64, and (F, 3) faces of all
    meshes, one after the other."""
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts)]
    normals = [np.zeros_like(mesh.vertices) if mesh.normals is None else mesh.normals for mesh in meshes]
    none = np.zeros((0, 3), int)
    return (camera.transform(np.concatenate([none, *[mesh.vertices for mesh in meshes]])),
            np.concatenate([none, *normals]) @ camera.rotation.T, np.concatenate([none, *faces]))


def _evaluate(vertices: np.ndarray, normals: np.ndarray, faces: np.ndarray, camera: Camera, at: tuple,
              number: np.ndarray) -> tuple:
    """Depth and normal of given triangles under the centres of given pixels.

    Args:
        vertices, normals, faces: See `_joined`.
        camera: Where from.
        at: Rows and columns, (N,) each.
        number: (N,) index among all faces.

    Returns:
        (N,) float64 depth, (N, 3) float64 normal, and (N,) float64 pixels from the centre to the triangle.
    """
    depth, normal, off = np.zeros(len(number)), np.zeros((len(number), 3)), np.zeros(len(number))
    for begin in range(0, len(number), CHUNK):
        piece = slice(begin, begin + CHUNK)
        rays = camera.rays(np.stack([at[1][piece], at[0][piece]], axis=1))
        corners = faces[number[piece]]
        points, normal[piece] = surface(vertices[corners], normals[corners], rays)
        depth[piece] = points[:, 2]
        with np.errstate(divide='ignore', invalid='ignore'):
            miss = (points[:, :2] / points[:, 2:] - rays[:, :2]) * np.diag(camera.intrinsics)[:2]
        off[piece] = np.nan_to_num(np.linalg.norm(miss, axis=1), nan=np.inf)
    return depth, normal, off


def surface(corners: np.ndarray, normals: np.ndarray, rays: np.ndarray) -> tuple:
    """Point and normal where rays from the origin meet a triangle each.

    Args:
        corners: (N, 3, 3) float64 corners of each ray's triangle in the camera's frame (x right, y down, z forward),
            metres.
        normals: (N, 3, 3) float64 normals there, 0 for flat triangles.
        rays: (N, 3) float64 directions with z = 1.

    Returns:
        (N, 3) float64 points in that frame, always on the triangle, also where the ray misses it; and
        (N, 3) float64 unit normals with x right, y up, z to the viewer. A normal faces the viewer: the smooth one, or
        the triangle's own where the smooth one looks away (at silhouettes).
    """
    flat = cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    # Shares of the corners: volumes of the ray with each edge.
    shares = np.stack([np.einsum('ni,ni->n', rays, cross(corners[:, (i + 1) % 3], corners[:, (i + 2) % 3]))
                       for i in range(3)], axis=1)
    total = shares.sum(axis=1, keepdims=True)
    with np.errstate(divide='ignore', invalid='ignore'):
        shares = np.where(np.abs(total) > 1e-30, shares / total, 1 / 3)
    # The renderer's rays are float32: at an edge they may have met what these miss by a hair.
    shares = np.clip(shares, 0, 1)
    shares /= shares.sum(axis=1, keepdims=True)
    points = np.einsum('ni,nij->nj', shares, corners)

    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-30)
    away = np.sign(np.einsum('ni,ni->n', flat, rays))[:, None]
    # Seen from behind (a thin sheet): turn it over.
    over = np.where(away > 0, -1.0, 1.0)
    flat = flat * over
    smooth = np.einsum('ni,nij->nj', shares, normals) * over
    length = np.linalg.norm(smooth, axis=1, keepdims=True)
    good = (length[:, 0] > 1e-6) & (np.einsum('ni,ni->n', smooth, rays) < 0)
    flat = np.where(good[:, None], smooth / np.maximum(length, 1e-6), flat)
    return points, flat * [1.0, -1.0, -1.0]


def expose(linear: np.ndarray, buffers: Buffers, key: float) -> np.ndarray:
    """(H, W, 3) radiance scaled so that the persons' (else: everything's) geometric mean brightness is ``key``.

    It is less where more than a twentieth of their pixels would become brighter than :data:`BRIGHT`. What is then
    brighter than :data:`SHOULDER` rolls off softly, as on film, instead of clipping, and keeps its hue: beside people
    in the shade a sky is ten times as bright, and is to stay blue.
    """
    brightness = np.maximum(linear, 0) @ [0.2126, 0.7152, 0.0722]
    chosen = buffers.person if buffers.person.any() else buffers.mesh >= 0
    values = brightness[chosen] if chosen.any() else brightness.ravel()
    values = values[np.isfinite(values)]
    scale = 1.0
    if len(values) and values.max() > 0:
        scale = key / np.exp(np.log(values + 1e-4 * values.max()).mean())
        # Faces stay what they are above dark clothes.
        scale = min(scale, BRIGHT / max(np.quantile(values, 0.95), 1e-12))
    linear = np.nan_to_num(linear * scale, nan=0.0, posinf=10.0, neginf=0.0)
    top = linear.max(axis=-1, keepdims=True)
    over = np.maximum(top - SHOULDER, 0) / (1 - SHOULDER)
    return linear * np.where(over > 0, (SHOULDER + (1 - SHOULDER) * over / (1 + over)) / np.maximum(top, SHOULDER), 1)
