"""Who may import whom (the table in CONTRIBUTING.md)."""
import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / 'sapiens_mm'
HOSTS = {'mmpose', 'mmseg', 'mmdet', 'mmpretrain'}
BASE = {'torch', 'mmengine', 'mmcv', 'numpy', *sys.stdlib_module_names}
ALLOWED = {
    # room: (libraries, own rooms)
    'apis': (BASE | HOSTS | {'torchvision', 'cv2', 'PIL', 'av', 'safetensors', 'onnxruntime', 'onnxscript', 'gradio',
                             'starlette', 'tqdm'},
             {'backbones', 'dense', 'engine', 'pose', 'pretrain', 'synth', 'visualization', 'vocabularies'}),
    'backbones': (BASE, {'engine'}),
    'dense': (BASE | {'mmseg', 'cv2', 'PIL'}, {'backbones', 'engine', 'visualization', 'vocabularies'}),
    'engine': (BASE | {'huggingface_hub', 'safetensors', 'tqdm'}, set()),  # these where a checkpoint asks for them
    'pose': (BASE | {'mmpose', 'xtcocotools', 'cv2'}, {'backbones', 'engine', 'visualization', 'vocabularies'}),
    'pretrain': (BASE | {'torchvision', 'cv2', 'PIL', 'webdataset', 'pyarrow', 'matplotlib', 'ray'},
                 {'backbones', 'engine'}),
    'synth': ({'numpy', 'cv2', 'torch', 'scipy', 'PIL', 'matplotlib', 'anny', 'mitsuba', 'drjit', 'trimesh',
               'xtcocotools', *sys.stdlib_module_names}, {'visualization', 'vocabularies'}),
    'utils': ({'PIL', 'cv2', 'mmengine', 'numpy', *sys.stdlib_module_names}, set()),
    'visualization': ({'numpy', 'cv2', *sys.stdlib_module_names}, {'vocabularies'}),
    'vocabularies': ({'numpy', *sys.stdlib_module_names}, set()),
}


def imported(path):
    """Absolute names that a module imports; relative ones are completed."""
    package = ('sapiens_mm', *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = '.'.join(package[:len(package) - node.level + 1]) + '.' if node.level else ''
            if node.module:
                yield base + node.module
            else:
                yield from (base + alias.name for alias in node.names)


def test_every_room_has_a_rule():
    rooms = {path.parent.relative_to(PACKAGE).parts[0] for path in PACKAGE.glob('*/**/*.py')}
    assert rooms == set(ALLOWED)


@pytest.mark.parametrize('room', ALLOWED)
def test_rooms_import_what_they_may(room):
    libraries, rooms = ALLOWED[room]
    for path in (PACKAGE / room).rglob('*.py'):
        for name in imported(path):
            parts = name.split('.')
            if parts[0] != 'sapiens_mm':
                assert parts[0] in libraries, f'{path} imports {name}'
            elif len(parts) > 1:
                assert parts[1] in rooms | {room, 'tasks', 'utils', 'version'}, f'{path} imports {name}'


def test_importing_the_package_imports_no_host():
    code = f'import sys, sapiens_mm, sapiens_mm.apis; print(*({HOSTS!r} & set(sys.modules)))'
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == ''


# Prints what differs in the process after an import; argv: what is imported before, and what then.
STATE = """
import importlib, logging, multiprocessing, os, random, signal, sys, threading, warnings
for name in sys.argv[1].split():
    importlib.import_module(name)
import cv2, numpy, torch, torch._dynamo
from mmengine.registry import DefaultScope
from mmengine.runner.checkpoint import CheckpointLoader
from PIL import Image

safe_globals = getattr(torch.serialization, 'get_safe_globals', list)  # before torch 2.4 there were none
def dynamo():
    config = torch._dynamo.config
    if safe_globals is list:  # such an old one can't copy all of it
        return {name: getattr(config, name) for name in config._config}
    return config.get_config_copy()

def state():
    return dict(
        loaders={name: loader for name, loader in CheckpointLoader._schemes.items()
                 if name not in ('', 'http://', 'https://', 'hf://')},  # these two ask MMEngine's: test_checkpoint.py
        pillow=(Image.MAX_IMAGE_PIXELS, sorted(Image.OPEN)), dynamo=dynamo(),
        environment=dict(os.environ), folder=os.getcwd(), path=list(sys.path), filters=list(warnings.filters),
        showwarning=warnings.showwarning, cv2=(cv2.getNumThreads(), cv2.useOptimized(), cv2.ocl.useOpenCL()),
        torch=(torch.get_num_threads(), torch.get_default_dtype(), torch.get_float32_matmul_precision(),
               torch.are_deterministic_algorithms_enabled(), torch.is_grad_enabled(), torch.backends.cudnn.benchmark,
               torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.get_autocast_gpu_dtype(),
               safe_globals(), torch.multiprocessing.get_sharing_strategy(),
               torch.utils.data.get_worker_info()),
        random=(random.getstate(), str(numpy.random.get_state()), torch.get_rng_state().tolist()),
        numpy=(numpy.geterr(), numpy.get_printoptions()), signals=[signal.getsignal(n) for n in signal.valid_signals()],
        logging=(logging.root.level, list(logging.root.handlers), logging.raiseExceptions, logging._disabled
                 if hasattr(logging, '_disabled') else logging.root.manager.disable),
        recursion=sys.getrecursionlimit(), hooks=(sys.excepthook, threading.excepthook, sys.displayhook),
        start=multiprocessing.get_start_method(allow_none=True), scope=DefaultScope.get_current_instance(),
        threads=threading.active_count())

before = state()
importlib.import_module(sys.argv[2])
after = state()
print(*(name for name in before if before[name] != after[name]))
"""


@pytest.mark.parametrize(('hosts', 'name'), [
    ('mmcv', 'sapiens_mm'), ('mmcv mmpose.apis', 'sapiens_mm.pose'), ('mmcv mmseg.apis', 'sapiens_mm.dense'),
    ('mmcv torchvision', 'sapiens_mm.pretrain'), ('mmcv mmdet.apis', 'sapiens_mm.apis'),
    ('mmcv', 'sapiens_mm.engine.launch'), ('mmcv', 'sapiens_mm.utils.images')])
def test_an_import_leaves_the_hosts_process_as_it_was(hosts, name):
    done = subprocess.run([sys.executable, '-c', STATE, hosts, name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == ''
