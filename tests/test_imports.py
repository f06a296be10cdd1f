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
    'apis': (BASE | {'mmpose', 'mmseg', 'mmdet', 'torchvision', 'cv2', 'PIL', 'av', 'safetensors', 'onnxruntime',
                     'onnxscript', 'gradio', 'starlette'},
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
    'vocabularies': (set(sys.stdlib_module_names), set()),
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
                assert parts[1] in rooms | {room, 'utils', 'version'}, f'{path} imports {name}'


def test_importing_the_package_imports_no_host():
    code = f'import sys, sapiens_mm, sapiens_mm.apis; print(*({HOSTS!r} & set(sys.modules)))'
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == ''
