"""Tests of visualizations of parts, depth and normals."""
import mmcv
import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from sapiens_mm.dense.visualization import SapiensDenseVisualizer, color_bar
from sapiens_mm.visualization.maps import draw_depth
from sapiens_mm.vocabularies.body_parts import PART_COLORS, PART_IDS, PART_NAMES


def sample(**maps):
    made = SegDataSample()
    for name, data in maps.items():
        made.set_data({name: PixelData(data=torch.as_tensor(data))})
    return made


def visualizer(folder=None):
    made = SapiensDenseVisualizer(
        name=f'visualizer of {folder}', vis_backends=[dict(type='LocalVisBackend')] if folder else None,
        save_dir=str(folder) if folder else None)
    made.dataset_meta = dict(classes=PART_NAMES, palette=PART_COLORS)
    return made


def test_a_bar_labels_the_values_of_colors():
    depth = np.linspace(2, 3, 200, dtype=np.float32).reshape(200, 1).repeat(20, 1)
    drawn, bar = draw_depth(depth).astype(int), color_bar(200, (2, 3), ' m').astype(int)
    np.testing.assert_allclose(bar[8:-8, 6], drawn[8:-8, 10], atol=30)  # near at the top, far at the bottom
    assert (bar[:, 20:].min(axis=(1, 2)) < 128).sum() > 20  # text
    empty = color_bar(200, None)
    assert empty.shape == bar.shape
    assert (empty == 255).all()
    assert [color_bar(height, (0.2, 0)).shape[0] for height in (1, 2, 13, 3000)] == [1, 2, 13, 3000]


def test_labels_above_predictions_and_a_legend_of_what_is_seen(tmp_path):
    image = np.full((40, 30, 3), 90, np.uint8)
    mask = np.zeros((1, 40, 30), np.uint8)
    mask[:, 10:30] = 1
    normals = np.zeros((3, 40, 30), np.float32)
    normals[0] = 1
    data = sample(
        gt_sem_seg=mask * 3, pred_sem_seg=mask * 4, gt_person_mask=mask, gt_depth_map=mask * 2.,
        pred_depth_map=np.ones((1, 40, 30), np.float32), gt_normal_map=normals * mask, pred_normal_map=normals)
    drawn = visualizer(tmp_path).draw(image, data)
    assert drawn.shape[0] == 2 * 42  # panels of 40 x 30 pixels with a margin of 1
    assert drawn.shape[1] > 4 * 32
    for color, present in ((PART_COLORS[3], True), (PART_COLORS[4], True), (PART_COLORS[7], False)):
        assert (drawn[:, 128:] == color).all(axis=-1).any() == present
    for top in 1, 43:
        np.testing.assert_array_equal(drawn[top:top + 40, 1:31], image)
    left = 3 * 32 + 1
    np.testing.assert_array_equal(drawn[21, left + 15], [255, 128, 128])  # labeled normal to the right
    np.testing.assert_array_equal(drawn[63, left + 15], [255, 128, 128])  # predicted
    np.testing.assert_array_equal(drawn[46, left + 15], 0)  # predicted, but off the person

    visualizer(tmp_path).add_datasample('a', image, data, step=3, out_file=str(tmp_path / 'a.png'))
    np.testing.assert_array_equal(mmcv.imread(str(tmp_path / 'a.png'), channel_order='rgb'), drawn)


def test_every_process_keeps_its_images(tmp_path, monkeypatch):
    monkeypatch.setattr('mmengine.dist.utils.get_rank', lambda group=None: 1)
    data = sample(pred_sem_seg=np.full((1, 40, 30), 3))
    visualizer(tmp_path).add_datasample('a', np.zeros((40, 30, 3), np.uint8), data, step=2)
    assert mmcv.imread(str(tmp_path / 'vis_data/vis_image/a_2.png')).shape[1] > 60


def test_one_task_without_labels():
    image = np.full((40, 30, 3), 90, np.uint8)
    data = sample(pred_depth_map=np.random.rand(1, 40, 30).astype(np.float32))
    assert visualizer().draw(image, data, with_labels=False).shape == (42, 64, 3)
    assert visualizer().draw(image, None) is image


def test_large_images_are_shown_smaller():
    image = np.full((4096, 3072, 3), 90, np.uint8)
    labels = torch.zeros(1, 4096, 3072, dtype=torch.long)
    labels[:, 1024:3072] = PART_IDS['Hair']
    data = sample(gt_sem_seg=labels, pred_depth_map=torch.ones(1, 4096, 3072))
    drawn = visualizer().draw(image, data, with_labels=False)
    assert drawn.shape == (2 * 1046, 3 * 790, 3)
    np.testing.assert_array_equal(drawn[111, 801 + 100], 90)
    assert drawn[511, 801 + 100].tolist() != [90, 90, 90]
