"""Imports of rooms and libraries, import circles, and long functions (the rules in CONTRIBUTING.md)."""
import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / 'sapiens_mm'
HOSTS = {'mmpose', 'mmseg', 'mmdet', 'mmpretrain'}
STDLIB = set(sys.stdlib_module_names)
BASE = {'torch', 'mmengine', 'mmcv', 'numpy', *STDLIB}
DRAWING = {'tasks', 'utils', 'visualization', 'vocabularies'}
#: Room -> libraries and rooms that it may import; each room stands below those that it may import.
ALLOWED = {
    'version': (BASE, set()),
    'names': (set(), set()),
    'tasks': (STDLIB, set()),
    'utils': (STDLIB | {'PIL', 'cv2', 'mmengine', 'numpy', 'ray', 'webdataset'}, {'tasks'}),
    'vocabularies': (STDLIB | {'numpy'}, {'tasks', 'utils'}),
    'engine': (BASE | {'huggingface_hub', 'safetensors', 'tqdm'}, {'tasks', 'utils'}),
    'backbones': (BASE | {'transformers'}, {'engine', 'tasks', 'utils'}),
    'visualization': (STDLIB | {'numpy', 'cv2'}, {'tasks', 'utils', 'vocabularies'}),
    'formats': (STDLIB | {'numpy', 'PIL', 'yaml', 'pyarrow', 'trimesh'}, {'names', 'tasks', 'utils', 'vocabularies'}),
    'converters': (STDLIB | {'numpy', 'cv2', 'PIL', 'scipy'}, {'tasks', 'utils', 'vocabularies'}),
    'synth': (STDLIB | {'numpy', 'cv2', 'torch', 'scipy', 'PIL', 'matplotlib', 'anny', 'mitsuba', 'mitsuba_oidn',
                        'drjit', 'trimesh', 'xtcocotools'}, DRAWING),
    'pretrain': (BASE | {'torchvision', 'cv2', 'PIL', 'webdataset', 'pyarrow', 'matplotlib'},
                 {'backbones', 'engine', *DRAWING}),
    'pose': (BASE | {'mmpose', 'xtcocotools', 'cv2'}, {'backbones', 'engine', *DRAWING}),
    'dense': (BASE | {'mmseg', 'cv2', 'PIL'}, {'backbones', 'engine', *DRAWING}),
    'apis': (BASE | HOSTS | {'torchvision', 'cv2', 'PIL', 'av', 'safetensors', 'onnxruntime', 'onnxscript', 'gradio',
                             'scipy', 'starlette', 'tqdm', 'cvat_sdk', 'fsspec', 'huggingface_hub', 'openvino',
                             'pandas', 'supervision'},
             {'backbones', 'dense', 'engine', 'formats', 'names', 'pose', 'pretrain', 'synth', *DRAWING}),
}
TREES = {}
for path in (*PACKAGE.rglob('*.py'), PACKAGE.parent / 'sapiens_mm_cli.py'):
    TREES['.'.join(path.relative_to(PACKAGE.parent).with_suffix('').parts)] = ast.parse(path.read_text())
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)


def imported(name):
    """Absolute names that a module imports, those inside functions included: (module, name in it or None)."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = name.split('.')[:-node.level] if node.level else []
            base = '.'.join([*package, *([node.module] if node.module else [])])
            yield from ((base, alias.name) for alias in node.names)


def modules_imported(name):
    """Modules of this package that a module imports, but for the packages that contain it."""
    for base, attribute in imported(name):
        for candidate in (f'{base}.{attribute}', f'{base}.{attribute}.__init__', base, f'{base}.__init__'):
            if candidate in TREES:
                if not name.startswith(candidate.removesuffix('__init__')):
                    yield candidate
                break


def room(name):
    return name.split('.')[1]


def test_every_room_has_a_rule_and_imports_only_rooms_above_it():
    assert {room(name) for name in TREES if '.' in name} - {'__init__', '__main__'} == set(ALLOWED)
    for name, (_, rooms) in ALLOWED.items():
        assert rooms < set(list(ALLOWED)[:list(ALLOWED).index(name)]) | {'tasks'}, name


@pytest.mark.parametrize('name', ALLOWED)
def test_rooms_import_what_they_may(name):
    libraries, rooms = ALLOWED[name]
    for module in TREES:
        if '.' not in module or room(module) != name:
            continue
        for base, attribute in imported(module):
            if base.split('.')[0] != 'sapiens_mm':
                assert base.split('.')[0] in libraries, f'{module} imports {base}'
            elif (base, attribute) != ('sapiens_mm', None):
                target = f'{base}.{attribute}'.split('.')[1]
                assert target in rooms | {name, 'version', '__version__'}, f'{module} imports {base}'


def test_no_module_imports_itself_through_others():
    edges = {name: set(modules_imported(name)) for name in TREES}

    def reached(name, seen):
        for other in edges[name] - seen:
            seen.add(other)
            reached(other, seen)
        return seen

    assert [name for name in edges if name in reached(name, set())] == []


def functions():
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f'{name}.{node.name}', node


def test_no_function_is_longer_than_60_lines_besides_its_docstring():
    for name, node in functions():
        documentation = ast.get_docstring(node)
        lines = node.end_lineno - node.lineno + 1 - (len(documentation.splitlines()) + 2 if documentation else 0)
        assert lines <= 60, f'{name}: {lines} lines'


def test_no_function_nests_deeper_than_5_levels():

    def depth(node, is_elif=False):
        inner = 0
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                inner = max(inner, depth(child, isinstance(node, ast.If) and [child] == node.orelse))
        return inner + (isinstance(node, BLOCKS) and not is_elif)

    for name, node in functions():
        assert depth(node) <= 5, name


def test_importing_the_package_imports_no_host():
    code = f'import sys, sapiens_mm, sapiens_mm.apis; print(*({HOSTS!r} & set(sys.modules)))'
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == ''


# Prints what each import changes in the process; argv: the modules, which are imported one after the other.
STATE = """
import importlib, logging, multiprocessing, os, random, signal, sys, threading, warnings
import cv2, numpy, torch, torch._dynamo
import mmdet.apis, mmpose.apis, mmseg.apis, torchvision
from mmengine.registry import DefaultScope
from mmengine.runner.checkpoint import CheckpointLoader
from PIL import Image

safe_globals = getattr(torch.serialization, 'get_safe_globals', list)  # missing before torch 2.4
def dynamo():
    config = torch._dynamo.config
    if safe_globals is list:  # before torch 2.4 get_config_copy fails
        return {name: getattr(config, name) for name in config._config}
    return config.get_config_copy()

def state():
    return dict(
        loaders={name: loader for name, loader in CheckpointLoader._schemes.items()
                 if name not in ('', 'http://', 'https://', 'hf://')},  # replaced on purpose: test_checkpoint.py
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

assert 'sapiens_mm' not in sys.modules
for name in sys.argv[1:]:
    before = state()
    importlib.import_module(name)
    after = state()
    print(name, *(key for key in before if before[key] != after[key]))
"""


def test_imports_leave_the_state_of_the_hosts_process(run_tool, tmp_path):
    names = ['sapiens_mm', 'sapiens_mm.pose', 'sapiens_mm.dense', 'sapiens_mm.pretrain', 'sapiens_mm.apis',
             'sapiens_mm.engine.launch', 'sapiens_mm.utils.images']
    (tmp_path / 'state.py').write_text(STATE)
    done = run_tool(tmp_path / 'state.py', *names)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-len(names):] == names
