"""Random light and surroundings for people: rooms, open ground, the user's photos and HDRIs. Needs no renderer.

All choices come from one `numpy.random.Generator`, and are named in `Scenery.parameters`.
"""
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from .camera import Camera
from .mesh import Mesh, rotation_z

PHOTO_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
HDRI_SUFFIXES = ('.hdr', '.exr')
KINDS = ('room', 'outdoors', 'photo', 'hdri')
#: Pixels on a side of a procedural texture.
TEXTURE = 256


@dataclass
class Assets:
    """The user's own pictures. `find` makes it and reads each file once, so that no render fails later.

    Attributes:
        photos: Pictures without people, sorted by name.
        hdris: Environment pictures, sorted by name.
        fingerprints: Of ``backgrounds`` and ``hdris``, None where there are none: names and sizes of the files, by
            which a run that continues knows them, wherever their folder is.
    """

    photos: list = field(default_factory=list)
    hdris: list = field(default_factory=list)
    fingerprints: dict = field(default_factory=lambda: dict(backgrounds=None, hdris=None))

    @classmethod
    def find(cls, backgrounds=None, hdris=None) -> 'Assets':
        """Lists and checks the files of two folders (and of the folders in them).

        Args:
            backgrounds: Folder of photos without people (.jpg, .png, ...), or None.
            hdris: Folder of environment pictures (.hdr, .exr), or None.

        Raises:
            FileNotFoundError: A folder is missing, or holds nothing of its kind.
            ValueError: A file cannot be read. It says which.
        """
        made = cls()
        if backgrounds is not None:
            made.photos = _listed(Path(backgrounds), PHOTO_SUFFIXES, 'background pictures')
            for path in made.photos:
                read_photo(path, reduced=True)
            made.fingerprints['backgrounds'] = _fingerprint(Path(backgrounds), made.photos)
        if hdris is not None:
            made.hdris = _listed(Path(hdris), HDRI_SUFFIXES, 'HDRIs')
            for path in made.hdris:
                check_hdri(path)
            made.fingerprints['hdris'] = _fingerprint(Path(hdris), made.hdris)
        return made


def _listed(folder: Path, suffixes: tuple, what: str) -> list:
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder} is not a folder; expected one with {what} ({", ".join(suffixes)})')
    paths = sorted(p for p in folder.rglob('*') if p.suffix.lower() in suffixes and p.is_file())
    if not paths:
        raise FileNotFoundError(f'{folder} holds no {what} ({", ".join(suffixes)})')
    return paths


def _fingerprint(folder: Path, paths: list) -> str:
    entries = '\n'.join(f'{path.relative_to(folder).as_posix()} {path.stat().st_size}' for path in paths)
    return f'{len(paths)} files ({hashlib.sha256(entries.encode()).hexdigest()[:12]})'


def read_photo(path, reduced: bool = False) -> np.ndarray:
    """(H, W, 3) uint8 sRGB in RGB order.

    Args:
        path: A picture.
        reduced: An eighth of the size, much faster: to see whether it can be read.

    Raises:
        ValueError: It is no picture that OpenCV reads.
    """
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise ValueError(f'cannot read the picture {path}: {error.strerror or error}') from error
    flag = cv2.IMREAD_REDUCED_COLOR_8 if reduced else cv2.IMREAD_COLOR
    image = cv2.imdecode(content, flag) if len(content) else None
    if image is None:
        raise ValueError(f'cannot read the picture {path}: empty, cut off or no picture; remove or replace it')
    return np.ascontiguousarray(image[..., ::-1])


def check_hdri(path):
    """Reads an environment picture once.

    Raises:
        ValueError: Mitsuba cannot read it.
    """
    from .render import mitsuba, read_hdri

    mitsuba()  # that it is missing is no fault of the file
    try:
        size = read_hdri(path).size()
    except Exception as error:
        reason = str(error).splitlines()[-1] if str(error) else type(error).__name__
        raise ValueError(f'cannot read the HDRI {path}: {reason}') from error
    if min(size[0], size[1]) < 2:
        raise ValueError(f'the HDRI {path} is only {size[0]} x {size[1]} pixels')


@dataclass
class Scenery:
    """What surrounds the people of one picture.

    Attributes:
        meshes: Ground, walls and things, all of instance 0 and part 0.
        lights: For `render.emitters`.
        backdrop: (H, W, 3) uint8 sRGB to put behind, or None.
        key: Exposure for `render.render`.
        parameters: Every choice, for JSON.
    """

    meshes: list
    lights: list
    backdrop: np.ndarray | None
    key: float
    parameters: dict


def draw_scenery(rng: np.random.Generator, camera: Camera, people: np.ndarray, floor: float,
                 assets: Assets | None = None, kind: str | None = None) -> Scenery:
    """Random surroundings and light that leave the view of the people free.

    Photos are put behind by `render`'s alpha (see there), not onto a wall: they keep their own light and sharpness. No
    shadow falls on them.

    Args:
        rng: All choices come from it.
        camera: The picture's camera.
        people: (N, 3) metres: vertices of all people (a sample is enough).
        floor: Height of the ground, metres: that of their lowest vertex, soles included.
        assets: The user's pictures.
        kind: ``'room'``, ``'outdoors'``, ``'photo'`` or ``'hdri'`` (seen as it is); by default photos if there are any,
            else drawn among the others.

    Raises:
        ValueError: An unknown kind, or one whose pictures are missing.
    """
    assets = assets or Assets()
    people = np.asarray(people, np.float64).reshape(-1, 3)
    if kind is None:
        choices = ['photo'] if assets.photos else ['room', 'hdri'] if assets.hdris else ['room', 'room', 'outdoors']
        kind = choices[rng.integers(len(choices))]
    if kind not in KINDS:
        raise ValueError(f'no scenery {kind!r}; known: {", ".join(KINDS)}')
    if kind == 'photo' and not assets.photos or kind == 'hdri' and not assets.hdris:
        raise ValueError(f'scenery {kind!r} needs pictures of its kind, and none were given')
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
    # Of a file the name alone: a set does not depend on where its pictures are.
    parameters.update(key=key, lights=[dict(light, file=Path(light['file']).name) if 'file' in light else light
                                       for light in lights])
    return Scenery(meshes, lights, backdrop, key, parameters)


def _round(value) -> float:
    """Six digits: enough for any of these numbers, and legible in a manifest."""
    return float(f'{value:.6g}')


class _Place:
    """The people and the camera on the ground's plan.

    Attributes:
        floor: Height of the ground.
        middle: (2,) where the people stand.
        radius: Their furthest point from there.
        back: (2,) unit direction from the camera's side to behind the people.
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

    @property
    def has_ground(self) -> bool:
        """A camera under the ground would see nothing but the ground."""
        return bool(self.camera.centre[2] > self.floor + 0.05)

    def sees(self, points: np.ndarray) -> bool:
        """Whether any of the points is in the image or close to its edge."""
        uv, z = self.camera.project(points)
        size = np.array([self.camera.width, self.camera.height])
        return bool(((z > 0) & (uv > -0.1 * size).all(axis=1) & (uv < 1.1 * size).all(axis=1)).any())


def _sun(rng) -> dict:
    elevation, azimuth = np.radians([rng.uniform(15, 70), rng.uniform(0, 360)])
    direction = [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]
    # A weaker sun stands for haze and thin cloud, whose shadows are soft.
    return dict(type='sunsky', sun_direction=[_round(x) for x in direction], turbidity=_round(rng.uniform(2, 7)),
                sun_scale=_round(rng.choice([0.05, 0.3, 1.0])), sky_scale=1.0, albedo=_round(rng.uniform(0.1, 0.4)))


def _panels(rng, place: _Place) -> list:
    """Even light from everywhere and one to three bright rectangles out of sight."""
    ambient = rng.uniform(0.15, 0.6)
    lights = [dict(type='constant', radiance=_tinted(rng, ambient, 0.08))]
    target = np.array([*place.middle, place.floor + 0.6 * (place.top - place.floor)])
    front = np.arctan2(-place.back[1], -place.back[0])
    for _ in range(rng.integers(1, 4)):
        for _attempt in range(20):
            azimuth, elevation = front + np.radians(rng.uniform(-110, 110)), np.radians(rng.uniform(15, 75))
            distance = place.radius + rng.uniform(1.2, 3.0)
            centre = target + distance * np.array([np.cos(azimuth) * np.cos(elevation),
                                                   np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
            size = rng.uniform(0.3, 1.6, 2)
            # Its corners lie on this ball, however it is turned.
            reach = np.linalg.norm(size) / 2
            around = centre + reach * np.array([[0, 0, 0], *np.eye(3), *-np.eye(3)])
            if not place.sees(around):
                break
        else:
            continue
        # As bright at the people whatever its size and distance.
        strength = rng.uniform(0.5, 3.0) * distance**2 / size.prod()
        lights.append(dict(type='panel', centre=[_round(x) for x in centre], target=[_round(x) for x in target],
                           size=[_round(x) for x in size], radiance=_tinted(rng, strength, 0.15)))
    return lights


def _tinted(rng, level: float, spread: float) -> list:
    """A white between candle-like and sky-like."""
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
    if blur:  # out of focus, as a background often is; in pixels of an image 768 high
        crop = cv2.GaussianBlur(crop, (0, 0), max(0.1, blur * camera.height / 768))
    crop = np.ascontiguousarray(crop[:, ::-1] if flip else crop)
    return crop, dict(file=path.name, crop=[x, y, w, h], flip=flip, blur=blur)


# Rooms and grounds


def _room(rng, place: _Place, lights: list) -> tuple:
    """Three walls behind and beside the people, a floor, and things along the walls. The front stays open."""
    turn = np.radians(rng.uniform(-35, 35))
    inward = -_turned(place.back, turn)
    aside = np.array([-inward[1], inward[0]])
    keep = np.array([place.camera.centre[:2], *[light['centre'][:2] for light in lights if 'centre' in light]])
    keep = keep - place.middle
    behind = max(place.radius + rng.uniform(0.4, 3.5), (keep @ -inward).max() + 0.3)
    sides = [max(place.radius + rng.uniform(0.8, 3.5), (keep @ s).max() + 0.3) for s in (aside, -aside)]
    front = max(place.radius, (keep @ inward).max()) + 1.0
    height = max(rng.uniform(2.3, 4.0), place.camera.centre[2] - place.floor + 0.5, place.top - place.floor + 0.3)

    def at(forward, side):
        return place.middle + inward * forward + aside * side

    corners = [at(front, sides[0]), at(-behind, sides[0]), at(-behind, -sides[1]), at(front, -sides[1])]
    meshes, names = [], {}
    wall, names['walls'] = draw_texture(rng, ('plain', 'noise', 'stripes', 'bricks', 'tiles', 'panels'))
    metres = _round(rng.uniform(0.8, 2.5))
    for i in range(3):
        meshes.append(_upright(f'wall{i}', corners[i], corners[i + 1], place.floor, height, wall, metres))
    if place.has_ground:
        floor, names['floor'] = draw_texture(rng, ('wood', 'tiles', 'checks', 'noise', 'speckles', 'plain'))
        meshes.append(_level('floor', np.array(corners), place.floor, floor, _round(rng.uniform(0.8, 2.5)),
                             roughness=float(rng.choice([0.4, 0.7, 1.0]))))
    things = []
    # Pictures and a door on the back wall, furniture before it.
    for _ in range(rng.integers(0, 4)):
        w, h = rng.uniform(0.3, 1.2, 2)
        if height < h + 1.0:
            continue
        side = rng.uniform(-sides[1] + w, sides[0] - w) if sides[0] + sides[1] > 2 * w else 0
        spot = np.array([*at(-behind + 0.02, side), place.floor + rng.uniform(0.9 + h / 2, height - h / 2 - 0.05)])
        texture, name = draw_texture(rng)
        meshes.append(block('picture', spot, (w, 0.03, h), _yaw(inward), texture))
        things.append(dict(thing='picture', texture=name))
    for _ in range(rng.integers(0, 6) if place.has_ground else 0):
        name = str(rng.choice(list(FURNITURE)))
        size = FURNITURE[name]['size'] * rng.uniform(0.8, 1.25, 3)
        reach = np.hypot(size[0], size[1]) / 2
        back_room = behind - place.radius - 0.15 - size[1]
        side = rng.uniform(-sides[1] + reach, sides[0] - reach) if sides[0] + sides[1] > 2 * reach else 0.0
        free = abs(side) - reach > place.radius + 0.1
        if back_room < 0 and not free:
            continue
        forward = -behind + size[1] / 2 + 0.03 + rng.uniform(0, min(0.4, max(back_room, 0)))
        made, textures = furnish(rng, name, np.array([*at(forward, side), place.floor]), size,
                                 _yaw(inward) + rng.normal() * 0.05)
        # Never between the camera and the people.
        depth = (made[0].vertices[:, :2] - place.middle) @ place.back
        if depth.min() < -place.radius and place.sees(made[0].vertices):
            continue
        meshes += made
        things.append(dict(thing=name, textures=textures))
    return meshes, dict(textures=names, things=things, height=_round(height), behind=_round(behind),
                        turn=_round(np.degrees(turn)), floor=place.has_ground)


def _outdoors(rng, place: _Place) -> tuple:
    """Ground to the horizon and up to five far walls or boxes."""
    meshes, names = [], {}
    reach = 3000.0  # so far that no gap is seen under the sky
    if place.has_ground:
        ground, names['ground'] = draw_texture(rng, ('noise', 'speckles', 'tiles', 'grass', 'bricks'))
        square = place.middle + reach * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1.0]])
        meshes.append(_level('ground', square, place.floor, ground, _round(rng.uniform(1, 3)), roughness=1.0))
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
    """(2,) a direction on the ground's plan, turned counter-clockwise by radians."""
    return (rotation_z(angle)[:2, :2] * direction).sum(axis=1)


def _yaw(direction: np.ndarray) -> float:
    """The turn about z that takes -y (the front of things) to a direction."""
    return float(np.arctan2(direction[0], -direction[1]))


def _mesh(name: str, vertices, faces, uv, texture, roughness: float, normals=None) -> Mesh:
    return Mesh(name, np.asarray(vertices, np.float32), np.asarray(faces, np.int32), np.zeros(len(faces), np.uint8),
                uv=np.asarray(uv, np.float32), albedo=texture, roughness=roughness, normals=normals)


def _upright(name: str, a, b, floor: float, height: float, texture, metres: float) -> Mesh:
    """A wall from ``a`` to ``b``; the texture repeats every ``metres``."""
    length = np.linalg.norm(b - a)
    vertices = [[*a, floor], [*b, floor], [*b, floor + height], [*a, floor + height]]
    uv = np.array([[0, 0], [length, 0], [length, height], [0, height]]) / metres
    return _mesh(name, vertices, [[0, 1, 2], [0, 2, 3]], uv, texture, 1.0)


def _level(name: str, corners: np.ndarray, height: float, texture, metres: float, roughness: float) -> Mesh:
    """A flat quadrilateral at a height."""
    vertices = np.concatenate([corners, np.full((4, 1), height)], axis=1)
    return _mesh(name, vertices, [[0, 1, 2], [0, 2, 3]], (corners - corners[0]) / metres, texture, roughness)


def block(name: str, centre: np.ndarray, size, yaw: float, texture, metres: float | None = None,
          roughness: float = 0.6) -> Mesh:
    """A box with a texture on each side.

    Args:
        name: For people.
        centre: (3,) metres.
        size: (3,) metres: width, depth, height.
        yaw: Radians about z.
        texture: (h, w, 3) uint8 sRGB.
        metres: The texture repeats every so many metres; None: once per side.
        roughness: As in `Mesh`.
    """
    vertices, faces, uv = [], [], []
    for axis in range(3):
        u, v = [(1, 2), (0, 2), (0, 1)][axis]
        for sign in (-1, 1):
            square = np.zeros((4, 3))
            square[:, axis] = sign
            square[:, u], square[:, v] = [-1, 1, 1, -1], [-1, -1, 1, 1]
            # Counter-clockwise seen from outside.
            order = [0, 1, 2, 3] if (sign > 0) == (axis != 1) else [1, 0, 3, 2]
            k = len(faces) * 2
            faces += [[k, k + 1, k + 2], [k, k + 2, k + 3]]
            vertices.append(square[order] / 2 * size)
            edge = np.array([1.0, 1.0]) if metres is None else np.array([size[u], size[v]]) / metres
            uv.append(np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * edge)
    placed = np.concatenate(vertices) @ rotation_z(yaw).T + centre
    return _mesh(name, placed, faces, np.concatenate(uv), texture, roughness)


#: Things as boxes in a unit cube: (middle x, y, z, width, depth, height), the front at -y; those of ``b`` have the
#: second texture.
FURNITURE = {
    'box': dict(size=np.array([0.6, 0.5, 0.7]), a=[(0, 0, 0.5, 1, 1, 1)], b=[]),
    'table': dict(size=np.array([1.4, 0.8, 0.75]), a=[(0, 0, 0.97, 1, 1, 0.06)],
                  b=[(x, y, 0.47, 0.06, 0.09, 0.94) for x in (-0.45, 0.45) for y in (-0.42, 0.42)]),
    'shelf': dict(size=np.array([0.9, 0.35, 1.9]),
                  a=[(x, 0, 0.5, 0.04, 1, 1) for x in (-0.48, 0.48)] + [(0, 0.48, 0.5, 1, 0.04, 1)] +
                  [(0, 0, z, 0.92, 1, 0.02) for z in (0.02, 0.26, 0.5, 0.74, 0.98)],
                  b=[(-0.2, 0.1, 0.36, 0.4, 0.6, 0.17), (0.15, 0.1, 0.6, 0.5, 0.6, 0.16),
                     (-0.3, 0.1, 0.84, 0.25, 0.6, 0.18), (0.25, 0.1, 0.11, 0.3, 0.6, 0.15)]),
    'sofa': dict(size=np.array([1.8, 0.85, 0.8]),
                 a=[(0, 0, 0.225, 1, 1, 0.45), (0, 0.4, 0.6, 1, 0.2, 0.8)] +
                 [(x, 0, 0.37, 0.104, 1.02, 0.74) for x in (-0.45, 0.45)],
                 b=[(x, -0.05, 0.5, 0.38, 0.7, 0.12) for x in (-0.2, 0.2)]),
    'cupboard': dict(size=np.array([1.0, 0.5, 2.0]), a=[(0, 0, 0.5, 1, 1, 1)],
                     b=[(x, -0.51, 0.5, 0.46, 0.02, 0.94) for x in (-0.245, 0.245)]),
    'lamp': dict(size=np.array([0.45, 0.45, 1.6]), a=[(0, 0, 0.86, 1, 1, 0.28)],
                 b=[(0, 0, 0.4, 0.07, 0.07, 0.8), (0, 0, 0.01, 0.6, 0.6, 0.02)]),
    'stool': dict(size=np.array([0.4, 0.4, 0.5]), a=[(0, 0, 0.95, 1, 1, 0.1)],
                  b=[(x, y, 0.45, 0.1, 0.1, 0.9) for x in (-0.4, 0.4) for y in (-0.4, 0.4)]),
}


def furnish(rng, name: str, place: np.ndarray, size: np.ndarray, yaw: float) -> tuple:
    """A piece of `FURNITURE` on the ground at ``place``: its one or two meshes and their textures' names."""
    meshes, textures = [], []
    turn = rotation_z(yaw)
    for group in 'ab':
        boxes = FURNITURE[name][group]
        if not boxes:
            continue
        texture, of = draw_texture(rng)
        textures.append(of)
        parts = [block(name, turn @ (np.array(b[:3]) * size) + place, np.array(b[3:]) * size, yaw, texture, 0.8)
                 for b in boxes]
        count = len(parts[0].vertices)
        meshes.append(_mesh(name, np.concatenate([p.vertices for p in parts]),
                            np.concatenate([p.faces + i * count for i, p in enumerate(parts)]),
                            np.concatenate([p.uv for p in parts]), texture, float(rng.choice([0.4, 0.7, 1.0]))))
    return meshes, textures


# Textures: they repeat without a seam.


def draw_texture(rng, names: tuple | None = None) -> tuple:
    """A random texture (TEXTURE, TEXTURE, 3) uint8 sRGB, and its name."""
    names = names or tuple(TEXTURES)
    name = names[rng.integers(len(names))]
    image = TEXTURES[name](rng)
    return (np.clip(image, 8 / 255, 247 / 255) * 255 + 0.5).astype(np.uint8), name


def _color(rng) -> np.ndarray:
    """(3,) sRGB of 0..1: mostly muted, now and then strong."""
    hue, value = rng.uniform(0, 6), rng.uniform(0.25, 0.95)
    saturation = rng.choice([rng.uniform(0, 0.25), rng.uniform(0, 0.25), rng.uniform(0.25, 0.8)])
    ramp = np.clip(np.abs((hue + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return (value * (1 - saturation * (1 - ramp))).astype(np.float32)


def periodic_noise(rng, cells: tuple, octaves: int = 5) -> np.ndarray:
    """(TEXTURE, TEXTURE) of about -1..1: sums of ever finer smooth noise, from ``cells`` (rows, columns) on."""
    # `textures.smooth_noise` does one octave of this, without the faint seam that is left here where a number of cells
    # does not divide TEXTURE. To use that one would change every picture of every seed.
    total = np.zeros((TEXTURE, TEXTURE), np.float32)
    for octave in range(octaves):
        rows, columns = (min(TEXTURE, max(1, c << octave)) for c in cells)
        grid = np.pad(rng.uniform(-1, 1, (rows, columns)).astype(np.float32), 2, mode='wrap')
        # One cell more on each side, cut off again: the edges agree.
        h, w = TEXTURE * (rows + 4) // rows, TEXTURE * (columns + 4) // columns
        big = cv2.resize(grid, (w, h), interpolation=cv2.INTER_CUBIC)
        top, left = TEXTURE * 2 // rows, TEXTURE * 2 // columns
        total += big[top:top + TEXTURE, left:left + TEXTURE] * 0.55**octave
    return total / np.abs(total).max()


def _axes() -> tuple:
    line = np.arange(TEXTURE) / TEXTURE
    return line[:, None], line[None]


def _mix(mask: np.ndarray, a, b) -> np.ndarray:
    mask = np.broadcast_to(np.asarray(mask, np.float32), (TEXTURE, TEXTURE))[..., None]
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    return b + mask * (a - b)


def _grain(rng, strength: float) -> np.ndarray:
    return np.float32(strength) * periodic_noise(rng, (8, 8), 4)[..., None]


def _plain(rng):
    return _color(rng) + _grain(rng, 0.02)


def _noise(rng):
    return _mix(0.5 + 0.5 * periodic_noise(rng, (4, 4), 6), _color(rng), _color(rng))


def _stripes(rng):
    y, x = _axes()
    wave = np.sin(2 * np.pi * int(rng.integers(2, 12)) * (x if rng.random() < 0.5 else y))
    return _mix((wave > rng.uniform(-0.7, 0.7)).astype(float), _color(rng), _color(rng)) + _grain(rng, 0.03)


def _checks(rng):
    y, x = _axes()
    count = 2 * int(rng.integers(1, 5))
    return _mix((np.floor(x * count) + np.floor(y * count)) % 2, _color(rng), _color(rng)) + _grain(rng, 0.04)


def _masonry(rng, rows: int, columns: int, shift: float, joint: float, spread: float):
    """Rows of blocks, each with its own shade, and joints between them."""
    y, x = _axes()
    row = np.floor(y * rows).astype(int)
    along = (x + shift * (row % 2) / columns) % 1 * columns
    shades = rng.normal(0, spread, (rows, columns))[row, np.floor(along).astype(int) % columns]
    gap = (along % 1 < joint * columns) | (y * rows % 1 < joint * rows)
    return _mix(gap.astype(float), _color(rng), _color(rng) + shades[..., None].astype(np.float32)) + _grain(rng, 0.06)


def _bricks(rng):
    return _masonry(rng, 2 * int(rng.integers(4, 8)), int(rng.integers(3, 6)), 0.5, 0.012, 0.06)


def _tiles(rng):
    count = int(rng.integers(2, 6))
    return _masonry(rng, count, count, 0.0, 0.008, 0.03)


def _panels_texture(rng):
    return _masonry(rng, 1, int(rng.integers(3, 8)), 0.0, 0.006, 0.03)


def _wood(rng):
    """Boards along x with grain."""
    boards = int(rng.integers(3, 8))
    y, x = _axes()
    row = np.floor(y * boards).astype(int)
    tone = np.array([0.62, 0.42, 0.26]) * rng.uniform(0.6, 1.3) + rng.normal(0, 0.03, 3)
    grain = periodic_noise(rng, (12, 1), 4)
    offset = rng.integers(0, TEXTURE, boards)
    grain = grain[np.arange(TEXTURE)[:, None], (np.arange(TEXTURE)[None] + offset[row]) % TEXTURE]
    shade = rng.normal(0, 0.05, boards)[row]
    seam = (y * boards % 1 < 0.015 * boards).astype(float)
    return tone * (1 + 0.25 * grain + shade)[..., None] * (1 - 0.5 * np.broadcast_to(seam, grain.shape)[..., None])


def _speckles(rng):
    spots = cv2.GaussianBlur(np.pad(rng.random((TEXTURE, TEXTURE)), 8, mode='wrap'), (0, 0), rng.uniform(0.6, 2.0))
    spots = spots[8:-8, 8:-8]
    return _mix((spots > np.quantile(spots, rng.uniform(0.6, 0.9))).astype(float), _color(rng), _color(rng))


def _grass(rng):
    blades = periodic_noise(rng, (24, 48), 3) + 0.6 * periodic_noise(rng, (4, 4), 3)
    return np.array([0.26, 0.38, 0.14]) * rng.uniform(0.7, 1.4) * (1 + 0.45 * blades[..., None])


TEXTURES = dict(plain=_plain, noise=_noise, stripes=_stripes, checks=_checks, bricks=_bricks, tiles=_tiles,
                panels=_panels_texture, wood=_wood, speckles=_speckles, grass=_grass)
