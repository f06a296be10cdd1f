"""Fixtures of several test files."""
import gc
import itertools
import json
import multiprocessing
import os
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import mmengine
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

from sapiens_mm.version import require_torch

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / 'shared'

torch.set_num_threads(2)  # more threads slow small models down
# Formatting takes up to a second, at each start and each checkpoint of a run. The text is Python without it too.
mmengine.config.config.FormatCode = lambda text, **_: (text, True)


@pytest.fixture(scope='module', autouse=True)
def _freeze_imported_objects():
    """Takes what is imported by now out of garbage collection, which MMEngine starts for each dataset it opens."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _reset_default_scope():
    """A runner sets the default scope of all registries for the rest of the process."""
    DefaultScope._instance_dict.clear()


@pytest.fixture
def postscript(tmp_path, monkeypatch) -> bytes:
    """A PostScript file; the test fails if Ghostscript is run, whether it is installed or not."""
    ran = tmp_path / 'gs_was_run'
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin/gs').write_text(f'#!/bin/sh\ntouch {ran}\n')
    (tmp_path / 'bin/gs').chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}/bin:{os.environ["PATH"]}')
    monkeypatch.setattr('PIL.EpsImagePlugin.gs_binary', None)  # not looked for yet
    yield b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n'
    assert not ran.exists()


def _skip_before(torch_version: str, what: str) -> None:
    try:
        require_torch(torch_version, what)
    except ImportError as error:
        pytest.skip(str(error))


@pytest.fixture(scope='session')
def can_export():
    from sapiens_mm.apis.export import OLDEST_TORCH
    _skip_before(OLDEST_TORCH, 'exporting')


@pytest.fixture(scope='session')
def can_shard():
    from sapiens_mm.engine.sharded_checkpoint import OLDEST_TORCH
    _skip_before(OLDEST_TORCH, 'training in shards')


@pytest.fixture(scope='session')
def root() -> Path:
    """The repository."""
    return ROOT


# What a forked process runs: what an interpreter would run for a script.
_RUN = '''
import gc, os, runpy, sys
gc.freeze()  # as in `_freeze_imported_objects`
for number, path in enumerate((out, err), 1):
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
os.chdir(cwd)
os.environ.update(env)
import mmengine, torch
torch.set_num_threads(1)
mmengine.config.config.FormatCode = lambda text, **_: (text, True)
sys.argv, sys.path[:0] = argv, [os.path.dirname(argv[0]), *path_entries]
runpy.run_path(argv[0], run_name='__main__')
'''


class ForkedTool:
    """A script in a process of its own, which is forked after the hosts were imported: importing them takes seconds.

    The process has imported nothing of this package, so it fails where a tool or a config forgets an import.
    """
    _context = multiprocessing.get_context('forkserver')
    # The server finds the first of them there.
    os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, (str(ROOT / 'tests/preload'), os.getenv('PYTHONPATH'))))
    _context.set_forkserver_preload(
        ['spare_mmpretrain', 'torchvision', 'mmpose.apis', 'mmseg.apis', 'mmdet.apis', 'torch._dynamo'])

    def __init__(self, log: Path, tool, *arguments, cwd=ROOT, path=(), **env):
        self.argv = [str(ROOT / tool), *map(str, arguments)]
        self.logs = log.with_suffix('.out'), log.with_suffix('.err')
        out, err = map(str, self.logs)
        self.process = self._context.Process(target=exec, args=(_RUN, dict(
            argv=self.argv, out=out, err=err, cwd=str(cwd), path_entries=list(map(str, path)),
            env={**os.environ, 'OMP_NUM_THREADS': '1', **env})))
        self.process.start()

    def output(self) -> list[str]:
        return [log.read_text() if log.exists() else '' for log in self.logs]

    def wait(self, timeout: float = 200) -> subprocess.CompletedProcess:
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            out, err = self.output()
            pytest.fail(f'{self.argv} did not end in {timeout} s:\n{out[-3000:]}{err[-9000:]}')
        return subprocess.CompletedProcess(self.argv, self.process.exitcode, *self.output())


@pytest.fixture(scope='session')
def start_tool(tmp_path_factory):
    """Starts a script; see :class:`ForkedTool`."""
    folder, numbers = tmp_path_factory.mktemp('tools'), itertools.count()
    return lambda tool, *arguments, **options: ForkedTool(folder / str(next(numbers)), tool, *arguments, **options)


@pytest.fixture(scope='session')
def run_tool(start_tool):
    """Runs a script and returns its exit status and output; see :class:`ForkedTool`."""
    return lambda *arguments, timeout=200, **options: start_tool(*arguments, **options).wait(timeout)


@pytest.fixture
def run_main(root, monkeypatch, capfd):
    """Runs a script of this repository in this process, which starts no interpreter: exit status, output, errors."""

    def run(tool, *arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, 'argv', [str(root / tool), *map(str, arguments)])
        monkeypatch.syspath_prepend((root / tool).parent)  # as Python does for a script
        status, message = 0, ''
        try:
            runpy.run_path(str(root / tool), run_name='__main__')
        except SystemExit as end:
            status, message = (end.code or 0, '') if isinstance(end.code, int | None) else (1, f'{end.code}\n')
        out, errors = capfd.readouterr()
        return status, out, errors + message

    return run


class Reference(dict):
    """Inputs and outputs of the public implementation, measured on tiny random-weight models.

    Names that are not in ``tests/data/parity.npz`` are read from the full file beside the repository, or skip a test.
    """

    def __init__(self):
        with np.load(ROOT / 'tests/data/parity.npz') as file:
            entries = {name: torch.from_numpy(file[name]) for name in file.files if name != 'settings'}
            entries.update(json.loads(str(file['settings'])))
        for path, value in entries.items():
            *parents, name = path.split('/')
            node = self
            for parent in parents:
                node = node.setdefault(parent, {})
            node[name] = value
        self['loss_mse'] = {**self['loss_ohkm'], **self['loss_mse']}
        inputs = torch.randn(2, 3, *self['img_size'], generator=torch.Generator().manual_seed(0))
        if inputs.double().sum().item() != pytest.approx(self['input_sum'], abs=1e-9):
            pytest.skip('this torch draws other random numbers than the one that measured')
        self['input'] = inputs[:1]

    def __missing__(self, name: str):
        path = SHARED / 'reference' / 'official_tiny.pt'
        if not path.exists():
            pytest.skip(f'{path} is not here')
        entry = torch.load(path, weights_only=True)[name]
        # As in the file of this repository, the first image alone.
        self[name] = {key: value[:1] if key in ('feat', 'out') else value for key, value in entry.items()}
        return self[name]


@pytest.fixture(scope='session')
def reference() -> Reference:
    return Reference()


@pytest.fixture(scope='session')
def coco_real() -> Path:
    """Four COCO photos of 14 people, with 17 and 133 keypoints and detector boxes."""
    path = SHARED / 'data' / 'coco_real'
    if not path.exists():
        pytest.skip(f'{path} is not here')
    return path


@pytest.fixture(scope='session')
def tiny_coco(tmp_path_factory) -> Path:
    """Six images with one person of 17 colored dots each, as a COCO folder (train2017, val2017, annotations)."""
    folder = tmp_path_factory.mktemp('coco')
    rng = np.random.default_rng(0)
    colors = rng.integers(60, 256, (17, 3)).tolist()
    images, annotations = [], []
    (folder / 'annotations').mkdir()
    (folder / 'train2017').mkdir()
    (folder / 'val2017').symlink_to('train2017')
    for i in range(1, 7):
        image = np.full((120, 100, 3), 30, dtype=np.uint8)
        points = rng.uniform((20, 20), (80, 100), (17, 2)).round()
        for (x, y), color in zip(points, colors):
            cv2.circle(image, (int(x), int(y)), 4, color, -1)
        cv2.imwrite(str(folder / f'train2017/{i}.png'), image)
        images.append(dict(id=i, file_name=f'{i}.png', width=100, height=120))
        keypoints = np.concatenate([points, np.full((17, 1), 2)], axis=1)
        annotations.append(
            dict(id=i, image_id=i, category_id=1, iscrowd=0, bbox=[10, 10, 80, 100], area=4000, num_keypoints=17,
                 keypoints=keypoints.ravel().tolist()))
    content = dict(images=images, annotations=annotations, categories=[dict(id=1, name='person')])
    for split in ('train', 'val'):
        (folder / f'annotations/person_keypoints_{split}2017.json').write_text(json.dumps(content))
    return folder


@pytest.fixture
def micro_config(tmp_path, tiny_coco) -> Path:
    """A config that trains a model of a few thousand parameters on `tiny_coco` in seconds."""
    path = tmp_path / 'micro.py'
    path.write_text(f"""
_base_ = '{ROOT}/configs/sapiens_pose/coco/sapiens_tiny-210e_coco-256x192.py'
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64),
        drop_path_rate=0.2),
    head=dict(in_channels=32, deconv_out_channels=(8, 8), conv_out_channels=(8, 8)))
data_root = '{tiny_coco}/'
train_dataloader = dict(batch_size=2, num_workers=1, dataset=dict(data_root=data_root))
val_dataloader = dict(batch_size=4, num_workers=1, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/person_keypoints_val2017.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=4, val_interval=4)
default_hooks = dict(logger=dict(interval=1))
""")
    return path


def _encode(path, frames, rate, rotation=0, options=None):
    av = pytest.importorskip('av')
    with av.open(str(path), 'w', options=options or {}) as container:
        stream = container.add_stream('libx264', rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = 'yuv420p'
        if rotation:
            stream.set_display_rotation(rotation)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope='session')
def write_noise():
    """Writes a video of two seconds: 60 frames of about the same size."""

    def write(path, options=None):
        noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
        return _encode(path, [np.roll(noise, 7 * i, axis=(0, 1)) for i in range(60)], 30, options=options)

    return write


@pytest.fixture(scope='session')
def write_video():
    """Writes a video of gray frames, each brighter than the last; rotated videos are white in the upper half."""

    def write(path, frames=5, size=(48, 64), rate=10, turned=0):
        images = [np.full((*size, 3), 40 * i % 256, np.uint8) for i in range(frames)]
        for image in images if turned else ():
            image[:size[0] // 2] = 255
        return _encode(path, images, rate, turned)

    return write
