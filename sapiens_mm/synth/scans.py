"""Depth, normals and masks of textured scans: the paper's benchmark protocol, whose renderer was never released.

THuman2.0 (``0000/0000.obj``, ``0000/material0.mtl``, ``0000/material0.jpeg``, ... 526 folders): three virtual cameras
per scan (face, upper body, full body), 1578 images over random backgrounds. Assumptions:

* y is up and the person faces roughly +z; the directions of the scans differ. `--yaw` turns all scans, a JSON file of
  yaws turns each.
* Their authors scaled every scan to about the same height and do not publish the true heights
  (ytrock/THuman2.0-Dataset, issues 2 and 16). So each scan becomes 1.7 m high unless another height is given. Depths
  are correct up to one factor per scan, which the relative depth of the benchmark ignores.

The region of a framing depends only on the scan's height h: the face is the top 0.14 h, the upper body the top 0.5 h.
A hand above the head therefore moves the image of the face up.

docs/synthetic_humans.md lists the files. ``cameras/ID.json`` is written last and marks an image as finished.
"""
import re
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..utils.text import differences
from .assets import Assets
from .camera import check_size, frame_box
from .extra import mitsuba, trimesh
from .render import render
from .scan_files import SUFFIXES, Placement, ScanError, check_suffix, check_textures, load_scan
from .scenery import draw_scenery
from .writer import clean, read_json, write_files

#: Start as a share of the height, range of focal lengths (units of the longer side), margin.
FRAMINGS = {
    'face': (0.86, (1.8, 2.8), 0.08),
    'upper_body': (0.5, (1.4, 2.4), 0.05),
    'full_body': (0.0, (1.2, 2.2), 0.05),
}
#: Meters; THuman2.0's scans have no true size.
THUMAN_HEIGHT = 1.7


def find_scans(source) -> tuple:
    """Lists a file, a folder of scans or THuman2.0: ``('thuman2' or 'files', {name: path})``, sorted by name. Raises a
    FileNotFoundError if there are no scans, and a ScanError for another format or two scans with the same name.
    """
    source = Path(source)
    if source.is_file():
        check_suffix(source)
        return 'files', {source.stem: source}
    if not source.is_dir():
        raise FileNotFoundError(f'{source} does not exist; expected a scan, a folder of scans ({", ".join(SUFFIXES)}), '
                                'or the folder of THuman2.0 that holds 0000, 0001, ...')
    folders = sorted(p for p in source.iterdir() if p.is_dir() and re.fullmatch(r'\d{4}', p.name))
    if folders:
        scans = {folder.name: folder / f'{folder.name}.obj' for folder in folders}
        if missing := [path for path in scans.values() if not path.is_file()]:
            raise FileNotFoundError(f'{missing[0]} is missing, as are {len(missing)} of {len(scans)} scans; expected '
                                    'THuman2.0 as NNNN/NNNN.obj')
        return 'thuman2', scans
    paths = sorted(p for p in source.rglob('*') if p.suffix.lower() in SUFFIXES and p.is_file())
    if not paths:
        raise FileNotFoundError(f'{source}: got no scans, expected {", ".join(SUFFIXES)} or folders 0000, 0001, ...')
    names = ['_'.join(path.relative_to(source).with_suffix('').parts) for path in paths]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ScanError(f'{source}: got several scans of the name {twice[0]}, expected different names')
    return 'files', dict(zip(names, paths))


def region(meshes: list, framing: str) -> np.ndarray:
    """Returns a placed scan's (N, 3) vertices above a share of its height; for the face only those near its middle."""
    vertices = np.concatenate([mesh.vertices for mesh in meshes])
    height = vertices[:, 2].max()
    chosen = vertices[vertices[:, 2] >= FRAMINGS[framing][0] * height]
    if framing == 'face':
        near = np.abs(chosen[:, :2] - np.median(chosen[:, :2], axis=0)).max(axis=1) < 0.1 * height
        chosen = chosen[near] if near.any() else chosen
    return chosen


def check_shard(shard: tuple) -> None:
    """Raises a ValueError unless ``0 <= i < n`` for ``(i, n)``."""
    if not 0 <= shard[0] < shard[1]:
        raise ValueError(f'shard: got {shard[0]} of {shard[1]}, expected 0 <= i < n')


def finished(out, name: str, settings: dict) -> bool:
    """Returns whether an image exists; raises a ValueError if it has other settings, or its JSON is broken."""
    path = Path(out) / f'cameras/{name}.json'
    if not path.is_file():
        return False
    record = read_json(path, 'remove it and run the same command again')
    before = record.get('settings', {})
    if 'size' in before:  # version 0.1.0 wrote width, height
        before['size_hw'] = before.pop('size')[::-1]
    if differ := differences(before, settings):
        raise ValueError(f'{path}: got other settings ({differ}); give another output folder')
    return True


def render_scans(source, out, *, size: tuple = (1024, 768), samples: int = 32, seed: int = 0,
                 placement: Placement | None = None, yaws: dict | None = None, assets: Assets | None = None,
                 framings: tuple = tuple(FRAMINGS), turn: float = 20.0, shard: tuple = (0, 1),
                 allow_untextured: bool = False, progress=None) -> int:
    """Renders scans under the paper's protocol, and continues an interrupted run; returns the number of new images.

    Each image depends only on the seed, the name of its scan and its framing.

    Args:
        source: See `find_scans`.
        size: ``(height, width)`` pixels.
        samples: Rays per pixel.
        seed: Seed of cameras, backgrounds, light and noise.
        placement: Conversion to meters; THuman2.0 gets `THUMAN_HEIGHT` if it has neither unit nor height.
        yaws: Degrees by scan name, added to the placement's.
        framings: Names from `FRAMINGS`.
        turn: Largest angle in degrees from the scan's front to the camera.
        shard: ``(i, n)``: only every n-th scan from the i-th (0 to n - 1).
        progress: Called as ``progress(done, total, name)`` after each image.

    Raises:
        ValueError: An argument is invalid, or the folder has other settings.
        ScanError, OSError: See `load_scan` and `write_files`.
    """
    mitsuba(), trimesh()
    size = check_size(size)
    if samples < 1:
        raise ValueError(f'samples per pixel: got {samples}, expected at least 1')
    if not framings or set(framings) - set(FRAMINGS):
        raise ValueError(f'framings: got {", ".join(framings) or "none"}, expected some of {", ".join(FRAMINGS)}')
    check_shard(shard)
    layout, scans = find_scans(source)
    placement = placement or Placement()
    if layout == 'thuman2' and placement.unit is None and placement.height is None:
        placement = replace(placement, height=THUMAN_HEIGHT)
    assets, yaws = assets or Assets(), yaws or {}
    if unknown := sorted(set(yaws) - set(scans)):
        raise ValueError(f'yaws: got {", ".join(unknown[:5])}, expected names of scans in {source}')
    mine = list(scans.items())[shard[0]::shard[1]]
    if not allow_untextured:
        check_textures([path for _, path in mine])
    clean(out, {f'{name}_{framing}' for name, _ in mine for framing in FRAMINGS}.__contains__)
    made, done = 0, 0
    for name, path in mine:
        pose = replace(placement, yaw=placement.yaw + yaws.get(name, 0.0))
        settings = dict(size_hw=list(size), samples=samples, seed=seed, up=pose.up, unit=pose.unit, height=pose.height,
                        yaw=pose.yaw, turn=turn, **assets.fingerprints)
        meshes = None
        for framing in framings:
            image = f'{name}_{framing}'
            if not finished(out, image, settings):
                meshes = meshes or load_scan(path, pose, allow_untextured)
                if not _render_view(out, name, framing, meshes, assets, settings):
                    raise ScanError(f'{path}: got an empty image in the framing {framing}, expected the scan')
                made += 1
            done += 1
            if progress:
                progress(done, len(mine) * len(framings), image)
    return made


def _render_view(out, name: str, framing: str, meshes: list, assets: Assets, settings: dict) -> bool:
    image, turn = f'{name}_{framing}', settings['turn']
    rng = np.random.default_rng([settings['seed'], zlib.crc32(image.encode())])
    vertices = np.concatenate([mesh.vertices for mesh in meshes])
    _, focal, margin = FRAMINGS[framing]
    view = dict(focal=float(rng.uniform(*focal)), azimuth=float(rng.uniform(-turn, turn)),
                elevation=float(rng.uniform(-5, 10)), roll=float(rng.normal(0, 2)))
    camera = frame_box(region(meshes, framing), settings['size_hw'], margin=margin, **view)
    scenery = draw_scenery(rng, camera, vertices[::max(1, len(vertices) // 2000)], float(vertices[:, 2].min()), assets)
    noise = int(rng.integers(2**32))
    buffers = render(meshes + scenery.meshes, camera, scenery.lights, samples=settings['samples'], seed=noise,
                     backdrop=scenery.backdrop, key=scenery.key)
    if buffers.person.any():
        write_files(out, image, buffers.rgb, buffers, camera, ('depth', 'normal'), 'cameras', dict(
            id=image, scan=name, framing=framing, view=view, scenery=scenery.parameters, noise=noise,
            settings=settings), instances=False)
    return bool(buffers.person.any())
