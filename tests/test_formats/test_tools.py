"""Checks of files by the labeling tools, which need numpy 2 and therefore an environment of their own."""
import os
import subprocess
import sysconfig
import venv
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from sapiens_mm.formats import coco, cvat, label_studio, yolo

from .conftest import make_labels

PACKAGES = ('label-studio-sdk==2.1.2', 'datumaro==1.13.12', 'supervision==0.31.2', 'pycocotools', 'numpy>=2')
#: AGPL-3.0, only for this check; without torch and torchvision, which are those of this environment.
CHECKER = ('ultralytics==8.4.190', 'ultralytics-thop==2.2.3')


@pytest.fixture(scope='module')
def tools(root) -> Path:
    """Python of an environment with the tools, which is kept, since installing takes minutes."""
    folder = root / 'work_dirs/labeling_tools'
    python, done = folder / 'bin/python', folder / 'installed'
    if not done.exists():
        venv.create(folder, with_pip=True)
        for packages in (PACKAGES, ('--no-deps', *CHECKER)):
            process = subprocess.run([python, '-m', 'pip', 'install', '-q', *packages], capture_output=True, text=True)
            if process.returncode:
                pytest.skip(f'the tools cannot be installed: {process.stderr[-300:]}')
        done.touch()
    return python


@pytest.mark.slow
@pytest.mark.parametrize('number', [17, 133])
def test_tools_read_the_same_labels(tools, tmp_path, number):
    image, nobody = make_labels(number, with_parts=True)
    image.file_name, nobody.file_name = 'schöne Grüße.jpg', 'nobody.png'  # supervision reads no folders below
    photos = tmp_path / 'photos'
    photos.mkdir()
    exif = Image.Exif()
    exif[274] = 6  # stored turned by 90 degrees
    Image.fromarray(np.zeros((image.width, image.height, 3), np.uint8)).save(photos / image.file_name, exif=exif)
    cv2.imwrite(str(photos / nobody.file_name), np.zeros((nobody.height, nobody.width, 3), np.uint8))
    for module, name, options in ((label_studio, 'tasks.json', {}), (coco, 'coco.json', {}), (cvat, 'cvat.zip', {}),
                                  (yolo, 'yolo', dict(image_root=photos))):
        labels = make_labels(number, with_parts=True)
        labels[0].file_name = image.file_name
        module.write(labels, tmp_path / name, **options)
    # What the tools' environment lacks, torch, is found behind its own packages.
    code = ('import runpy, sys; sys.path.append(sys.argv.pop(1)); sys.argv.pop(0); '
            'runpy.run_path(sys.argv[0], run_name="__main__")')
    script = Path(__file__).with_name('check_tools.py')
    process = subprocess.run([tools, '-c', code, sysconfig.get_path('purelib'), script, tmp_path], capture_output=True,
                             text=True, env={**os.environ, 'YOLO_CONFIG_DIR': str(tmp_path), 'PYTHONPATH': ''})
    assert process.returncode == 0, process.stdout + process.stderr[-3000:]
    assert process.stdout.count('passed: check_') == 6
