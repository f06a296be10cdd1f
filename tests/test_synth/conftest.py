"""A body, and small sets of people that several test files look at."""
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest


def read_sample(folder: Path, name: str) -> SimpleNamespace:
    """What the files of a sample hold."""
    from PIL import Image

    from sapiens_mm.synth.camera import Camera
    content = json.loads((folder / f'samples/{name}.json').read_text())
    pictures = {kind: np.asarray(Image.open(folder / f'{kind}/{name}.png'))
                for kind in ('images', 'masks', 'instances', 'parts')}
    return SimpleNamespace(
        name=name, content=content, camera=Camera.from_dict(content['camera']), annotations=content['annotations'],
        depth=np.load(folder / f'depth/{name}.npy'), normal=np.load(folder / f'normal/{name}.npy'), **pictures)


@pytest.fixture(scope='session')
def body():
    pytest.importorskip('anny')
    from sapiens_mm.synth.body import load_body
    return load_body()


@pytest.fixture(scope='session')
def wardrobe(body):
    from sapiens_mm.synth.clothes import Wardrobe
    return Wardrobe(body)


def _generate(folder: Path, num: int, **settings) -> Path:
    pytest.importorskip('mitsuba')
    from sapiens_mm.synth.generate import Settings, generate
    done = [index for index, _ in generate(folder, num, Settings(samples=1, **settings))]
    assert sorted(done) == list(range(num))
    return folder


@pytest.fixture(scope='session')
def fresh_set(tmp_path_factory, body) -> Path:
    """8 images of all framings."""
    return _generate(tmp_path_factory.mktemp('people'), 8, size=(256, 192))


@pytest.fixture(scope='session')
def tiny_set(tmp_path_factory, body) -> Path:
    """4 images, too small to look at; made by one worker."""
    return _generate(tmp_path_factory.mktemp('tiny'), 4, size=(64, 48), seed=7)


@pytest.fixture(scope='session', params=['fresh', pytest.param('large', marks=pytest.mark.slow)])
def samples(request, tmp_path_factory, body) -> list:
    """The samples of a fresh set; of a larger one too in slow runs."""
    if request.param == 'fresh':
        folder = request.getfixturevalue('fresh_set')
    else:
        folder = _generate(tmp_path_factory.mktemp('large'), 24, size=(384, 288), seed=11)
    return [read_sample(folder, path.stem) for path in sorted((folder / 'samples').iterdir())]


@pytest.fixture(scope='session')
def digests():
    """A function: SHA-256 of every file of a folder by relative path."""

    def digests(folder: Path) -> dict:
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(Path(folder).rglob('*')) if path.is_file()}

    return digests
