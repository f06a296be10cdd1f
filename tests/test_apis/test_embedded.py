"""The model that comes with the package."""
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


def test_it_is_small_and_has_a_card():
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


@pytest.mark.parametrize('photo', ['000000000785.jpg'])
def test_it_finds_somebody_who_stands_alone_in_a_photo(coco_real, photo):
    annotations = json.loads((coco_real / 'person_keypoints.json').read_text())
    image, = (image for image in annotations['images'] if image['file_name'] == photo)
    person, = (person for person in annotations['annotations'] if person['image_id'] == image['id'])
    x, y, width, height = person['bbox']
    inferencer = SapiensInferencer(size='tiny', device='cpu', per_person=True)
    result, = inferencer([str(coco_real / photo)], [np.array([[x, y, x + width, y + height]])])
    truth = np.reshape(person['keypoints'], (17, 3))
    seen = truth[:, 2] > 0
    apart = np.linalg.norm(result.keypoints[0] - truth[:, :2], axis=1)[seen] / height
    assert (apart < .1).mean() > .8
    # In the middle of the body there is one; in the corners of the photo nobody.
    hips = truth[[11, 12], :2].mean(axis=0).astype(int)
    assert result.parts[hips[1], hips[0]] > 0
    assert not result.parts[0, 0]
    assert 0 < (result.parts > 0).sum() < width * height


def test_it_finds_people_by_their_parts(coco_real):
    inferencer = SapiensInferencer(['pose-17'], 'tiny', device='cpu')
    result, nobody = inferencer([str(coco_real / '000000000785.jpg'), np.full((425, 640, 3), 200, np.uint8)])
    annotations = json.loads((coco_real / 'person_keypoints.json').read_text())['annotations']
    x, y, width, height = next(person['bbox'] for person in annotations if person['image_id'] == 785)
    overlap = box_iou(torch.tensor([[x, y, x + width, y + height]]), torch.from_numpy(result.boxes[:1, :4]))
    assert overlap.item() > .6
    assert len(nobody.boxes) == 0
