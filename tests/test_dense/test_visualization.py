"""Pictures of parts, depth and normals."""
import mmcv
import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from sapiens_mm.dense.visualization import SapiensDenseVisualizer, color_bar
from sapiens_mm.visualization.maps import draw_depth, draw_parts
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


def test_parts_lie_over_the_image_and_background_is_left():
    image = np.full((1, 3, 3), 100, np.uint8)
    hair = PART_IDS['Hair']
    drawn = draw_parts(image, np.array([[0, hair, 255]]), PART_COLORS)
    np.testing.assert_array_equal(drawn[0, [0, 2]], 100)
    np.testing.assert_allclose(drawn[0, 1], 0.4 * 100 + 0.6 * np.array(PART_COLORS[hair]), atol=1)


def test_outliers_of_a_prediction_do_not_take_the_contrast():
    depth = np.linspace(0, 1, 1000, dtype=np.float32).reshape(20, 50)
    plain = draw_depth(depth).astype(int)
    depth[10, 25], depth[0, 0] = 1e6, np.inf
    outlier = draw_depth(depth).astype(int)
    keep = np.ones(depth.shape, bool)
    keep[10, 25] = keep[0, 0] = False
    assert np.abs(plain - outlier)[keep].max() < 12
    assert not draw_depth(depth, np.zeros(depth.shape)).any()


def test_a_bar_tells_the_values_of_colours():
    depth = np.linspace(2, 3, 200, dtype=np.float32).reshape(200, 1).repeat(20, 1)
    picture, bar = draw_depth(depth).astype(int), color_bar(200, (2, 3), ' m').astype(int)
    np.testing.assert_allclose(bar[8:-8, 6], picture[8:-8, 10], atol=30)  # near at the top, far at the bottom
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
    picture = visualizer(tmp_path).draw(image, data)
    assert picture.shape[0] == 80
    assert picture.shape[1] > 4 * 30
    for color, present in ((PART_COLORS[3], True), (PART_COLORS[4], True), (PART_COLORS[7], False)):
        assert (picture[:, 120:] == color).all(axis=-1).any() == present
    np.testing.assert_array_equal(picture[:, :30], np.vstack([image, image]))
    np.testing.assert_array_equal(picture[20, 90 + 15], [255, 128, 128])  # labelled normal to the right
    np.testing.assert_array_equal(picture[60, 90 + 15], [255, 128, 128])  # predicted
    np.testing.assert_array_equal(picture[45, 90 + 15], 0)  # predicted, but nobody is there

    visualizer(tmp_path).add_datasample('a', image, data, step=3, out_file=str(tmp_path / 'a.png'))
    np.testing.assert_array_equal(mmcv.imread(str(tmp_path / 'a.png'), channel_order='rgb'), picture)


def test_every_process_keeps_its_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr('mmengine.dist.utils.get_rank', lambda group=None: 1)
    data = sample(pred_sem_seg=np.full((1, 40, 30), 3))
    visualizer(tmp_path).add_datasample('a', np.zeros((40, 30, 3), np.uint8), data, step=2)
    assert mmcv.imread(str(tmp_path / 'vis_data/vis_image/a_2.png')).shape[1] > 60


def test_one_task_without_labels():
    image = np.full((40, 30, 3), 90, np.uint8)
    data = sample(pred_depth_map=np.random.rand(1, 40, 30).astype(np.float32))
    assert visualizer().draw(image, data, with_labels=False).shape == (40, 60, 3)
    assert visualizer().draw(image, None) is image


def test_large_images_are_shown_smaller():
    image = np.full((4096, 3072, 3), 90, np.uint8)
    labels = torch.zeros(1, 4096, 3072, dtype=torch.long)
    labels[:, 1024:3072] = PART_IDS['Hair']
    data = sample(gt_sem_seg=labels, pred_depth_map=torch.ones(1, 4096, 3072))
    picture = visualizer().draw(image, data, with_labels=False)
    assert picture.shape == (2 * 1024, 3 * 768, 3)
    np.testing.assert_array_equal(picture[100, 768 + 100], 90)
    assert picture[500, 768 + 100].tolist() != [90, 90, 90]
