"""Tests of skeleton visualizations."""
import cv2
import numpy as np
from mmpose.registry import METRICS

import sapiens_mm.pose  # noqa: F401
from sapiens_mm.pose.metainfo import get_metainfo


def write_images(folder, names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / name), np.zeros((100, 200, 3), dtype=np.uint8))


def sample(path, x, score=1., bbox_score=1.):
    keypoints = np.stack([np.full(17, x), np.linspace(10, 90, 17)], axis=-1)
    return dict(
        img_path=str(path),
        pred_instances=dict(
            keypoints=keypoints[None], keypoint_scores=np.full((1, 17), score), bbox_scores=np.array([bbox_score])))


def draw(folder, samples, **kwargs):
    metric = METRICS.build(dict(type='SapiensSkeletonImages', out_dir=str(folder), **kwargs))
    assert METRICS.get('SapiensSkeletonPictures') is type(metric)  # in earlier configs
    metric.dataset_meta = get_metainfo('coco')
    metric.process(None, samples)
    assert metric.evaluate(len(samples)) == {}
    return {path.name: cv2.imread(str(path)).max(-1) for path in folder.iterdir()}


def test_all_persons_of_an_image_are_in_one_image(tmp_path):
    write_images(tmp_path, ['a.png'])
    images = draw(tmp_path / 'out', [sample(tmp_path / 'a.png', 50), sample(tmp_path / 'a.png', 150)])
    assert list(images) == ['a.jpg']
    lit = images['a.jpg'] > 60
    assert lit[:, 40:60].any()
    assert lit[:, 140:160].any()
    assert not lit[:, 80:120].any()


def test_low_scores_are_left_out(tmp_path):
    write_images(tmp_path, ['a.png', 'b.png'])
    images = draw(tmp_path / 'out', [sample(tmp_path / 'a.png', 50, score=0.1),
                                       sample(tmp_path / 'b.png', 50, bbox_score=0.1)])
    assert list(images) == ['a.jpg']
    assert images['a.jpg'].max() < 60


def test_same_name_in_two_folders_and_a_limit(tmp_path):
    write_images(tmp_path, ['one/a.png', 'two/a.png'])
    samples = [sample(tmp_path / folder / 'a.png', 50) for folder in ('one', 'two')]
    assert len(draw(tmp_path / 'out', samples)) == 2
    assert len(draw(tmp_path / 'limited', samples, max_images=1)) == 1
