"""The embedded model."""
import json

import cv2
import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from sapiens_mm.apis import SapiensInferencer
from sapiens_mm.apis.model_zoo import EMBEDDED, embedded_tasks
from sapiens_mm_cli import main

TASKS = ['depth', 'normal', 'pose-17', 'seg']
PHOTO = '000000000785.jpg'


@pytest.fixture(scope='module')
def inferencer():
    return SapiensInferencer(size='tiny', device='cpu', dtype='fp32', per_person=True)


@pytest.fixture(scope='module')
def person(coco_real):
    """The annotation of somebody alone in a photo."""
    annotations = json.loads((coco_real / 'person_keypoints.json').read_text())['annotations']
    return next(person for person in annotations if person['image_id'] == 785)


def test_the_stages_are_those_of_mmengine(inferencer, coco_real):
    inputs = [str(coco_real / PHOTO)] * 3
    preds = [pred for batch in inferencer.preprocess(inputs) for pred in inferencer.forward(batch)]
    images = inferencer.visualize(inputs, preds)
    output = inferencer.postprocess(preds, images)
    assert inferencer.postprocess(preds) is preds
    expected = inferencer(inputs, return_vis=True)
    assert list(output) == list(expected) == ['predictions', 'visualization']
    for pred, other in zip(preds, expected['predictions'], strict=True):
        assert pred.to_json() == other.to_json()
        assert list(pred.maps) == ['parts', 'depth', 'normal']
        assert all(np.array_equal(values, other.maps[name]) for name, values in pred.maps.items())
    assert all(map(np.array_equal, images, expected['visualization']))
    assert images[0].shape == preds[0].image.shape


def test_files_are_small_and_described():
    assert sorted(embedded_tasks()) == TASKS
    assert sum(path.stat().st_size for path in set(embedded_tasks().values())) < 25e6
    card = (EMBEDDED / 'README.md').read_text()
    assert all(path.name in card for path in embedded_tasks().values())


def test_it_runs_offline(tmp_path, monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    rng = np.random.default_rng(0)
    cv2.imwrite(str(tmp_path / 'a.png'), rng.integers(0, 256, (120, 90, 3), dtype=np.uint8))
    out = tmp_path / 'out'
    assert main(['run', str(tmp_path / 'a.png'), '--size', 'tiny', '--device', 'cpu', '--out', str(out),
                 '--detector', 'none', '--save', 'json,npz,overlay']) == 0
    person, = json.loads((out / 'a.png.json').read_text())['instances']
    assert len(person['keypoints']) == 17 * 3
    maps = np.load(out / 'a.png.npz')
    assert {name: maps[name].shape for name in maps} == dict(
        parts=(120, 90), depth=(120, 90), normal=(120, 90, 3))
    meta = json.loads((out / 'meta.json').read_text())
    assert sorted(task for model in meta['models'] for task in model['tasks']) == TASKS


def test_it_finds_the_keypoints_and_parts_of_a_person(inferencer, coco_real, person):
    x, y, width, height = person['bbox']
    result, = inferencer([str(coco_real / PHOTO)], [np.array([[x, y, x + width, y + height]])])
    truth = np.reshape(person['keypoints'], (17, 3))
    visible = truth[:, 2] > 0
    distances = np.linalg.norm(result.keypoints[0] - truth[:, :2], axis=1)[visible] / height
    assert (distances < .1).mean() > .8
    hips = truth[[11, 12], :2].mean(axis=0).astype(int)
    assert result.parts[hips[1], hips[0]] > 0
    assert not result.parts[0, 0]
    assert 0 < (result.parts > 0).sum() < width * height


def test_it_detects_people_by_segmentation(coco_real, person):
    inferencer = SapiensInferencer(['pose-17'], 'tiny', device='cpu')
    result, nobody = inferencer([str(coco_real / PHOTO), np.full((425, 640, 3), 200, np.uint8)])
    x, y, width, height = person['bbox']
    overlap = box_iou(torch.tensor([[x, y, x + width, y + height]]), torch.from_numpy(result.boxes[:1, :4]))
    assert overlap.item() > .6
    assert len(nobody.boxes) == 0
