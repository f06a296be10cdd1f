"""Sets of synthetic people on disk: made in parallel, in shards, and continued where they were interrupted.

Layout of a set::

    images/000000.png       RGB
    masks/000000.png        255 where a person is seen
    instances/000000.png    number of the person, from 1
    parts/000000.png        body part (28 classes), indexed by colour
    depth/000000.npy        float32 metres along the optical axis, 0 off the persons
    normal/000000.npy       float32 (H, W, 3): x right, y up, z to the viewer; 0 off the persons
    samples/000000.json     camera, every parameter, annotations; written last, so it says that the sample is whole
    annotations/            person_keypoints.json (17), coco_wholebody.json (133), goliath.json (308): COCO's format
    settings.json           what the set was made with
"""
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

import sapiens_mm

from ..utils.shards import run_in_processes
from .body import Body, load_body
from .camera import Camera, frame_box
from .clothes import Wardrobe
from .labels import annotate, category, coco_annotation
from .mesh import Mesh, rotation_z
from .people import Person, build_person, sample_person
from .render import Buffers, mitsuba, render, set_threads
from .scenery import Assets, block, draw_scenery, draw_texture
from .writer import clean, differences, read_json, write_files, write_json

TASKS = ('pose', 'parts', 'depth', 'normal')
#: What an image shows, and how often.
FRAMINGS = dict(full_body=0.55, upper_body=0.25, face=0.2)
#: File name of each vocabulary's annotations.
ANNOTATIONS = dict(coco='person_keypoints.json', coco_wholebody='coco_wholebody.json', goliath='goliath.json')
_PERSONS = (0.55, 0.25, 0.13, 0.07)  # chances of one to four persons
_LOWEST_CAMERA = 0.1  # metres above the ground


@dataclass(frozen=True)
class Settings:
    """What a set is made with; the same settings give the same bytes.

    Attributes:
        seed: From 0.
        size: Height and width in pixels.
        samples: Light paths per pixel.
        tasks: Which labels to write, of :data:`TASKS`.
        framings: Which framings to draw, of :data:`FRAMINGS`.
        max_persons: Up to 4 in an image; with 0 the place alone is shown, as it would be with a person: backgrounds.
        backgrounds: Folder with images without people, or None for procedural surroundings.
        hdris: Folder with environment maps, or None for procedural light.

    Raises:
        ValueError: On a value out of its range.
    """

    seed: int = 0
    size: tuple[int, int] = (1024, 768)
    samples: int = 32
    tasks: tuple[str, ...] = TASKS
    framings: tuple[str, ...] = tuple(FRAMINGS)
    max_persons: int = 4
    backgrounds: str | None = None
    hdris: str | None = None

    def __post_init__(self):
        if min(self.size) < 16 or max(self.size) > 8192:
            raise ValueError(f'--size is the height and width of an image, 16 to 8192 pixels each, got {self.size}')
        if self.samples < 1:
            raise ValueError(f'--samples is the number of light paths per pixel, at least 1, got {self.samples}')
        if not 0 <= self.max_persons <= 4:
            raise ValueError(f'--max-persons is 1 to 4, or 0 for places without people, got {self.max_persons}')
        if self.seed < 0:
            raise ValueError(f'--seed is a number from 0, got {self.seed}')
        for name, values, known in (('tasks', self.tasks, TASKS), ('framing', self.framings, FRAMINGS)):
            if not values or set(values) - set(known):
                raise ValueError(f"--{name} takes some of {', '.join(known)}, got {', '.join(values) or 'none'}")


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
    """Draws and renders image ``index`` of a set; it depends on nothing but the arguments."""
    rng = np.random.default_rng([settings.seed, index])
    seconds = {}
    start = time.perf_counter()
    chances = np.array([FRAMINGS[name] for name in settings.framings])
    framing = str(rng.choice(list(settings.framings), p=chances / chances.sum()))
    chances = np.array(_PERSONS[:max(settings.max_persons, 1)])
    count = int(rng.choice(len(chances), p=chances / chances.sum())) + 1
    people, drawn, props = [], [], []
    for number in range(1, count + 1):
        parameters = sample_person(body, wardrobe, rng)
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
    seconds['people'] = time.perf_counter() - start
    buffers = render(meshes, camera, scenery.lights, samples=settings.samples, seed=int(rng.integers(2**32)),
                     backdrop=scenery.backdrop, key=scenery.key)
    seconds.update(buffers.seconds)
    start = time.perf_counter()
    annotations = [annotate(person, number, camera, buffers, meshes) for number, person in enumerate(people, 1)]
    seconds['annotate'] = time.perf_counter() - start
    buffers.seconds = seconds
    return Sample(buffers, camera, people, meshes, [entry for entry in annotations if entry],
                  dict(framing=framing, view=view, people=drawn, scenery=scenery.parameters))


def _place_person(body, wardrobe, rng, parameters, others, number) -> tuple[Person, dict]:
    """The first person at the origin, the next ones beside or behind; the camera will stand on the -y side."""
    # Mostly towards the camera, sometimes anywhere.
    yaw = float(rng.normal(0, 35) if rng.random() < 0.75 else rng.uniform(-180, 180))
    rotation = rotation_z(np.radians(yaw))
    spot = np.zeros(3)
    if others:
        side = rng.choice([-1, 1])
        spot = np.array([side * rng.uniform(0.35, 0.9), rng.uniform(-0.1, 1.4), 0.])
    person = build_person(body, wardrobe, parameters, rotation, spot, number)
    # Step aside until nobody stands in anybody.
    skin = body.skin_vertices[::8]
    for _ in range(12):
        if not any(_touch(person.body.vertices[skin], other.body.vertices[skin]) for other in others):
            break
        step = np.array([np.sign(spot[0]) * 0.15, 0.12, 0.])
        spot = spot + step
        _shift(person, step)
    return person, dict(yaw=round(yaw, 3), position=[round(float(value), 4) for value in spot])


def _shift(person: Person, step: np.ndarray) -> None:
    for mesh in person.meshes:
        mesh.vertices = (mesh.vertices + step).astype(np.float32)
    person.landmarks = (person.landmarks + step).astype(np.float32)
    person.body = person.body.moved(np.eye(3), step)


def _touch(points: np.ndarray, others: np.ndarray, distance: float = 0.06) -> bool:
    from scipy.spatial import cKDTree
    return bool(np.isfinite(cKDTree(others).query(points, distance_upper_bound=distance)[0]).any())


def _seat(body: Body, person: Person, rng: np.random.Generator, yaw: float) -> Mesh:
    """A box from the ground to the underside of a sitting person."""
    bottom = body.skin_vertices
    bottom = bottom[body.bone_weights('root', 'pelvis', 'upperleg01')[bottom] > 0.6]
    points = person.body.vertices[bottom]
    top = float(points[:, 2].min()) + 0.015  # cloth and flesh give way
    floor = float(person.body.vertices[body.skin_vertices, 2].min())
    middle = points.mean(axis=0)
    height = max(0.05, top - floor)
    texture, _ = draw_texture(rng)
    return block('seat', np.array([middle[0], middle[1], floor + height / 2]), (0.4, 0.36, height), yaw, texture, 0.7)


def _draw_camera(rng, framing, body, people, size, floor) -> tuple[Camera, dict]:
    person = people[0]
    skin = body.skin_vertices
    vertices = person.body.vertices
    if framing == 'full_body':
        everybody = len(people) > 1 and rng.random() < 0.6
        points = np.concatenate([other.body.vertices[skin] for other in (people if everybody else people[:1])])
        margin = rng.uniform(0., 0.14)
    elif framing == 'upper_body':
        points = vertices[skin][body.bone_weights('head', 'neck', 'spine', 'clavicle', 'shoulder')[skin] > 0.5]
        margin = rng.uniform(0., 0.2)
    else:
        points = vertices[skin][body.bone_weights('head')[skin] > 0.5]
        margin = rng.uniform(0.05, 0.25)
    view = dict(focal=float(rng.uniform(0.9, 2.6)), margin=float(margin),
                azimuth=float(rng.normal(0, 12)), elevation=float(np.clip(rng.normal(6, 9), -8, 40)),
                roll=float(rng.normal(0, 3)))
    view = {name: round(value, 5) for name, value in view.items()}
    camera = frame_box(points, size, **view)
    while camera.centre[2] < floor + _LOWEST_CAMERA:  # from below the ground people would stand on nothing
        view['elevation'] = round(view['elevation'] + 1, 5)
        camera = frame_box(points, size, **view)
    return camera, view


def write_sample(sample: Sample, index: int, folder: Path, settings: Settings) -> None:
    """Writes a sample's files, the JSON that says so last.

    Raises:
        OSError: If the disk is full; what was written of the sample does not count as one.
    """
    name, buffers = f'{index:06d}', sample.buffers
    write_files(folder, name, buffers.rgb, buffers, sample.camera, ('instances', *settings.tasks), 'samples', dict(
        id=index, image=f'{name}.png', seed=[settings.seed, index], annotations=sample.annotations,
        parameters=sample.parameters))


def _make_worker(folder: Path, settings: Settings, assets: Assets) -> Callable[[int], tuple[int, dict]]:
    """Returns the function that a worker applies to each index: it renders and writes the sample."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    set_threads(1)
    body = load_body()
    common = dict(body=body, wardrobe=Wardrobe(body), assets=assets)

    def make(index: int) -> tuple[int, dict]:
        sample = make_sample(index, settings, **common)
        start = time.perf_counter()
        write_sample(sample, index, folder, settings)
        return index, dict(sample.buffers.seconds, write=time.perf_counter() - start)

    return make


def generate(folder: str | Path, num: int, settings: Settings, workers: int = 1,
             shard: tuple[int, int] = (0, 1)) -> Iterator[tuple[int, dict]]:
    """Makes what is missing of a set, or of a shard of it.

    Args:
        folder: Where the set is or shall be.
        num: Number of images of the whole set.
        settings: What it is made with.
        workers: Processes. The bytes do not depend on it.
        shard: ``(i, n)``: of the images i, i + n, i + 2 n, ... only.

    Yields:
        ``(index, seconds by stage)`` of each finished image, in any order. At the end the annotations of all images
        that are there are collected.

    Raises:
        ValueError: If the folder holds a set of other settings or a broken JSON file, or ``num``, ``workers`` or
            ``shard`` is out of range.
        OSError: If a file cannot be written, or a worker died.
        ImportError: If the extra ``synth`` is not installed.
    """
    folder = Path(folder)
    if num < 1 or workers < 1:
        raise ValueError(f'--num and --workers are at least 1, got {num} and {workers}')
    if not 0 <= shard[0] < shard[1]:
        raise ValueError(f'--shard I/N needs 0 <= I < N, got {shard[0]}/{shard[1]}')
    assets = Assets.find(settings.backgrounds, settings.hdris)  # a bad file is told now, not by a worker
    mitsuba()  # and that it is missing, too
    _claim(folder, settings, assets)
    _clean(folder, shard)
    missing = [index for index in range(shard[0], num, shard[1])
               if not (folder / 'samples' / f'{index:06d}.json').exists()]
    if missing:
        # Without this, each of the workers would build Anny's cache the first time.
        load_body()
    try:
        # In processes of their own, even for one worker: the order of sums, and so the bytes, depend on their threads.
        yield from run_in_processes(functools.partial(_make_worker, folder, settings, assets), missing, workers)
    except BaseException as error:
        _clean(folder, shard)  # the workers were stopped in the middle of their samples
        if isinstance(error, ChildProcessError):
            raise ChildProcessError(f'{error}; finished samples are kept, and the same command continues') from None
        raise
    collect(folder)


def _clean(folder: Path, shard: tuple[int, int]) -> None:
    """Removes what killed workers left half-written; of this shard only, as others may be writing."""
    clean(folder, lambda name: shard == (0, 1) or (name.isdigit() and int(name) % shard[1] == shard[0]))


def _claim(folder: Path, settings: Settings, assets: Assets) -> None:
    """Notes the settings, or compares them with those that the folder was begun with."""
    # Of the user's pictures the names and sizes, wherever their folders are.
    mine = dict(asdict(settings), **assets.fingerprints, sapiens_mm=sapiens_mm.__version__)
    path = folder / 'settings.json'
    if not path.exists():
        if (folder / 'samples').exists():
            raise ValueError(f'{folder} holds samples but no settings.json: give another folder')
        write_json(path, mine)
        return
    before = read_json(path, 'give another folder, or put back the file that this set was begun with')
    differ = differences(before, mine)
    if differ:
        raise ValueError(f'{folder} holds a set made with {differ}: give another folder, or the same settings to '
                         'continue it')


def collect(folder: str | Path) -> int:
    """Writes the COCO annotations of all samples of a set; returns their number."""
    folder = Path(folder)
    samples = [read_json(path, 'remove it, and the same command makes its sample again')
               for path in sorted((folder / 'samples').glob('*.json'))]
    for vocabulary, name in ANNOTATIONS.items():
        images, annotations = [], []
        for sample in samples:
            camera = sample['camera']
            images.append(dict(id=sample['id'], file_name=sample['image'], width=camera['width'],
                               height=camera['height']))
            for common in sample['annotations']:
                annotations.append(dict(coco_annotation(common, vocabulary), image_id=sample['id'],
                                        id=10 * sample['id'] + common['instance']))
        write_json(folder / 'annotations' / name, dict(images=images, annotations=annotations,
                                                       categories=[category(vocabulary)]))
    return len(samples)
