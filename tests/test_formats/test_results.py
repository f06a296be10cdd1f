"""Tests of reading results."""
import json

import numpy as np
import pytest
from PIL import Image

from sapiens_mm.formats import results
from sapiens_mm.formats.labels import keypoint_set

from .conftest import FIVE, NAMES

POINTS = [1, 2, .9] * 16 + [0, 0, 0]


def write(folder, name='a.jpg', **changes):
    content = dict(image=dict(file=f'/x/{name}', width=9, height=7), keypoint_names=NAMES[17], instances=[
        dict(category_id=1, bbox=[1, 2, 3, 4], score=.8, track_id=2, keypoints=POINTS)]) | changes
    path = folder / f'{name}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return content


@pytest.mark.parametrize('changes', [
    dict(image={}), dict(image=3), dict(instances=3), dict(instances=[3]), dict(instances=[dict(bbox=[1, 2])]),
    dict(instances=[dict(bbox=[1, 2, 3, 4])]), dict(instances=[dict(bbox=[1, 2, 3, 4], score=1, keypoints=[1])]),
    dict(keypoint_names=['a', 'a'])])
def test_invalid_results(tmp_path, changes):
    write(tmp_path, **changes)
    with pytest.raises(ValueError, match=r'a\.jpg\.json'):
        list(results.read(tmp_path))


def test_other_folders_and_files(tmp_path):
    with pytest.raises(OSError, match='nowhere'):
        list(results.read(tmp_path / 'nowhere'))
    (tmp_path / 'tasks.json').write_text('[{"data": {}}]')
    (tmp_path / 'meta.json').write_text('{}')
    with pytest.raises(ValueError, match=str(tmp_path)):
        list(results.read(tmp_path))
    write(tmp_path)
    (tmp_path / 'b.jpg.json').write_text('{"image": ')
    with pytest.raises(ValueError, match=r'b\.jpg\.json'):
        list(results.read(tmp_path))
    (tmp_path / 'b.jpg.json').write_text('{"version": 1.3, "people": []}')
    with pytest.raises(ValueError, match=r'b\.jpg\.json.*OpenPose'):
        list(results.read(tmp_path))


def test_files_of_a_run(tmp_path):
    write(tmp_path, 'sub/ä b.jpg')
    write(tmp_path, 'nobody.jpg', instances=[])
    write(tmp_path, 'clip.mp4.frames/000012', image=dict(file='clip.mp4', width=9, height=7, frame=12))
    (tmp_path / 'clip.mp4.json').write_text('{"video": {"file": "clip.mp4", "frames": 13}}')
    (tmp_path / 'meta.json').write_text('{')
    read = {image.file_name: image for image in results.read(tmp_path)}
    assert list(read) == ['nobody.jpg', 'clip.mp4.frames/000012.jpg', 'sub/ä b.jpg']
    image = read['sub/ä b.jpg']
    person, = image.people
    assert (image.width, image.height, person.score, person.track_id) == (9, 7, .8, 2)
    assert person.box.tolist() == [1, 2, 4, 6]
    assert person.visible.tolist() == [2] * 16 + [0]
    assert image.parts is None
    assert read['nobody.jpg'].people == []


def test_own_keypoints_without_pose(tmp_path):
    write(tmp_path, keypoint_names=FIVE, instances=[dict(bbox=[1, 2, 3, 4], score=1, keypoints=[1] * 15)])
    keypoints = keypoint_set(FIVE, ((0, 1), ))
    assert next(results.read(tmp_path, keypoints)).keypoint_set == keypoints
    with pytest.raises(ValueError, match='head'):
        list(results.read(tmp_path, keypoint_set(NAMES[17])))
    content = write(tmp_path, instances=[dict(bbox=[1, 2, 3, 4], score=1)])
    content.pop('keypoint_names')
    (tmp_path / 'a.jpg.json').write_text(json.dumps(content))
    image, = results.read(tmp_path)
    assert image.keypoint_set is image.people[0].keypoints is None


def test_parts(tmp_path):
    write(tmp_path, part_names=['Background', 'Hair'])
    parts = np.random.default_rng(0).integers(0, 2, (7, 9)).astype(np.uint8)
    Image.fromarray(parts).save(tmp_path / 'a.jpg.parts.png')
    image, = results.read(tmp_path)
    assert np.array_equal(image.parts, parts)
    assert image.part_names == ('Background', 'Hair')
    Image.fromarray(parts + 2).save(tmp_path / 'a.jpg.parts.png')
    with pytest.raises(ValueError, match=r'a\.jpg\.parts\.png'):
        list(results.read(tmp_path))
    Image.fromarray(parts.T).save(tmp_path / 'a.jpg.parts.png')
    with pytest.raises(ValueError, match=r'a\.jpg\.parts\.png'):
        list(results.read(tmp_path))
    (tmp_path / 'a.jpg.parts.png').write_bytes(b'PNG')
    with pytest.raises(ValueError, match=r'a\.jpg\.parts\.png'):
        list(results.read(tmp_path))


def test_rows_of_people(tmp_path):
    row, = results.people_rows(write(tmp_path), 'a.jpg')
    assert tuple(row) == results.PEOPLE_COLUMNS
    assert row == dict(image='a.jpg', frame=None, time=None, width=9, height=7, person=0, track_id=2, score=.8,
                       bbox=[1, 2, 3, 4], keypoints=[1, 2] * 16 + [0, 0], keypoint_scores=[.9] * 16 + [0])
    boxes = write(tmp_path, instances=[dict(bbox=[1, 2, 3, 4], score=1)], image=dict(width=9, height=7, frame=3))
    row, = results.people_rows(boxes, 'clip.mp4')
    assert [row[name] for name in ('frame', 'time', 'keypoints', 'keypoint_scores', 'track_id')] == [3, *[None] * 4]
    assert results.people_rows(write(tmp_path, instances=[]), 'a.jpg') == []
