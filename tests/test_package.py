"""Installed package: its files, configs and tools in mim's places, and training outside of the checkout."""
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CONFIG = """
_base_ = 'sapiens_mm::sapiens_pose/coco/sapiens_tiny-210e_coco-256x192.py'
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)),
    head=dict(in_channels=32, deconv_out_channels=(8, 8), conv_out_channels=(8, 8)))
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
train_cfg = dict(max_epochs=1)
"""


def files_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob('*')
            if path.is_file() and '__pycache__' not in path.parts}


@pytest.fixture(scope='module')
def wheel(root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('wheel')
    before = files_of(root)
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', '.', '--no-deps', '--no-build-isolation', '--no-index',
                    '--no-cache-dir', '-q', '-w', str(folder)], cwd=root, check=True, timeout=120)
    assert files_of(root) == before
    path, = folder.glob('*.whl')
    return path


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('installed')
    subprocess.run([sys.executable, '-m', 'pip', 'install', '--no-deps', '--no-index', '-q', '--target', str(folder),
                    str(wheel)], check=True, timeout=120)
    return folder


@pytest.fixture
def run(installed, run_tool, tmp_path):
    """Runs a script of the installed package, or a text, in an empty folder."""

    def run(script, *arguments):
        if isinstance(script, str):
            (tmp_path / 'script').mkdir()
            (tmp_path / 'script/code.py').write_text(script)
            script = tmp_path / 'script/code.py'
        done = run_tool(script, *arguments, cwd=tmp_path, path=[installed], PYTHONPATH=str(installed))
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


def test_files_of_the_wheel(root, wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith('/')}
    infos = {name for name in names if '.dist-info/' in name}
    assert {'LICENSE', 'NOTICE'} <= {Path(name).name for name in infos}
    expected = {f'sapiens_mm/{name}' for name in files_of(root / 'sapiens_mm')}
    for name in ('configs', 'tools'):
        expected |= {f'sapiens_mm/.mim/{name}/{file}' for file in files_of(root / name)}
    expected = {name for name in expected if '/.mim/tools/setup/' not in name}  # for the checkout's environment only
    assert names - infos == expected | {'sapiens_mm_cli.py', 'sapiens_mm/.mim/model-index.yml'}


def test_a_training_in_a_foreign_folder(installed, run, tiny_coco, tmp_path):
    (tmp_path / 'config.py').write_text(f"{CONFIG}data_root = '{tiny_coco}/'\ntrain_dataloader.update("
                                        "dataset=dict(data_root=data_root))\n")
    run(installed / 'sapiens_mm/.mim/tools/train.py', 'config.py', '--no-validate')
    assert (tmp_path / 'work_dirs/config/epoch_1.pth').is_file()
    assert files_of(tmp_path) == {'config.py', *(name for name in files_of(tmp_path) if name.startswith('work_dirs/'))}


def test_a_host_that_knows_the_package_by_custom_imports_only(installed, run, tmp_path):
    code = """
import sys
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import MODELS
assert 'sapiens_mm' not in sys.modules
cfg = Config.fromfile(sys.argv[1])
import sapiens_mm
print(sapiens_mm.__file__)
print(type(MODELS.build(cfg.model)).__name__)
named = get_config('sapiens_mm::sapiens_depth/render_people/sapiens_0.3b-200e_render_people-1024x768.py')
print(named.model.type, named.filename)
"""
    (tmp_path / 'config.py').write_text("""
custom_imports = dict(imports=['sapiens_mm'])
model = dict(type='SapiensViT', arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64),
             img_size=(64, 48))
""")
    where, model, named = run(code, 'config.py').splitlines()[-3:]
    assert where == str(installed / 'sapiens_mm/__init__.py')
    assert model == 'SapiensViT'
    assert named.endswith(str(installed / 'sapiens_mm/.mim/configs/sapiens_depth/render_people/'
                              'sapiens_0.3b-200e_render_people-1024x768.py'))


def test_every_tool_starts_where_it_is_installed(installed, run):
    code = """
import runpy, sys
for tool in sys.argv[1:]:
    sys.argv, sys.path[0] = [tool, '--help'], tool.rpartition('/')[0]
    try:
        runpy.run_path(tool, run_name='__main__')
    except SystemExit as end:
        assert not end.code, (tool, end.code)
"""
    tools = sorted((installed / 'sapiens_mm/.mim/tools').glob('*.py'))
    assert len(tools) > 10
    run(code, *tools)
