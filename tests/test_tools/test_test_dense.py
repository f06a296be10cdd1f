"""What tools/test.py writes for dense models, with a model that adds noise to the truth."""
import csv
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]

TOY = '''
import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.structures import PixelData
from mmseg.registry import DATASETS, HOOKS, MODELS
from mmseg.structures import SegDataSample


@HOOKS.register_module()
class ToyHook(Hook):
    def after_test_iter(self, runner, *args, **kwargs):
        assert runner.iter == 0  # as mmseg's visualization hook requires


@DATASETS.register_module()
class ToyScans(BaseDataset):
    METAINFO = dict(classes=('back', 'arm', 'leg'), palette=[[0, 0, 0], [255, 0, 0], [0, 255, 0]])

    def load_data_list(self):
        return [dict(number=i) for i in range(7)]

    def prepare_data(self, index):
        rng = np.random.default_rng(index)
        shape = (40 + 2 * index, 31)
        maps = dict(sem_seg=rng.integers(0, 3, (1, *shape)), depth_map=rng.uniform(1, 3, (1, *shape)),
                    normal_map=rng.normal(size=(3, *shape)))
        region = ('face', 'upper_body', 'full_body')[index % 3]
        sample = SegDataSample(metainfo=dict(sample_name=f'scan{index}', img_path=f'scan{index}.png', region=region))
        for name, value in maps.items():
            value = torch.from_numpy(value.astype(np.uint8 if name == 'sem_seg' else np.float32))
            sample.set_data({f'gt_{name}': PixelData(data=value)})
        return dict(inputs=torch.zeros(3, *shape), data_samples=sample)


@MODELS.register_module()
class ToyModel(BaseModel):
    def __init__(self):
        super().__init__()
        self.noise = torch.nn.Parameter(torch.tensor(0.))

    def forward(self, inputs, data_samples, mode):
        for sample in data_samples:
            generator = torch.Generator().manual_seed(int(sample.sample_name[4:]))
            for name in ('sem_seg', 'depth_map', 'normal_map'):
                true = sample.get(f'gt_{name}').data
                noise = torch.randn(true.shape, generator=generator) * self.noise
                value = (noise > 0.2).to(torch.uint8) if name == 'sem_seg' else true + noise
                sample.set_data({f'pred_{name}': PixelData(data=value)})
        return data_samples
'''
CONFIG = '''
default_scope = 'mmseg'
custom_imports = dict(imports=['toy_scans', 'sapiens_mm.dense.metrics', 'sapiens_mm.engine'])
model = dict(type='ToyModel')
test_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'), dataset=dict(type='ToyScans'))
test_evaluator = [
    dict(type='SapiensPartsMetric'), dict(type='SapiensDepthMetric'),
    dict(type='SapiensDepthMetric', alignment='none'), dict(type='SapiensNormalMetric')]
test_cfg = dict()
custom_hooks = [dict(type='ToyHook')]
# A test needs no dataset of a training, which may not be on this machine.
train_dataloader = dict(batch_size=1, dataset=dict(type='NotHere'))
train_cfg = dict(by_epoch=True, max_epochs=1)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
'''


def run(folder, *command):
    env = {**os.environ, 'PYTHON': sys.executable, 'PYTHONPATH': f'{folder}:{ROOT}', 'OMP_NUM_THREADS': '1',
           'CUDA_VISIBLE_DEVICES': ''}
    done = subprocess.run([*map(str, command)], cwd=ROOT, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def toy(tmp_path):
    (tmp_path / 'toy_scans.py').write_text(TOY)
    (tmp_path / 'config.py').write_text(CONFIG)
    torch.save(dict(state_dict=dict(noise=torch.tensor(0.3))), tmp_path / 'toy.pth')
    return tmp_path


@pytest.mark.parametrize(('flags', 'message'), [
    (['--worst', '0'], '--worst: got 0'),
    (['--per-image', 'a.txt'], 'a.txt'),
    (['--worst', '2', '--cfg-options', 'test_evaluator.type=IoUMetric'], 'got IoUMetric'),
    (['--dump-dir', 'x', '--cfg-options', 'default_scope=mmpose'], "--dump-dir: got default_scope='mmpose'"),
])
def test_flags_that_do_not_fit_are_refused(tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    tool = runpy.run_path(str(ROOT / 'tools/test.py'))
    (tmp_path / 'config.py').write_text("default_scope = 'mmseg'\ntest_evaluator = dict(type='SapiensPartsMetric')\n")
    monkeypatch.setattr(sys, 'argv', ['test.py', str(tmp_path / 'config.py'), 'a.pth', *flags])
    with pytest.raises(SystemExit) as error:
        tool['load_config'](tool['parse_args']())
    assert re.search(message, f'{error.value} {capsys.readouterr().err}')


def test_what_is_written(toy):
    flags = ['--per-image', '{}/scores.csv', '--worst', '2', '--dump-dir', '{}/maps', '--dump-format', 'png16']
    outputs = []
    for name, start in (('one', [sys.executable, 'tools/test.py', toy / 'config.py', toy / 'toy.pth']),
                        ('two', ['bash', 'tools/dist_test.sh', toy / 'config.py', toy / 'toy.pth', '2'])):
        folder = toy / name
        outputs.append(run(toy, *start, '--work-dir', folder, *[flag.format(folder) for flag in flags]))
    one, two = toy / 'one', toy / 'two'
    for output in outputs:
        table = output[output.index('Metrics of'):output.index('Metrics written')]
        assert 'depth/scale-shift/per-image' in table
        assert [row for row in ('face', 'upper body', 'full body', 'all') if f'\n{row} ' in table] == [
            'face', 'upper body', 'full body', 'all']
        for column in ('RMSE', 'AbsRel', 'delta1', 'mean', 'median', '%11.25', '%22.5', '%30'):
            assert column in table
    record = json.loads((one / 'metrics.json').read_text())
    assert record == json.loads((two / 'metrics.json').read_text())
    assert record['metrics']['depth/scale-shift/per-image/units'] == 7
    assert record['metrics']['normal/pooled/face/images'] == 3
    assert [report['name'] for report in record['reports']] == [
        'parts', 'depth/scale-shift/per-image', 'depth/none/per-image', 'normal/pooled']
    assert record['reports'][1]['protocol']['alignment'] == 'scale-shift'
    assert list(record['reports'][0]['classes']) == ['back', 'arm', 'leg']
    with open(one / 'scores.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['sample_name'] for row in rows] == [f'scan{i}' for i in range(7)]
    mean = sum(float(row['depth/none/per-image/RMSE']) for row in rows) / 7
    assert record['metrics']['depth/none/per-image/RMSE'] == pytest.approx(mean)
    files = {path.relative_to(one) for path in one.rglob('*') if {'maps', 'worst'} & set(path.parts) and path.is_file()}
    assert len(files) == 7 * 4 + 3 * 2
    for file in [*files, 'scores.csv']:
        assert (one / file).read_bytes() == (two / file).read_bytes()
