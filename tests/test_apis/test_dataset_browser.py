"""Tests of the dataset browser."""

import cv2
import numpy as np
import pytest
from mmengine.config import Config

import sapiens_mm.dense
import sapiens_mm.pose
import sapiens_mm.pretrain  # noqa: F401
from sapiens_mm.apis.dataset_browser import browse

from ..test_dense.conftest import write_people


def test_missing_split():
    with pytest.raises(ValueError, match='val'):
        list(browse(Config({}), 'val'))


def test_pose_samples(micro_config):
    cfg = Config.fromfile(micro_config)
    both = dict(browse(cfg, number=3))
    assert len(both) == 3
    before, after = dict(browse(cfg, number=3, mode='original')), dict(browse(cfg, number=3, mode='transformed'))
    for name, panel in both.items():
        assert panel.dtype == np.uint8
        assert panel.shape[1] > max(before[name].shape[1], after[name].shape[1])
    assert len(dict(browse(cfg, 'val', number=100))) == 6


def test_keypoints_are_drawn_where_they_are_after_the_pipeline(micro_config):
    """Each colored dot of the test images has its keypoint on it, before and after."""
    cfg = Config.fromfile(micro_config)
    from sapiens_mm.apis import dataset_browser
    drawn = []

    def remember(image, points, visible, metainfo, boxes=None):
        drawn.append((image, points[visible]))
        return np.zeros((8, 8, 3), np.uint8)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset_browser, '_draw_keypoints', remember)
        list(browse(cfg, 'val', number=2))
    assert len(drawn) == 4
    for image, points in drawn:
        inside = ((points >= 0) & (points < np.array(image.shape[1::-1]) - 1)).all(axis=1)
        colors = [image[round(y), round(x)].astype(int) for x, y in points[inside]]
        assert len(colors) > 10
        assert np.mean([np.abs(color - 30).max() > 20 for color in colors]) > .9  # not the background's gray


def test_dense_samples(tmp_path):
    pipeline = [dict(type='SapiensLoadLabels'), dict(type='SapiensRandomWarp', size=(40, 32)),
                dict(type='SapiensPackDense')]
    dataset = dict(type='SapiensDenseDataset', data_root=str(write_people(tmp_path)), pipeline=pipeline)
    cfg = Config(dict(default_scope='mmseg', train_dataloader=dict(dataset=dataset)))
    panels = dict(browse(cfg))
    assert list(panels) == ['000000_a', '000001_b', '000002_c']
    assert all(panel.ndim == 3 for panel in panels.values())


def test_pretraining_samples(tmp_path):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f'{number}.png'), np.full((20, 20, 3), 80 * number, np.uint8))
    dataset = dict(type='SapiensImages', size=(16, 16), source=dict(type='folder', path=str(tmp_path)))
    assert len(dict(browse(Config(dict(train_dataloader=dict(dataset=dataset))), number=5))) == 5


def test_the_tool(run_tool, run_main, micro_config, tmp_path):
    command = ['tools/browse_dataset.py', micro_config, '--output-dir', tmp_path, '--number', 2]
    assert run_tool(*command).returncode == 0
    assert run_main(*command, '--sheet', '--mode', 'transformed')[0] == 0
    assert len(list(tmp_path.glob('0*.jpg'))) == 2
    assert cv2.imread(str(tmp_path / 'sheet.jpg')) is not None
    assert run_main('tools/browse_dataset.py', '/nowhere.py')[0] == 2
