"""Tests of `Result`."""
import json
from dataclasses import replace

import numpy as np
import pytest

from sapiens_mm.apis import Result
from sapiens_mm.apis.frames import Source
from sapiens_mm.pose.metainfo import get_metainfo
from sapiens_mm.visualization.sheet import MAX_HEIGHT
from sapiens_mm.vocabularies.body_parts import PART_COLORS, PART_NAMES
from sapiens_mm.vocabularies.keypoints import convert_keypoints


def make_result(number=308, persons=2, maps=('parts', 'depth', 'normal'), **kwargs):
    rng = np.random.default_rng(0)
    parts = np.zeros((60, 80), np.uint8)
    parts[10:50, 20:60] = rng.integers(1, 28, (40, 40))
    mask = parts != 0
    normal = rng.normal(size=(60, 80, 3)).astype(np.float32)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    values = dict(parts=parts, depth=(rng.uniform(.2, .9, parts.shape) * mask).astype(np.float32),
                  normal=normal * mask[..., None])
    fields = dict(maps={name: values[name] for name in maps},
                  keypoints=rng.uniform(0, 60, (persons, number, 2)).astype(np.float32),
                  keypoint_scores=rng.uniform(.4, 1, (persons, number)).astype(np.float32))
    return Result(
        Source('/data/a.jpg', 'a.jpg'), rng.integers(0, 256, (60, 80, 3), dtype=np.uint8),
        boxes=np.array([[1.23456, 2, 31, 42, 0.98762], [5, 6, 70, 58, .5]], np.float32)[:persons],
        metainfo=dict(pose=get_metainfo(number), seg=dict(classes=PART_NAMES, palette=PART_COLORS)),
        **{**fields, **kwargs})


def test_keypoints_that_do_not_convert():
    with pytest.raises(ValueError, match='h36m'):
        make_result().to_json('h36m')
    with pytest.raises(ValueError, match="'wholebody-133' for 17 .*coco-17"):
        make_result(17).to_json('wholebody-133')
    unknown = make_result(17)
    unknown.metainfo['pose']['keypoint_id2name'] = {i: f'point {i}' for i in range(17)}
    with pytest.raises(ValueError, match="'openpose' for 17 keypoints"):
        unknown.to_json('openpose')


def test_repr():
    assert repr(make_result(17)) == "Result('a.jpg', 80 x 60, 2 people, pose-17, parts, depth, normal)"
    assert repr(make_result(persons=1, maps=(), index=3)) == (
        "Result('a.jpg.frames/000003', 80 x 60, 1 person, pose-308)")
    assert repr(make_result(persons=0, keypoints=None, maps=['parts'])) == (
        "Result('a.jpg', 80 x 60, 0 people, parts)")


def test_json():
    result = make_result(track_ids=np.array([7, 3]), index=5, rate=25.)
    content = json.loads(json.dumps(result.to_json()))
    assert content['image'] == dict(file='/data/a.jpg', width=80, height=60, frame=5, time=.2)
    assert make_result(index=5, rate=25., time=.31).to_json()['image']['time'] == .31
    assert content['keypoint_names'][0] == 'nose'
    first = content['instances'][0]
    assert first['bbox'] == [1.235, 2, 29.765, 40]
    assert (first['score'], first['track_id'], first['category_id']) == (.9876, 7, 1)
    triples = np.reshape(first['keypoints'], (-1, 3))
    np.testing.assert_allclose(triples[:, :2], result.keypoints[0], atol=1e-3)
    np.testing.assert_allclose(triples[:, 2], result.keypoint_scores[0], atol=1e-3)
    without = make_result(keypoints=None).to_json()
    assert 'keypoint_names' not in without
    assert 'keypoints' not in without['instances'][0]
    assert result.name == 'a.jpg.frames/000005'


@pytest.mark.parametrize(('number', 'form', 'vocabulary'), [
    (308, 'coco-17', 'coco'), (308, 'wholebody-133', 'coco_wholebody'), (133, 'coco-17', 'coco'),
    (17, 'coco-17', None)])
def test_keypoint_formats(number, form, vocabulary):
    result = make_result(number)
    content = result.to_json(form)
    expected, scores = result.keypoints, result.keypoint_scores
    if vocabulary:
        expected, scores = convert_keypoints(expected, scores, number, vocabulary)
        assert content['keypoint_names'] == list(get_metainfo(vocabulary)['keypoint_name2id'])
    triples = np.reshape(content['instances'][1]['keypoints'], (-1, 3))
    np.testing.assert_allclose(triples[:, :2], np.nan_to_num(expected[1]), atol=1e-3)
    np.testing.assert_allclose(triples[:, 2], scores[1], atol=1e-3)


@pytest.mark.parametrize('number', [17, 133, 308])
def test_openpose(number):
    result = make_result(number)
    content = result.to_json('openpose')
    assert content['version'] == 1.3
    person = content['people'][0]
    lengths = {name: len(value) for name, value in person.items()}
    hands = 0 if number == 17 else 63
    assert lengths == dict(
        person_id=1, pose_keypoints_2d=75, face_keypoints_2d=0 if number == 17 else 204, hand_left_keypoints_2d=hands,
        hand_right_keypoints_2d=hands, pose_keypoints_3d=0, face_keypoints_3d=0, hand_left_keypoints_3d=0,
        hand_right_keypoints_3d=0)
    np.testing.assert_allclose(person['pose_keypoints_2d'][:2], result.keypoints[0, 0], atol=1e-3)
    assert make_result(number, persons=0).to_json('openpose')['people'] == []


def test_drawings():
    result = make_result()
    assert result.draw().shape == result.image.shape
    assert (result.draw() != result.image).any()
    sheet = result.sheet()
    assert sheet.dtype == np.uint8
    assert sheet.ndim == 3
    assert list(result.draw_maps()) == list(result.maps) == ['parts', 'depth', 'normal']
    for fields in (dict(maps=['depth', 'normal']), dict(maps=['normal']), dict(keypoints=None)):
        result = make_result(**fields)
        assert result.draw().shape == result.image.shape
        assert (result.draw() != result.image).any()
    plain = make_result(maps=(), keypoints=None)
    assert np.array_equal(plain.draw(), plain.image)
    tracked = make_result(track_ids=np.array([7, 3]))
    assert (tracked.draw() != make_result().draw()).any()


def test_mask():
    result = make_result()
    mask = result.parts != 0
    for maps in (['parts', 'depth'], ['depth', 'normal'], ['normal']):
        assert np.array_equal(make_result(maps=maps).mask, mask)
    assert make_result(maps=()).mask is None


def test_the_sheet_names_the_visible_parts():
    result = make_result()
    names = [name for name, _ in result.seen_parts()]
    assert names == [result.metainfo['seg']['classes'][part].replace('_', ' ')
                     for part in np.unique(result.parts) if part]
    assert names
    nobody = make_result()
    nobody.maps['parts'] = np.zeros_like(nobody.parts)
    assert nobody.seen_parts() == []
    assert result.sheet().size > nobody.sheet().size


def test_the_sheet_of_a_large_image_is_reduced():
    small = make_result()
    large = replace(
        small, image=enlarged(small.image), boxes=small.boxes * (20, 20, 20, 20, 1),
        keypoints=(small.keypoints + .5) * 20 - .5,
        maps={name: enlarged(array) for name, array in small.maps.items()})
    sheet = large.sheet()
    assert sheet.shape[0] <= 3 * (MAX_HEIGHT + 30)
    reduced = large._reduced(MAX_HEIGHT)
    assert reduced.image.shape == (1024, round(large.image.shape[1] * 1024 / len(large.image)), 3)
    scale = 1024 / len(large.image)
    np.testing.assert_allclose(reduced.keypoints, (large.keypoints + .5) * scale - .5)
    assert np.array_equal(np.unique(reduced.parts), np.unique(small.parts))
    assert np.array_equal(reduced.depth != 0, reduced.parts != 0)
    assert small._reduced(MAX_HEIGHT) is small
    assert large.nbytes == 400 * small.nbytes == 400 * 60 * 80 * (3 + 1 + 4 + 12)


def enlarged(array):
    return array.repeat(20, axis=0).repeat(20, axis=1)
