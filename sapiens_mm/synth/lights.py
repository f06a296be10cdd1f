"""Mitsuba lights: panels, ambient light, sun and sky, environment maps."""
from collections.abc import Sequence

import numpy as np

from .camera import Camera
from .extra import mitsuba, read_hdri

#: Of so many rays each lamp gets one and the ambient light the rest, see `emitters`.
ROUND = 4
#: Directions along and across the map of a sky.
SKY_SIZE = 64
#: Meters to the sun, and its radius in radians (half of Mitsuba's 0.5358 degrees).
SUN_DISTANCE, SUN_RADIUS = 2e4, np.radians(0.5358 / 2)


def emitters(lights: list, meshes: list, camera: Camera) -> list:
    """Converts light descriptions of plain numbers to Mitsuba lights; raises a ValueError for an unknown type.

    Each ray is lit by a random point of one light. Of :data:`ROUND` rays each lamp (or sun) gets one and ambient light
    the others, at least one. Sampling is optimized for ``meshes`` as seen by ``camera``.

        ``{'type': 'constant', 'radiance': [r, g, b]}``: the same radiance from everywhere;
        ``{'type': 'sunsky', 'sun_direction': [x, y, z], 'turbidity': 1..10, 'sun_scale': s, 'sky_scale': s,
        'albedo': ground's 0..1}``: sun and sky, z up;
        ``{'type': 'hdri', 'file': path, 'yaw': degrees, 'scale': s}``: the user's environment map;
        ``{'type': 'panel', 'center': [x, y, z], 'target': [x, y, z], 'size': [w, h], 'radiance': [r, g, b]}``:
        a rectangle (meters) that shines toward its target.
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
            around.append(_environment(read_hdri(light['file']), light['yaw'], scale=light['scale']))
        elif kind == 'panel':
            lamps.append(panel(light))
        else:
            raise ValueError(f'light type: got {kind!r}, expected constant, sunsky, hdri or panel')
    for light in around:
        light.get('emitter', light)['sampling_weight'] = float(max(1, ROUND - len(lamps)))
    return around + lamps


def _environment(bitmap, yaw: float, **options) -> dict:
    """Returns an environment map; Mitsuba's have y up, our world z."""

    def turned(degrees: float, axis: Sequence[int]):
        return mitsuba().ScalarTransform4f().rotate(axis, degrees)

    return dict(type='envmap', bitmap=bitmap, to_world=turned(yaw, [0, 0, 1]) @ turned(90, [1, 0, 0]), **options)


def _area(radiance: Sequence[float]) -> dict:
    return dict(type='area', radiance=dict(type='rgb', value=list(radiance)))


def panel(light: dict) -> dict:
    transform = mitsuba().ScalarTransform4f
    center, target = np.asarray(light['center'], float), np.asarray(light['target'], float)
    direction = target - center
    upright = np.linalg.norm(direction[:2]) < 1e-3 * np.linalg.norm(direction)
    place = transform().look_at(center.tolist(), target.tolist(), [0, 1, 0] if upright else [0, 0, 1])
    width, height = light['size']
    return dict(type='rectangle', to_world=place @ transform().scale([width / 2, height / 2, 1]),
                emitter=_area(light['radiance']))


def dome(light: dict, meshes: list, lights: list, camera: Camera) -> dict:
    """Returns ambient light as a ball around the scene that shines inwards, with half the noise of Mitsuba's.

    Mitsuba's samples all directions uniformly, also below a surface. Uniform points on a ball, seen from close to it,
    have the density of the cosine to its center, which is the weight of light on a surface that faces the center. So
    the ball touches the scene from behind, with its center above and on the camera's side.
    """
    lamps = [(np.array(one['center']), max(one['size'])) for one in lights if one['type'] == 'panel']
    points = np.concatenate([camera.center[None], *[mesh.vertices for mesh in meshes],
                             *[center + size * np.array([[-1], [1]]) for center, size in lamps]])
    low, high = points.min(axis=0), points.max(axis=0)
    reach = max(1.0, np.linalg.norm(high - low) / 2)
    facing = [0, 0, 0.7] - camera.forward
    center = (low + high) / 2 + facing / np.linalg.norm(facing) * 14.8 * reach
    return dict(type='sphere', center=center.tolist(), radius=float(16 * reach), flip_normals=True,
                bsdf=dict(type='diffuse', reflectance=0.0), emitter=_area(light['radiance']))


def sun(light: dict) -> dict:
    """Returns the sun of a ``sunsky`` as a square panel of the same solid angle and brightness."""
    direction = np.asarray(light['sun_direction'], float) / np.linalg.norm(light['sun_direction'])
    side = SUN_DISTANCE * SUN_RADIUS * np.sqrt(np.pi)
    return dict(type='panel', center=(SUN_DISTANCE * direction).tolist(), target=[0, 0, 0], size=[side, side],
                radiance=sunsky(dict(light, sky_scale=0.0), direction[None])[0].tolist())


def sky(light: dict) -> dict:
    """Returns the sky of a ``sunsky`` as a small environment map: Mitsuba's model takes half of the rendering time."""
    # Rows from the zenith to the nadir, columns from the sun on; both sides of the sun are alike.
    columns = (np.arange(SKY_SIZE // 2) + 0.5) * 2 * np.pi / SKY_SIZE
    rows = np.linspace(0, np.pi, SKY_SIZE)[:SKY_SIZE // 2 + 1]
    # The row below the horizon repeats its light, so that no dark seam is visible above it.
    across, down = np.meshgrid(columns, np.minimum(rows, np.radians(89.9)))
    azimuth = np.arctan2(light['sun_direction'][1], light['sun_direction'][0])
    directions = np.stack([np.sin(down) * np.cos(azimuth + across), np.sin(down) * np.sin(azimuth + across),
                           np.cos(down)], axis=-1)
    half = sunsky(dict(light, sun_scale=0.0), directions.reshape(-1, 3)).reshape(*down.shape, 3)
    image = np.zeros((SKY_SIZE, SKY_SIZE, 3), np.float32)
    image[:len(rows)] = np.concatenate([half, half[:, ::-1]], axis=1)
    return _environment(mitsuba().Bitmap(image), np.degrees(azimuth) - 90)


def sunsky(light: dict, directions: np.ndarray) -> np.ndarray:
    """Returns the (N, 3) radiance of a ``sunsky`` from (N, 3) unit directions."""
    mi = mitsuba()
    model, place = mi.load_dict(light), mi.SurfaceInteraction3f()
    radiance = np.zeros((len(directions), 3), np.float32)
    for i, direction in enumerate(-directions):
        place.wi = direction.tolist()
        radiance[i] = model.eval(place, True)
    return radiance
