"""Follows docs/your_keypoints.md, and checks the tables and examples of docs/keypoints.md."""
import json
import re

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmpose.registry import DATASETS

from sapiens_mm.vocabularies.coco import COMMON_114


def blocks(page, language):
    return re.findall(rf'```{language}\n(.*?)```', page.read_text(), re.DOTALL)


@pytest.fixture(scope='module')
def project(root, tmp_path_factory):
    """A folder like the repository, with the files that the page tells to write."""
    page = root / 'docs' / 'your_keypoints.md'
    project = tmp_path_factory.mktemp('project')
    (project / 'tools').symlink_to(root / 'tools')
    (project / 'configs').mkdir()
    for name in ('_base_', 'sapiens_pose'):
        (project / 'configs' / name).symlink_to(root / 'configs' / name)

    data = project / 'data' / 'five'
    for folder in ('annotations', 'images'):
        (data / folder).mkdir(parents=True)
    annotations, = blocks(page, 'json')
    for split in ('train', 'val'):
        (data / 'annotations' / f'{split}.json').write_text(annotations)
    image, = json.loads(annotations)['images']
    cv2.imwrite(str(data / 'images' / image['file_name']), np.zeros((image['height'], image['width'], 3), np.uint8))

    config, = blocks(page, 'python')
    path, = re.findall(r'Save as `(\S+)`', page.read_text())
    (project / path).parent.mkdir()
    (project / path).write_text(config)
    return project


@pytest.fixture
def config(project, monkeypatch):
    monkeypatch.chdir(project)
    return Config.fromfile('configs/five/sapiens_tiny-210e_five-256x192.py')


@pytest.mark.parametrize('split', ['train', 'val'])
def test_dataset(split, config):
    dataset = DATASETS.build({**config[f'{split}_dataloader'].dataset, 'pipeline': []})
    assert len(dataset) == 1
    assert dataset[0]['keypoints_visible'].tolist() == [[1, 1, 1, 1, 0]]
    assert dataset.metainfo['flip_indices'] == [0, 2, 1, 4, 3]
    assert config.model.head.out_channels == dataset.metainfo['num_keypoints'] == 5


# All commands in one process, and without formatting the config that MMEngine logs and saves: imports and formatting
# would take most of the time.
RUN = """
import runpy, shlex, sys
import mmengine.config.config
mmengine.config.config.FormatCode = lambda text, **_: (text, False)
for line in sys.argv[1:]:
    _, *sys.argv = shlex.split(line, comments=True)
    sys.path[0] = 'tools'  # as Python does for a script
    try:
        runpy.run_path(sys.argv[0], run_name='__main__')
    except SystemExit as error:
        if error.code:
            raise
"""


def test_train_and_test(project, root, run_tool):
    """The commands of the page, with one epoch of the 210."""
    lines = [line for block in blocks(root / 'docs' / 'your_keypoints.md', 'bash') for line in block.splitlines()]
    check, browse, train, test = lines
    assert train.startswith('python ')
    assert test.startswith('python ')
    train += ' --no-validate --cfg-options train_cfg.max_epochs=1 train_dataloader.num_workers=0 ' \
        'train_dataloader.persistent_workers=False'
    test = test.replace('epoch_210', 'epoch_1') + ' --cfg-options test_dataloader.num_workers=0 ' \
        'test_dataloader.persistent_workers=False'
    (project / 'run.py').write_text(RUN)
    run = run_tool(project / 'run.py', check, browse, train, test, cwd=project)
    assert run.returncode == 0, run.stdout + run.stderr
    saved = json.loads((project / 'work_dirs' / 'sapiens_tiny-210e_five-256x192' / 'metrics.json').read_text())
    assert {'five/AP', 'five/AR', 'five/hands/AP', 'five/feet/AP'} <= saved['metrics'].keys()
    assert list((project / 'visualizations').rglob('0001*'))
    assert list((project / 'work_dirs').rglob('sheet.jpg'))


def test_table_of_common_faces(root):
    """The table names the 51 face keypoints, in order."""
    page = (root / 'docs' / 'keypoints.md').read_text()
    rows = re.findall(r'^\| .* \| (\d+)-(\d+) \| (.*?) \| .* \|$', page, re.MULTILINE)
    listed = {}
    for first, last, cell in rows:
        names = []
        for name in re.findall(r'`(.*?)`', cell):
            before, options, after = re.fullmatch(r'([^{]*)(?:\{(.*)\})?(.*)', name).groups()
            names += [f'{before}{option}{after}' for option in (options or '').split(',')]
        listed.update(zip(range(int(first), int(last) + 1), names, strict=True))
    assert listed == {int(name[5:]): goliath for goliath, name in COMMON_114 if name.startswith('face-')}


def test_examples_of_the_keypoints_page(root, project, monkeypatch):
    *examples, config = blocks(root / 'docs' / 'keypoints.md', 'python')
    assert len(examples) == 2
    scope = {}
    for example in examples:
        exec(example, scope)
    assert scope['keypoints'].shape == (5, 25, 2)
    path = project / 'configs' / 'mine' / 'sapiens_0.3b_common_114.py'
    path.parent.mkdir(exist_ok=True)
    path.write_text(config)
    monkeypatch.chdir(project)
    cfg = Config.fromfile(path)
    assert cfg.test_dataloader.dataset.type == 'SapiensCommon114Dataset'
    assert cfg.test_dataloader.dataset.pipeline
    assert cfg.test_evaluator.type == 'SapiensCommon114Metric'
