"""Tests of mmpose's own inferencer and tools with our configs, by the embedded model."""
import json
import runpy
import sys

import numpy as np
import pytest

from sapiens_mm.apis import SapiensInferencer

CONFIG = 'configs/sapiens_pose/synthetic/sapiens_hybrid-10e_synthetic-256x192.py'
WEIGHTS = 'sapiens_mm/weights/sapiens_hybrid-pose.safetensors'


@pytest.fixture
def tool(root, monkeypatch):
    """Runs a program of mmpose with arguments."""
    import mmpose
    monkeypatch.chdir(root)

    def run(name, *args):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, args)])
        runpy.run_path(f'{mmpose.__path__[0]}/.mim/{name}', run_name='__main__')

    return run


def test_mmpose_inferencer_finds_our_keypoints(root, coco_real):
    from mmpose.apis import MMPoseInferencer
    inferencer = MMPoseInferencer(str(root / CONFIG), str(root / WEIGHTS), device='cpu', det_model='whole_image')
    photo = str(coco_real / '000000000785.jpg')
    person = next(inferencer(photo))['predictions'][0][0]
    ours = SapiensInferencer(['pose-17'], size='tiny', device='cpu', dtype='fp32', flip_test=True, detector=None)
    expected, = ours(photo)
    np.testing.assert_allclose(person['keypoints'], expected.keypoints[0], atol=.1)
    np.testing.assert_allclose(person['keypoint_scores'], expected.keypoint_scores[0], atol=1e-3)


def test_demos(tool, coco_real, tmp_path):
    photo = coco_real / '000000000785.jpg'
    tool('demo/inferencer_demo.py', photo, '--pose2d', CONFIG, '--pose2d-weights', WEIGHTS, '--det-model',
         'whole_image', '--device', 'cpu', '--vis-out-dir', tmp_path / 'vis', '--pred-out-dir', tmp_path / 'pred')
    person, = json.loads((tmp_path / 'pred/000000000785.json').read_text())
    assert np.shape(person['keypoints']) == (17, 2)
    assert (tmp_path / 'vis/000000000785.jpg').exists()
    tool('demo/image_demo.py', photo, CONFIG, WEIGHTS, '--device', 'cpu', '--out-file', tmp_path / 'image.png')
    assert (tmp_path / 'image.png').exists()


def test_the_test_tool(tool, coco_real, tmp_path):
    annotations = coco_real / 'person_keypoints.json'
    options = {'test_dataloader.dataset.data_root': coco_real, 'test_dataloader.dataset.ann_file': annotations.name,
               'test_dataloader.dataset.data_prefix.img': '.', 'test_dataloader.num_workers': 0,
               'test_dataloader.persistent_workers': False, 'test_evaluator.ann_file': annotations}
    tool('tools/test.py', CONFIG, WEIGHTS, '--work-dir', tmp_path, '--out', tmp_path / 'metrics.json', '--cfg-options',
         *(f'{name}={value}' for name, value in options.items()))
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert metrics['coco/AP'] == pytest.approx(.18, abs=.03)
