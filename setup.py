import atexit
import shutil
import sys
import tempfile
from pathlib import Path

from setuptools import find_packages, setup

root = Path(__file__).parent


def requirements(name: str) -> list:
    """The requirements in ``requirements/<name>.txt`` without their comments."""
    lines = (root / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [req for req in (line.split('#')[0].strip() for line in lines) if req]


version = {}
exec((root / 'sapiens_mm' / 'version.py').read_text(), version)

# In a folder of its own: what one build leaves beside the source gets into the next wheel. `develop`, by which older
# pip installs in place, keeps the description of the package beside it.
scratch = tempfile.mkdtemp()
atexit.register(shutil.rmtree, scratch, ignore_errors=True)
options = {'build': {'build_base': scratch}}
if 'develop' not in sys.argv:
    options['egg_info'] = {'egg_base': scratch}

setup(
    name='sapiens_mm',
    version=version['__version__'],
    description='Sapiens human vision models for MMEngine, mmpose, mmsegmentation and mmdet',
    license='Apache-2.0',
    license_files=['LICENSE', 'NOTICE'],
    long_description=(root / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    packages=find_packages(include=['sapiens_mm', 'sapiens_mm.*']),
    py_modules=['sapiens_mm_cli'],
    # mim and MMEngine look for what `.mim` has: links to the folders of this checkout, files in a wheel.
    package_data={'sapiens_mm': ['weights/*', '.mim/*.yml', '.mim/configs/**', '.mim/tools/**'],
                  'sapiens_mm.synth': ['data/*.json']},
    exclude_package_data={'sapiens_mm': ['.mim/tools/setup/*', '.mim/**/__pycache__/*']},
    include_package_data=False,
    options=options,
    entry_points={'console_scripts': ['sapiens-mm = sapiens_mm_cli:main']},
    python_requires='>=3.10',
    # torch and the OpenMMLab libraries are left out on purpose: see requirements/runtime.txt.
    install_requires=requirements('runtime'),
    extras_require={
        'app': requirements('app'),
        'export': requirements('export'),
        'interop': requirements('interop'),
        'mesh': requirements('mesh'),
        'openmmlab': requirements('openmmlab'),
        'openvino': requirements('openvino'),
        'pretrain': requirements('pretrain'),
        'ray': requirements('ray'),
        'sapiens2': requirements('sapiens2'),
        'scale': requirements('scale'),
        'synth': requirements('synth'),
        'test': requirements('test'),
        'video': requirements('video')
    },
)
