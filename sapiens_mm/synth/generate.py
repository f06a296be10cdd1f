"""Datasets of synthetic people: generated in parallel, in shards, and continued after an interruption.

docs/synthetic_humans.md lists the files. A sample's JSON in ``samples/`` is written last and marks it as finished.
"""
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.spatial import cKDTree

import sapiens_mm

from ..tasks import canonical_name
from ..utils.shards import run_in_processes
from ..utils.text import differences
from .body import Body, load_body
from .camera import Camera, frame_box
from .closet import Closet
from .clothes import Wardrobe
from .extra import denoiser, mitsuba, set_threads
from .labels import annotate, category, coco_annotation
from .mesh import Mesh, rotation_z
from .people import Person, build_person, sample_person
from .poses import POSES
from .render import Buffers, render
from .scenery import Assets, block, draw_scenery
from .surfaces import draw_texture
from .writer import LABEL_IMAGES, clean, read_json, write_files, write_json

TASKS = ('pose', *LABEL_IMAGES)
#: Probability of each framing.
FRAMINGS = dict(full_body=0.55, upper_body=0.25, face=0.2)
#: File name of each keypoint set's annotations.
ANNOTATIONS = dict(coco='person_keypoints.json', coco_wholebody='coco_wholebody.json', goliath='goliath.json')
_PERSONS = (0.55, 0.25, 0.13, 0.07)  # probabilities of one to four persons
_LOWEST_CAMERA = 0.1  # meters above the ground
_NEAREST_CAMERA = 0.3  # meters from any person


@dataclass(frozen=True)
class Settings:
    """Settings of a dataset; the same settings give the same bytes. Raises a ValueError if one is out of range.

    Attributes:
        seed: At least 0.
        size: Height and width in pixels, 16 to 8192 each.
        samples: Light paths per pixel.
        denoise: Whether to remove their noise.
        tasks, framings: Labels to write, of :data:`TASKS`, and framings to draw from, of :data:`FRAMINGS`.
        poses: Groups of poses to draw from with equal probability, of :data:`sapiens_mm.synth.poses.POSES`.
        max_persons: Maximum number of persons in an image, at most 4. 0 renders the scenes without people.
        backgrounds, hdris: Folders with images without people and with environment maps, or None for procedural ones.
        assets: A folder with MakeHuman's clothes, hair and skins, or None for procedural ones alone.
    """
    seed: int = 0
    size: tuple[int, int] = (1024, 768)
    samples: int = 4
    denoise: bool = True
    tasks: tuple[str, ...] = TASKS
    framings: tuple[str, ...] = tuple(FRAMINGS)
    poses: tuple[str, ...] = ('everyday', )
    max_persons: int = 4
    backgrounds: str | None = None
    hdris: str | None = None
    assets: str | None = None

    def __post_init__(self):
        object.__setattr__(self, 'tasks', tuple(map(canonical_name, self.tasks)))
        if min(self.size) < 16 or max(self.size) > 8192:
            raise ValueError(f'--size: got {self.size}, expected a height and a width of 16 to 8192 pixels')
        if self.samples < 1:
            raise ValueError(f'--samples: got {self.samples}, expected at least 1 light path per pixel')
        if not 0 <= self.max_persons <= 4:
            raise ValueError(f'--max-persons: got {self.max_persons}, expected 1 to 4, or 0 for images without people')
        if self.seed < 0:
            raise ValueError(f'--seed: got {self.seed}, expected at least 0')
        for name, values, known in (('tasks', self.tasks, TASKS), ('framing', self.framings, FRAMINGS),
                                    ('poses', self.poses, POSES)):
            if not values or set(values) - set(known):
                raise ValueError(f"--{name}: got {', '.join(values) or 'none'}, expected some of {', '.join(known)}")


@dataclass
class Sample:
    """One image with its labels."""
    buffers: Buffers
    camera: Camera
    people: list[Person]
    meshes: list[Mesh]
    annotations: list[dict]
    parameters: dict


def make_sample(index: int, settings: Settings, body: Body, wardrobe: Wardrobe, assets: Assets) -> Sample:
    """Draws and renders image ``index`` of a dataset; the result depends only on the arguments."""
    rng = np.random.default_rng([settings.seed, index])
    start = time.perf_counter()
    chances = np.array([FRAMINGS[name] for name in settings.framings])
    framing = str(rng.choice(list(settings.framings), p=chances / chances.sum()))
    chances = np.array(_PERSONS[:max(settings.max_persons, 1)])
    count = int(rng.choice(len(chances), p=chances / chances.sum())) + 1
    people, drawn, props = [], [], []
    for number in range(1, count + 1):
        parameters = sample_person(body, wardrobe, rng, settings.poses)
        person, place = _place_person(body, wardrobe, rng, parameters, people, number)
        people.append(person)
        drawn.append(dict(parameters, **place))
        if parameters['pose']['kind'] == 'sitting':
            props.append(_seat(body, person, rng, np.radians(place['yaw'])))
    floor = min(float(mesh.vertices[:, 2].min()) for person in people for mesh in person.meshes)
    camera, view = _draw_camera(rng, framing, body, people, settings.size, floor)
    crowd = np.concatenate([person.body.vertices[body.skin_vertices[::40]] for person in people])
    scenery = draw_scenery(rng, camera, crowd, floor, assets)
    if settings.max_persons == 0:
        people, drawn, props = [], [], []
    meshes = [mesh for person in people for mesh in person.meshes] + props + scenery.meshes
    drawing = time.perf_counter() - start
    buffers = render(meshes, camera, scenery.lights, samples=settings.samples, seed=int(rng.integers(2**32)),
                     backdrop=scenery.backdrop, key=scenery.key, denoised=settings.denoise)
    start = time.perf_counter()
    annotations = [annotate(person, number, camera, buffers, meshes) for number, person in enumerate(people, 1)]
    buffers.seconds = dict(people=drawing, **buffers.seconds, annotate=time.perf_counter() - start)
    return Sample(buffers, camera, people, meshes, [entry for entry in annotations if entry],
                  dict(framing=framing, view=view, people=drawn, scenery=scenery.parameters))


def _place_person(body, wardrobe, rng, parameters, others, number) -> tuple[Person, dict]:
    """Places the first person at the origin and others beside or behind; the camera will be on the -y side."""
    # Mostly toward the camera, sometimes in any direction.
    yaw = float(rng.normal(0, 35) if rng.random() < 0.75 else rng.uniform(-180, 180))
    spot = np.zeros(3)
    if others:
        side = rng.choice([-1, 1])
        spot = np.array([side * rng.uniform(0.35, 0.9), rng.uniform(-0.1, 1.4), 0.])
    person = build_person(body, wardrobe, parameters, rotation_z(np.radians(yaw)), spot, number)
    # Step aside until no two persons intersect.
    skin = body.skin_vertices[::8]
    for _ in range(12):
        if not any(_touch(person.body.vertices[skin], other.body.vertices[skin]) for other in others):
            break
        step = np.array([np.sign(spot[0]) * 0.15, 0.12, 0.])
        spot = spot + step
        for mesh in person.meshes:
            mesh.vertices = (mesh.vertices + step).astype(np.float32)
        person.landmarks = (person.landmarks + step).astype(np.float32)
        person.body = person.body.moved(np.eye(3), step)
    return person, dict(yaw=round(yaw, 3), position=[round(float(value), 4) for value in spot])


def _touch(points: np.ndarray, others: np.ndarray, distance: float = 0.06) -> bool:
    return bool(np.isfinite(cKDTree(others).query(points, distance_upper_bound=distance)[0]).any())


def _seat(body: Body, person: Person, rng: np.random.Generator, yaw: float) -> Mesh:
    skin = body.skin_vertices
    points = person.body.vertices[skin[body.bone_weights('root', 'pelvis', 'upperleg01')[skin] > 0.6]]
    top = float(points[:, 2].min()) + 0.015  # cloth and flesh give way
    floor = float(person.body.vertices[skin, 2].min())
    x, y, _ = points.mean(axis=0)
    height = max(0.05, top - floor)
    texture, _ = draw_texture(rng)
    return block('seat', np.array([x, y, floor + height / 2]), (0.4, 0.36, height), yaw, texture, 0.7)


def _draw_camera(rng, framing, body, people, size, floor) -> tuple[Camera, dict]:
    skin = body.skin_vertices
    if framing == 'full_body':
        everybody = len(people) > 1 and rng.random() < 0.6
        points = np.concatenate([person.body.vertices[skin] for person in (people if everybody else people[:1])])
        margin = rng.uniform(0., 0.14)
    else:
        bones, limits = (('head', ), (0.05, 0.25)) if framing == 'face' else (
            ('head', 'neck', 'spine', 'clavicle', 'shoulder'), (0., 0.2))
        points = people[0].body.vertices[skin][body.bone_weights(*bones)[skin] > 0.5]
        margin = rng.uniform(*limits)
    view = dict(focal=float(rng.uniform(0.9, 2.6)), margin=float(margin),
                azimuth=float(rng.normal(0, 12)), elevation=float(np.clip(rng.normal(6, 9), -8, 40)),
                roll=float(rng.normal(0, 3)))
    view = {name: round(value, 5) for name, value in view.items()}
    camera = frame_box(points, size, **view)
    crowd = np.concatenate([person.body.vertices[skin] for person in people])
    while _distance(camera, crowd) < _NEAREST_CAMERA:  # a longer lens frames the same points from farther away
        view['focal'] = round(view['focal'] * 1.1, 5)
        camera = frame_box(points, size, **view)
    while camera.center[2] < floor + _LOWEST_CAMERA:  # a camera below the ground would not see it
        view['elevation'] = round(view['elevation'] + 1, 5)
        camera = frame_box(points, size, **view)
    return camera, view


def _distance(camera: Camera, points: np.ndarray) -> float:
    """Returns the meters to the nearest point in front of the camera."""
    local = camera.transform(points)
    return float(np.linalg.norm(local[local[:, 2] > 0], axis=1).min())


def write_sample(sample: Sample, index: int, folder: Path, settings: Settings) -> None:
    """Writes the files of a sample; the JSON, which marks it as finished, comes last."""
    name, buffers = f'{index:06d}', sample.buffers
    write_files(folder, name, buffers.rgb, buffers, sample.camera, settings.tasks, 'samples', dict(
        id=index, image=f'{name}.png', seed=[settings.seed, index], annotations=sample.annotations,
        parameters=sample.parameters))


def _make_worker(folder: Path, settings: Settings, assets: Assets) -> Callable[[int], tuple[int, dict]]:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    set_threads(1)
    body = load_body()
    wardrobe = Wardrobe(body, Closet(body, assets.makehuman) if assets.makehuman else None)

    def make(index: int) -> tuple[int, dict]:
        sample = make_sample(index, settings, body, wardrobe, assets)
        start = time.perf_counter()
        write_sample(sample, index, folder, settings)
        return index, dict(sample.buffers.seconds, write=time.perf_counter() - start)

    return make


def generate(folder: str | Path, num: int, settings: Settings, workers: int = 1,
             shard: tuple[int, int] = (0, 1)) -> Iterator[tuple[int, dict]]:
    """Generates the missing images of a dataset or shard, then collects the annotations of all existing images.

    Args:
        num: Number of images of the whole dataset.
        workers: Number of processes; the bytes do not depend on it.
        shard: ``(i, n)``: only images i, i + n, i + 2 n, ...
    Yields ``(index, seconds by stage)`` of each finished image, in any order.

    Raises:
        ValueError: An argument is out of range, the folder has other settings, or a JSON file is broken.
        OSError: A file cannot be written, or a worker died.
        ImportError: The extra ``synth`` is not installed.
    """
    folder = Path(folder)
    if num < 1 or workers < 1:
        raise ValueError(f'--num, --workers: got {num}, {workers}, expected at least 1')
    if not 0 <= shard[0] < shard[1]:
        raise ValueError(f'--shard: got {shard[0]}/{shard[1]}, expected I/N with 0 <= I < N')
    # Bad files and a missing extra are reported here rather than by a worker.
    assets = Assets.find(settings.backgrounds, settings.hdris, settings.assets)
    mitsuba()
    if settings.denoise:
        denoiser()
    _check_settings(folder, settings, assets)
    _clean(folder, shard)
    missing = [index for index in range(shard[0], num, shard[1])
               if not (folder / 'samples' / f'{index:06d}.json').exists()]
    if missing:
        # Otherwise each worker would build Anny's cache the first time.
        load_body()
    try:
        # New processes, even for one worker: the order of sums, and so the bytes, depend on the number of threads.
        yield from run_in_processes(functools.partial(_make_worker, folder, settings, assets), missing, workers)
    except BaseException as error:
        _clean(folder, shard)  # the workers were stopped in the middle of their samples
        if isinstance(error, ChildProcessError):
            raise ChildProcessError(f'{error}; finished samples are kept, and the same command continues') from None
        raise
    collect(folder)


def _clean(folder: Path, shard: tuple[int, int]) -> None:
    """Removes incomplete files of killed workers, but only of this shard, as other shards may be running."""
    clean(folder, lambda name: shard == (0, 1) or (name.isdigit() and int(name) % shard[1] == shard[0]))


def _check_settings(folder: Path, settings: Settings, assets: Assets) -> None:
    # The user's images count by names and sizes, wherever their folders are.
    mine = dict(asdict(settings), **assets.fingerprints, sapiens_mm=sapiens_mm.__version__)
    path = folder / 'settings.json'
    if not path.exists():
        if (folder / 'samples').exists():
            raise ValueError(f'{folder}: got samples without settings.json; give another folder')
        write_json(path, mine)
        return
    before = read_json(path, 'give another folder, or restore the original file')
    before['tasks'] = [canonical_name(task) for task in before.get('tasks', [])]
    before.setdefault('denoise', False)  # sets made before the denoiser
    before.setdefault('assets', None)
    before.setdefault('poses', ['everyday'])
    if differ := differences(before, mine):
        raise ValueError(f'{folder}: got a set made with {differ}; give another folder, or the same settings to '
                         'continue it')


def collect(folder: str | Path) -> int:
    """Writes the COCO annotations of all samples of a dataset; returns the number of samples."""
    folder = Path(folder)
    samples = [read_json(path, 'remove it and run the same command again')
               for path in sorted((folder / 'samples').glob('*.json'))]
    images = [dict(id=sample['id'], file_name=sample['image'], width=sample['camera']['width'],
                   height=sample['camera']['height']) for sample in samples]
    for vocabulary, name in ANNOTATIONS.items():
        annotations = [dict(coco_annotation(common, vocabulary), image_id=sample['id'],
                            id=10 * sample['id'] + common['instance'])
                       for sample in samples for common in sample['annotations']]
        write_json(folder / 'annotations' / name, dict(images=images, annotations=annotations,
                                                       categories=[category(vocabulary)]))
    return len(samples)
