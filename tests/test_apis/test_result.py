"""Tests of `Result`."""
import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from sapiens_mm.apis import Result
from sapiens_mm.apis.frames import Source
from sapiens_mm.formats.rle import decode_coco
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


def test_openpose_for_other_programs():
    result = make_result(133, track_ids=np.array([7, 3]))
    result.keypoint_scores[0, 0] = .2
    pose2sim, controlnet = result.to_json('pose2sim'), result.to_json('controlnet', threshold=.3)
    for content in (pose2sim, controlnet, result.to_json('openpose')):
        assert (content['canvas_width'], content['canvas_height']) == (80, 60)
        assert [person['person_id'] for person in content['people']] == [[7], [3]]
    first = pose2sim['people'][0]
    assert (len(first['pose_keypoints_2d']), first['face_keypoints_2d']) == (78, [])
    assert first['pose_keypoints_2d'][51:54] == [0, 0, 0]  # no head
    first = controlnet['people'][0]
    assert {name: len(first[name]) for name in first if name.endswith('_2d')} == dict(
        pose_keypoints_2d=54, face_keypoints_2d=204, hand_left_keypoints_2d=63, hand_right_keypoints_2d=63)
    assert first['pose_keypoints_2d'][:3] == [0, 0, 0]
    assert set(first['pose_keypoints_2d'][5::3]) == {1}
    for layout in ('pose2sim', 'controlnet'):
        assert make_result(keypoints=None).to_json(layout)['people'] == []


def test_table_equals_json():
    pytest.importorskip('pandas')
    result = make_result(17, track_ids=np.array([7, 3]), index=5, rate=25.)
    content, rows = result.to_json(), result.to_df().to_dict('records')
    for person, (row, entry) in enumerate(zip(rows, content['instances'], strict=True)):
        assert list(row.values())[:7] == ['a.jpg', 5, .2, 80, 60, person, entry['track_id']]
        assert row['bbox'] == entry['bbox']
        assert row['score'] == np.float32(entry['score'])
        triples = np.column_stack([np.reshape(row['keypoints'], (-1, 2)), row['keypoint_scores']])
        assert triples.ravel().tolist() == entry['keypoints']
    assert len(make_result(133).to_df('coco-17')['keypoints'][0]) == 34
    assert result.to_df().attrs['keypoint_names'] == content['keypoint_names']


def test_tables_have_the_same_columns():
    pytest.importorskip('pandas')
    tables = [make_result(17).to_df(), make_result(persons=0, maps=()).to_df(), make_result(keypoints=None).to_df(),
              make_result(17, track_ids=np.array([7, 3]), index=5, rate=25.).to_df()]
    assert [len(table) for table in tables] == [2, 0, 2, 2]
    assert len({tuple(table.columns) for table in tables}) == len({tuple(table.dtypes) for table in tables}) == 1
    assert tables[2]['keypoints'].isna().all()
    with pytest.raises(ValueError, match='openpose'):
        make_result().to_df('openpose')


def test_shares_of_the_image():
    result = make_result(17, persons=1)
    result.keypoints[0, 0] = -.5
    result.keypoints[0, 1] = (79.5, 29.5)
    assert result.xyn[0, :2].tolist() == [[0, 0], [1, .5]]
    assert make_result(keypoints=None).xyn is None


def test_supervision():
    supervision = pytest.importorskip('supervision')
    result = make_result(17, track_ids=np.array([7, 3]))
    result.keypoint_scores[1, 3] = .1
    detections, keypoints = result.to_supervision(threshold=.3)
    assert np.array_equal(detections.xyxy, result.boxes[:, :4])
    assert detections.tracker_id.tolist() == [7, 3]
    assert detections[1].confidence == result.boxes[1, 4]
    assert np.array_equal(keypoints.xy, result.keypoints)
    assert np.argwhere(~keypoints.visible).tolist() == [[1, 3]]
    assert np.array_equal(keypoints.detection_confidence, detections.confidence)
    image = np.zeros_like(result.image)
    drawing = supervision.BoxAnnotator(thickness=1).annotate(image.copy(), detections[0])
    x0, y0, x1, y1 = result.boxes[0, :4].astype(int).tolist()
    assert drawing.any()
    drawing[y0 - 1:y1 + 2, x0 - 1:x1 + 2] = 0
    assert not drawing.any()
    links = [(a + 1, b + 1) for a, b in result.metainfo['pose']['skeleton_links']]
    assert supervision.EdgeAnnotator(edges=links).annotate(image.copy(), keypoints).any()


def test_supervision_without_people_or_pose():
    pytest.importorskip('supervision')
    detections, keypoints = make_result(133, persons=0, track_ids=np.zeros(0, int)).to_supervision()
    assert len(detections) == len(keypoints) == 0
    assert keypoints.xy.shape == (0, 133, 2)
    detections, keypoints = make_result(keypoints=None, keypoint_scores=None).to_supervision()
    assert (len(detections), len(keypoints)) == (2, 0)


@pytest.mark.parametrize(('method', 'module'), [('to_df', 'pandas'), ('to_supervision', 'supervision')])
def test_missing_packages(monkeypatch, method, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'{module}.*interop'):
        getattr(make_result(17), method)()


def two_people(**fields):
    """Two people apart, whose boxes overlap, and a piece of an undetected third one."""
    parts = np.zeros((60, 80), np.uint8)
    parts[10:50, 5:35], parts[10:50, 40:70], parts[55:, 75:] = 3, 5, 7
    result = make_result(17, maps=['parts'], **fields)
    result.maps['parts'] = parts
    result.boxes[:, :4] = [[5, 10, 38, 50], [36, 10, 70, 50]]
    if result.keypoints is not None:
        result.keypoints[0], result.keypoints[1] = (20, 30), (55, 30)
    return result


@pytest.mark.parametrize('fields', [{}, dict(keypoints=None, keypoint_scores=None)])
def test_masks_of_people(fields):
    result = two_people(**fields)
    masks = result.person_masks
    assert [np.unique(result.parts[mask]).tolist() for mask in masks] == [[3], [5]]
    assert masks.sum() == 2 * 40 * 30
    instances = json.loads(json.dumps(result.to_json(masks=True)))['instances']
    for mask, instance in zip(masks, instances, strict=True):
        assert np.array_equal(decode_coco(instance['segmentation']), mask)
    assert 'segmentation' not in result.to_json()['instances'][0]
    assert 'segmentation' not in make_result(17, maps=()).to_json(masks=True)['instances'][0]
    assert make_result(17, maps=()).person_masks is None
    assert make_result(17, persons=0, maps=['parts']).person_masks.shape == (0, 60, 80)
    assert make_result(17, persons=0, maps=['parts']).to_json(masks=True)['instances'] == []


def test_masks_in_supervision():
    pytest.importorskip('supervision')
    detections, _ = two_people().to_supervision()
    assert np.array_equal(detections.mask, two_people().person_masks)
    detections, _ = make_result(17, persons=0).to_supervision()
    assert len(detections) == 0


def test_a_drawing_for_controlnet():
    assert make_result(308).draw_openpose().any()
    assert not make_result(17, persons=0).draw_openpose().any()
    assert not make_result(keypoints=None).draw_openpose().any()
    unknown = make_result(17)
    unknown.metainfo['pose']['keypoint_id2name'] = {i: f'point {i}' for i in range(17)}
    with pytest.raises(ValueError, match='controlnet'):
        unknown.draw_openpose()


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
