"""Mitsuba scenes: meshes with their materials, and cameras."""
import numpy as np

from ..vocabularies.body_parts import PART_IDS
from .camera import Camera
from .extra import mitsuba
from .mesh import Mesh, face_normals

#: Pixels on a side of a block of rendering. Mitsuba would choose it by the number of threads; each block has a seed.
BLOCK = 16
#: Meters: the nearest visible depth.
NEAR = 0.01
#: Face indices are stored in a float32 image.
MAX_FACES = 1 << 24


def check_meshes(meshes: list) -> None:
    """Raises a ValueError that names the mesh if one would crash the renderer or give wrong labels."""
    for i, mesh in enumerate(meshes):
        where = f'mesh {i} ({mesh.name!r})'
        v, f = mesh.vertices, mesh.faces
        if v.ndim != 2 or v.shape[1] != 3 or f.ndim != 2 or f.shape[1] != 3:
            raise ValueError(f'{where}: got vertices {v.shape} and faces {f.shape}, expected (V, 3) and (F, 3)')
        if not np.isfinite(v).all():
            raise ValueError(f'{where}: got nan or infinity, expected finite vertices')
        if len(f) and not (f.min() >= 0 and f.max() < len(v)):
            raise ValueError(f'{where}: got faces of vertices {f.min()} to {f.max()}, expected 0 to {len(v) - 1}')
        if len(f) >= MAX_FACES:
            raise ValueError(f'{where}: got {len(f)} faces, expected at most {MAX_FACES - 1}')
        if np.shape(mesh.parts) != (len(f),):
            raise ValueError(f'{where}: got parts of shape {np.shape(mesh.parts)}, expected ({len(f)},)')
        if not 0 <= mesh.instance <= 255:
            raise ValueError(f'{where}: got instance {mesh.instance}, expected 0 to 255')
        for what, values, size in (('texture coordinates', mesh.uv, 2), ('normals', mesh.normals, 3),
                                   ('weights of parts', mesh.part_weights, len(PART_IDS))):
            if values is not None and np.shape(values) != (len(v), size):
                raise ValueError(f'{where}: got {what} of shape {np.shape(values)}, expected ({len(v)}, {size})')


def shape(mesh: Mesh):
    """Returns a mesh with its material as a Mitsuba shape."""
    mi = mitsuba()
    properties = mi.Properties()
    properties['bsdf'] = mi.load_dict(_material(mesh))
    made = mi.Mesh(mesh.name, len(mesh.vertices), len(mesh.faces), props=properties,
                   has_vertex_normals=mesh.normals is not None, has_vertex_texcoords=mesh.uv is not None)
    arrays = {}
    if mesh.normals is not None:
        arrays['vertex_normals'] = np.asarray(mesh.normals, np.float32)
    if mesh.uv is not None:
        # Mitsuba's textures have their first row at v = 0; here v points up.
        arrays['vertex_texcoords'] = (np.asarray(mesh.uv, np.float32) * [1, -1] + [0, 1]).astype(np.float32)
    return _filled(made, mesh.vertices, mesh.faces, arrays)


def _filled(made, vertices: np.ndarray, faces: np.ndarray, arrays: dict):
    parameters = mitsuba().traverse(made)
    arrays = dict(vertex_positions=np.asarray(vertices, np.float32), faces=np.asarray(faces, np.uint32), **arrays)
    for name, values in arrays.items():
        parameters[name] = np.ascontiguousarray(values).ravel()
    parameters.update()
    return made


def _material(mesh: Mesh) -> dict:
    """Returns a material that is visible from both sides, so that thin cloth is not black inside."""
    albedo = np.asarray(mesh.albedo)
    if albedo.ndim == 3:
        if mesh.uv is None:
            raise ValueError(f'mesh {mesh.name!r}: got a texture without texture coordinates, expected both')
        if albedo.dtype != np.uint8 or albedo.shape[2] != 3:
            raise ValueError(f'mesh {mesh.name!r}: got a texture {albedo.dtype} {albedo.shape}, expected uint8 '
                             '(h, w, 3)')
        # A copy: the binding takes no read-only arrays.
        color = dict(type='bitmap', bitmap=mitsuba().Bitmap(np.array(albedo, order='C')))
    else:
        color = dict(type='rgb', value=[float(c) for c in np.clip(albedo, 0, 1)])
    if mesh.roughness >= 0.7:  # a highlight would hardly be visible, and costs a fifth of the time
        inside = dict(type='diffuse', reflectance=color)
    else:
        inside = dict(type='principled', base_color=color, roughness=float(max(mesh.roughness, 0.05)), specular=0.5)
    return dict(type='twosided', bsdf=inside)


def speck():
    """Returns a triangle of a millimeter 10 km below: in such a large scene Embree builds its tree 3 times as fast."""
    corners = np.array([[0, 0, -1e4], [1e-3, 0, -1e4], [0, 1e-3, -1e4]], np.float32)
    return shape(Mesh('speck', corners, np.array([[0, 1, 2]]), np.zeros(1, np.uint8), roughness=1.0))


def glowing_shape(meshes: list, vertices: np.ndarray, faces: np.ndarray, viewer: np.ndarray):
    """Returns all meshes as one shape that emits the color (face, mesh, 1) toward a viewer (3,)."""
    mi = mitsuba()
    counts = [len(mesh.faces) for mesh in meshes]
    vertices, faces = vertices.astype(np.float32), faces.astype(np.uint32)
    # Mitsuba's surfaces shine to their front only; cloth, hair and walls are visible from behind as well.
    away = np.einsum('fi,fi->f', face_normals(vertices, faces), viewer.astype(np.float32) - vertices[faces[:, 0]]) < 0
    faces = np.where(away[:, None], faces[:, ::-1], faces)
    properties = mi.Properties()
    properties['emitter'] = mi.load_dict(dict(type='area', radiance=dict(type='mesh_attribute', name='face_number')))
    made = mi.Mesh('meshes', len(vertices), len(faces), props=properties)
    colors = np.ones((len(faces), 3), np.float32)
    colors[:, 0] = np.concatenate([np.arange(count) for count in counts])
    colors[:, 1] = np.repeat(np.arange(len(meshes)), counts)
    made.add_attribute('face_number', 3, colors.ravel())
    return _filled(made, vertices, faces, {})


def sensor(camera: Camera, samples: int, centered: bool = False):
    """Returns a Mitsuba sensor with square pixels and ``samples`` random rays per pixel, or one through its center."""
    mi = mitsuba()
    k = camera.intrinsics
    # Mitsuba's camera has x to the left and y up: half a turn about the viewing axis.
    pose = np.eye(4)
    pose[:3, :3] = camera.rotation.T @ np.diag([-1.0, -1.0, 1.0])
    pose[:3, 3] = camera.center
    # Multijitter has half the noise of independent samples at 16 rays, at the same cost.
    sampler = (dict(type='stratified', sample_count=1, jitter=False) if centered else
               dict(type='multijitter', sample_count=samples))
    # The box filter assigns each pixel to one block: wider ones add up blocks in the order in which threads finish.
    return mi.load_dict(
        dict(type='perspective', fov_axis='x', fov=float(2 * np.degrees(np.arctan(camera.width / (2 * k[0, 0])))),
             # Offset of the image's middle from the principal point, in shares of the image.
             principal_point_offset_x=float(0.5 - (k[0, 2] + 0.5) / camera.width),
             principal_point_offset_y=float(0.5 - (k[1, 2] + 0.5) / camera.height),
             near_clip=NEAR, far_clip=1e6, to_world=mi.ScalarTransform4f(pose), sampler=sampler,
             film=dict(type='hdrfilm', width=camera.width, height=camera.height, rfilter=dict(type='box'),
                       pixel_format='rgb' if centered else 'rgba', component_format='float32')))


def trace(scene, view: Camera, integrator: str, **options) -> np.ndarray:
    """Returns (H, W, C) float32 values of a Mitsuba integrator for one ray through each pixel's center."""
    mi = mitsuba()
    integrator = mi.load_dict(dict(type=integrator, block_size=BLOCK, **options))
    return np.array(mi.render(scene, sensor=sensor(view, 1, centered=True), integrator=integrator, spp=1, seed=0))
