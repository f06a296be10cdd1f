"""Random surroundings and light for people: rooms, open ground, the user's photos and HDRIs.

All choices come from one `numpy.random.Generator` and are recorded in `Scenery.parameters`.
"""
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .assets import Assets, read_photo
from .camera import Camera
from .furniture import FURNITURE, block, furnish, level, upright
from .mesh import rotation_z
from .surfaces import draw_texture

KINDS = ('room', 'outdoors', 'photo', 'hdri')


@dataclass
class Scenery:
    """Surroundings of the people of one image: ``meshes`` of instance 0 and part 0; ``lights`` and ``key`` of `render`;
    (H, W, 3) uint8 sRGB ``backdrop`` or None; and ``parameters``, every random choice, for JSON.
    """
    meshes: list
    lights: list
    backdrop: np.ndarray | None
    key: float
    parameters: dict


def draw_scenery(rng: np.random.Generator, camera: Camera, people: np.ndarray, floor: float,
                 assets: Assets | None = None, kind: str | None = None) -> Scenery:
    """Draws surroundings and light that do not hide the people.

    Photos become the backdrop of `render`: they keep their own light and sharpness, and no shadow falls on them.

    Args:
        people: (N, 3) meters: vertices of all people (a sample is enough).
        floor: Height of the ground in meters: the height of the people's lowest vertex, soles included.
        kind: One of `KINDS` (else a ValueError); ``'hdri'`` shows the environment. None: photos if any, else random.
    """
    assets = assets or Assets()
    people = np.asarray(people, np.float64).reshape(-1, 3)
    if kind is None:
        choices = ['photo'] if assets.photos else ['room', 'hdri'] if assets.hdris else ['room', 'room', 'outdoors']
        kind = choices[rng.integers(len(choices))]
    if kind not in KINDS:
        raise ValueError(f'scenery: got {kind!r}, expected one of {", ".join(KINDS)}')
    if kind == 'photo' and not assets.photos or kind == 'hdri' and not assets.hdris:
        raise ValueError(f'scenery {kind!r}: got no images of its kind, expected at least one')
    place = _Place(camera, people, floor)
    parameters = dict(kind=kind)
    if assets.hdris:
        path = assets.hdris[rng.integers(len(assets.hdris))]
        lights = [dict(type='hdri', file=str(path), yaw=_round(rng.uniform(0, 360)), scale=1.0)]
    elif kind == 'outdoors' or (kind == 'photo' and rng.random() < 0.5):
        lights = [_sun(rng)]
    else:
        lights = _panels(rng, place)
    meshes, backdrop = [], None
    if kind == 'room':
        meshes, parameters['room'] = _room(rng, place, lights)
    elif kind == 'outdoors':
        meshes, parameters['ground'] = _outdoors(rng, place)
    elif kind == 'photo':
        backdrop, parameters['photo'] = _photo(rng, camera, assets)
    key = _round(rng.uniform(0.14, 0.36))
    # Only the names of files: a set does not depend on their folder.
    parameters.update(key=key, lights=[dict(light, file=Path(light['file']).name) if 'file' in light else light
                                       for light in lights])
    return Scenery(meshes, lights, backdrop, key, parameters)


def _round(value):
    return float(f'{value:.6g}') if np.ndim(value) == 0 else [_round(x) for x in value]


class _Place:
    """The people and the camera in the ground plane.

    Heights ``floor``, ``top``; the people's (2,) ``middle`` and ``radius``; ``back``, (2,) unit direction away from the
    camera; ``has_ground``, whether the camera is above the ground (else the ground would hide everything).
    """

    def __init__(self, camera: Camera, people: np.ndarray, floor: float):
        self.camera = camera
        self.floor = floor
        self.top = float(people[:, 2].max())
        self.middle = (people[:, :2].min(axis=0) + people[:, :2].max(axis=0)) / 2
        self.radius = float(np.linalg.norm(people[:, :2] - self.middle, axis=1).max())
        back = camera.forward[:2]
        if np.linalg.norm(back) < 1e-3:  # looking straight down: up in the image is behind
            back = -camera.rotation[1, :2]
        self.back = back / np.linalg.norm(back)
        self.has_ground = bool(camera.center[2] > floor + 0.05)

    def sees(self, points: np.ndarray) -> bool:
        """Returns whether a point is in the image or close to its edge."""
        uv, z = self.camera.project(points)
        size = np.array([self.camera.width, self.camera.height])
        return bool(((z > 0) & (uv > -0.1 * size).all(axis=1) & (uv < 1.1 * size).all(axis=1)).any())


def _direction(azimuth: float, elevation: float) -> np.ndarray:
    """Returns the (3,) unit vector of two angles in radians."""
    return np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])


def _sun(rng) -> dict:
    elevation, azimuth = np.radians([rng.uniform(15, 70), rng.uniform(0, 360)])
    # A weaker sun stands for haze and thin cloud, whose shadows are soft.
    return dict(type='sunsky', sun_direction=_round(_direction(azimuth, elevation)),
                turbidity=_round(rng.uniform(2, 7)), sun_scale=_round(rng.choice([0.05, 0.3, 1.0])), sky_scale=1.0,
                albedo=_round(rng.uniform(0.1, 0.4)))


def _panels(rng, place: _Place) -> list:
    lights = [dict(type='constant', radiance=_tinted(rng, rng.uniform(0.15, 0.6), 0.08))]
    target = np.array([*place.middle, place.floor + 0.6 * (place.top - place.floor)])
    front = np.arctan2(-place.back[1], -place.back[0])
    for _ in range(rng.integers(1, 4)):
        for _attempt in range(20):
            azimuth, elevation = front + np.radians(rng.uniform(-110, 110)), np.radians(rng.uniform(15, 75))
            distance = place.radius + rng.uniform(1.2, 3.0)
            center = target + distance * _direction(azimuth, elevation)
            size = rng.uniform(0.3, 1.6, 2)
            # Its corners lie on a ball of this radius, whatever its direction.
            reach = np.linalg.norm(size) / 2
            if place.sees(center + reach * np.array([[0, 0, 0], *np.eye(3), *-np.eye(3)])):
                continue
            # Equally bright at the people whatever its size and distance.
            strength = rng.uniform(0.5, 3.0) * distance**2 / size.prod()
            lights.append(dict(type='panel', center=_round(center), target=_round(target), size=_round(size),
                               radiance=_tinted(rng, strength, 0.15)))
            break
    return lights


def _tinted(rng, level: float, spread: float) -> list:
    warm = rng.uniform(-spread, spread)
    return [_round(level * x) for x in (1 + warm, 1.0, 1 - warm)]


def _photo(rng, camera: Camera, assets: Assets) -> tuple:
    path = assets.photos[rng.integers(len(assets.photos))]
    photo = read_photo(path)
    height, width = photo.shape[:2]
    scale = min(width / camera.width, height / camera.height) * rng.uniform(0.6, 1.0)
    w, h = max(1, int(camera.width * scale)), max(1, int(camera.height * scale))
    x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
    flip, blur = bool(rng.random() < 0.5), _round(rng.choice([0.0, 0.0, rng.uniform(0.5, 2.5)]))
    crop = cv2.resize(photo[y:y + h, x:x + w], (camera.width, camera.height),
                      interpolation=cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR)
    if blur:  # in pixels of an image 768 high
        crop = cv2.GaussianBlur(crop, (0, 0), max(0.1, blur * camera.height / 768))
    crop = np.ascontiguousarray(crop[:, ::-1] if flip else crop)
    return crop, dict(file=path.name, crop=[x, y, w, h], flip=flip, blur=blur)


class _Plan:
    """The floor plan of a room around the people: unit directions from the back wall and along it, and distances."""

    def __init__(self, rng, place: _Place, lights: list):
        self.place = place
        self.turn = np.radians(rng.uniform(-35, 35))
        self.inward = -_turned(place.back, self.turn)
        self.aside = np.array([-self.inward[1], self.inward[0]])
        # The camera and the lamps stay inside.
        keep = np.array([place.camera.center[:2], *[light['center'][:2] for light in lights if 'center' in light]])
        keep = keep - place.middle
        self.behind = max(place.radius + rng.uniform(0.4, 3.5), (keep @ -self.inward).max() + 0.3)
        self.sides = [max(place.radius + rng.uniform(0.8, 3.5), (keep @ s).max() + 0.3)
                      for s in (self.aside, -self.aside)]
        self.front = max(place.radius, (keep @ self.inward).max()) + 1.0
        self.height = max(rng.uniform(2.3, 4.0), place.camera.center[2] - place.floor + 0.5,
                          place.top - place.floor + 0.3)

    def at(self, forward: float, side: float) -> np.ndarray:
        return self.place.middle + self.inward * forward + self.aside * side

    def draw_side(self, rng, reach: float) -> float:
        """Draws a position along the back wall, at least ``reach`` from its ends."""
        left, right = self.sides
        return rng.uniform(-right + reach, left - reach) if left + right > 2 * reach else 0.0


def _room(rng, place: _Place, lights: list) -> tuple:
    plan = _Plan(rng, place, lights)
    left, right = plan.sides
    corners = [plan.at(plan.front, left), plan.at(-plan.behind, left), plan.at(-plan.behind, -right),
               plan.at(plan.front, -right)]
    names = {}
    wall, names['walls'] = draw_texture(rng, ('plain', 'noise', 'stripes', 'bricks', 'tiles', 'panels'))
    meters = _round(rng.uniform(0.8, 2.5))
    meshes = [upright(f'wall{i}', corners[i], corners[i + 1], place.floor, plan.height, wall, meters) for i in range(3)]
    if place.has_ground:
        floor, names['floor'] = draw_texture(rng, ('wood', 'tiles', 'checks', 'noise', 'speckles', 'plain'))
        meshes.append(level('floor', np.array(corners), place.floor, floor, _round(rng.uniform(0.8, 2.5)),
                            roughness=float(rng.choice([0.4, 0.7, 1.0]))))
    things = []
    for _ in range(rng.integers(0, 4)):
        w, h = rng.uniform(0.3, 1.2, 2)
        if plan.height < h + 1.0:
            continue
        side = plan.draw_side(rng, w)
        z = place.floor + rng.uniform(0.9 + h / 2, plan.height - h / 2 - 0.05)
        texture, name = draw_texture(rng)
        meshes.append(block('picture', np.array([*plan.at(-plan.behind + 0.02, side), z]), (w, 0.03, h),
                            _yaw(plan.inward), texture))
        things.append(dict(thing='picture', texture=name))
    for _ in range(rng.integers(0, 6) if place.has_ground else 0):
        furniture, thing = _furniture(rng, plan)
        meshes += furniture
        things += thing
    return meshes, dict(textures=names, things=things, height=_round(plan.height), behind=_round(plan.behind),
                        turn=_round(np.degrees(plan.turn)), floor=place.has_ground)


def _furniture(rng, plan: _Plan) -> tuple:
    place = plan.place
    name = str(rng.choice(list(FURNITURE)))
    size = FURNITURE[name]['size'] * rng.uniform(0.8, 1.25, 3)
    reach = np.hypot(size[0], size[1]) / 2
    back_room = plan.behind - place.radius - 0.15 - size[1]
    side = plan.draw_side(rng, reach)
    if back_room < 0 and abs(side) - reach <= place.radius + 0.1:
        return [], []
    forward = -plan.behind + size[1] / 2 + 0.03 + rng.uniform(0, min(0.4, max(back_room, 0)))
    meshes, textures = furnish(rng, name, np.array([*plan.at(forward, side), place.floor]), size,
                               _yaw(plan.inward) + rng.normal() * 0.05)
    # Never between the camera and the people.
    depth = (meshes[0].vertices[:, :2] - place.middle) @ place.back
    if depth.min() < -place.radius and place.sees(meshes[0].vertices):
        return [], []
    return meshes, [dict(thing=name, textures=textures)]


def _outdoors(rng, place: _Place) -> tuple:
    meshes, names = [], {}
    reach = 3000.0  # so far that no gap is visible under the sky
    if place.has_ground:
        ground, names['ground'] = draw_texture(rng, ('noise', 'speckles', 'tiles', 'grass', 'bricks'))
        square = place.middle + reach * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1.0]])
        meshes.append(level('ground', square, place.floor, ground, _round(rng.uniform(1, 3)), roughness=1.0))
    for i in range(rng.integers(0, 6)):
        direction = _turned(place.back, np.radians(rng.uniform(-60, 60)))
        size = rng.uniform([1, 1, 0.5], [10, 6, 9])
        distance = place.radius + np.hypot(size[0], size[1]) / 2 + rng.uniform(0.5, 15)
        texture, names[f'box{i}'] = draw_texture(rng, ('bricks', 'plain', 'noise', 'stripes', 'tiles', 'grass'))
        spot = np.array([*(place.middle + direction * distance), place.floor + size[2] / 2])
        meshes.append(block(f'box{i}', spot, size, _yaw(-direction) + rng.uniform(-0.8, 0.8), texture,
                            _round(rng.uniform(1, 3))))
    return meshes, dict(textures=names, floor=place.has_ground)


def _turned(direction: np.ndarray, angle: float) -> np.ndarray:
    """Returns a (2,) direction on the ground, rotated counter-clockwise by radians."""
    return (rotation_z(angle)[:2, :2] * direction).sum(axis=1)


def _yaw(direction: np.ndarray) -> float:
    """Returns the rotation about z that turns -y (the front of objects) to a direction."""
    return float(np.arctan2(direction[0], -direction[1]))
