"""Tests of Label Studio's tasks."""
import json
import re
import xml.etree.ElementTree as ET

import cv2
import numpy as np
import pytest

from sapiens_mm.formats import label_studio
from sapiens_mm.formats.labels import Labels, Person, keypoint_set

from .conftest import FIVE, NAMES, assert_equal, make_labels

SIZE = dict(original_width=200, original_height=100)


def box(number, x, y, width, height, **changes):
    return dict(id=number, type='rectanglelabels', value=dict(
        x=x, y=y, width=width, height=height, rotation=0, rectanglelabels=['person']), **SIZE) | changes


def point(name, x, y, **changes):
    return dict(id=f'{name}{x}', type='keypointlabels', value=dict(x=x, y=y, width=.5, keypointlabels=[name]),
                **SIZE) | changes


def read(tmp_path, *regions, data=None, keypoints=None, **options):
    task = dict(id=5, data=data or dict(image='/data/upload/3/0a1b2c3d-a.jpg'), annotations=[dict(result=regions)])
    (tmp_path / 'export.json').write_text(json.dumps([task]))
    return list(label_studio.read(tmp_path / 'export.json', keypoints, **options))


@pytest.mark.parametrize('content', ['[', '{}', '3', '[{"image": "a.jpg", "person": []}]', '[3]'])
def test_other_files(tmp_path, content):
    (tmp_path / 'export.json').write_text(content)
    with pytest.raises(ValueError, match=r'export\.json'):
        list(label_studio.read(tmp_path / 'export.json'))


@pytest.mark.parametrize(('regions', 'value'), [
    ([point('nose', 3, 4)], 'nose'),
    ([box('a', 0, 0, 10, 10), point('nose', 30, 4), point('left_eye', 3, 4)], 'nose'),
    ([box('a', 0, 0, 10, 10), point('nose', 3, 4, parentID='a'), point('nose', 4, 4, parentID='a')], 'nose'),
    ([box('a', 0, 0, 10, 10), point('nose', 3, 4), point('nose', 4, 4)], 'nose'),
    ([box('a', 0, 0, 10, 10), point('tail', 3, 4)], 'tail'),
    ([box('a', 0, 0, 10, 10), box('b', 0, 0, 10, 10, original_width=100)], '100'),
    ([box('a', 0, 0, 10, 10, image_rotation=90)], 'turned'),
    ([dict(id='a', value=dict(rectanglelabels=['person'], x=0, y=0), **SIZE)], 'width'),
    ([box('a', 0, 0, 10, 10), box('a', 5, 5, 10, 10)], 'id'),
    ([dict(id='q', type='keypointlabels', value=dict(x=1, y=1), **SIZE)], 'q'),
    ([dict(id='a', value=dict(brushlabels=['Wing'], rle=[0]), **SIZE)], 'Wing'),
    ([dict(id='a', value=dict(brushlabels=['Hair'], rle=[0]), **SIZE)], '100 x 200')])
def test_invalid_regions(tmp_path, regions, value):
    with pytest.raises(ValueError, match=rf'export\.json: task 5.*{value}'):
        read(tmp_path, *regions)


def test_own_keypoints_need_their_set(tmp_path):
    regions = box('a', 0, 0, 10, 10), point('left_foot', 3, 4)
    with pytest.raises(ValueError, match='left_foot'):
        read(tmp_path, *regions)
    with pytest.raises(ValueError, match='left_foot.*right_wing'):
        read(tmp_path, *regions, keypoints=keypoint_set(('left_wing', 'right_wing')))
    image, = read(tmp_path, *regions, keypoints=keypoint_set(FIVE))
    assert image.people[0].visible.tolist() == [0, 0, 0, 2, 0]


def test_round_trip(tmp_path, labels):
    files = label_studio.write(labels, tmp_path / 'tasks.json', '/data/local-files/?d=photos/')
    assert [path.name for path in files] == ['tasks.json', 'tasks.xml']
    assert_equal(label_studio.read(files[0]), labels)
    assert_equal(label_studio.read(files[0], image_root='/data/local-files/?d=photos'), labels)
    tasks = json.loads(files[0].read_text())
    assert tasks[0]['data']['image'] == '/data/local-files/?d=photos/sub/sch%C3%B6ne%20Gr%C3%BC%C3%9Fe.jpg'
    config = ET.parse(files[1])
    names = [label.get('value') for label in config.findall('KeyPointLabels/Label')]
    assert tuple(names) == labels[0].keypoint_set.names
    assert [label.get('model_index') for label in config.findall('KeyPointLabels/Label')] == [
        str(index) for index in range(len(names))]
    controls = {control.get('name') for control in config.getroot()}
    for region in tasks[0]['predictions'][0]['result']:
        assert region['from_name'] in controls
        assert region['to_name'] == 'image'
        assert (region['original_width'], region['original_height']) == (640, 425)
        if region['type'] == 'keypointlabels':
            assert region['parentID'] == re.match(r'p\d', region['id'])[0]
    assert tasks[1]['predictions'][0]['result'] == []


def test_parts(tmp_path):
    labels = make_labels(133, with_parts=True)
    files = label_studio.write(labels, tmp_path / 'tasks.json')
    assert_equal(label_studio.read(files[0]), labels)
    labels[0].part_names = ('Background', *(f'part & {index}' for index in range(1, 28)))
    label_studio.write(labels[:1], tmp_path / 'tasks.json')
    assert_equal(label_studio.read(files[0]), labels[:1])
    assert 'part & 27' in [label.get('value') for label in ET.parse(files[1]).findall('BrushLabels/Label')]


def test_the_center_of_a_pixel(tmp_path):
    """A dot of one pixel at (0, 0) is drawn from 0 to 1 of 10 pixels; the middle of that is at 5 %."""
    image = np.zeros((10, 10), np.uint8)
    image[0, 0] = image[7, 2] = 1
    keypoints = np.argwhere(image)[:, ::-1].astype(float)
    labels = [Labels('dot.png', 10, 10, [Person(np.array([0, 0, 10, 10.]), keypoints, np.full(2, 2))],
                     keypoint_set(('a', 'b')))]
    file, _ = label_studio.write(labels, tmp_path / 'tasks.json')
    task, = json.loads(file.read_text())
    box, *points = [region['value'] for region in task['predictions'][0]['result']]
    assert [(point['x'], point['y']) for point in points] == [(5, 5), (25, 75)]
    assert (box['x'], box['y'], box['width'], box['height']) == (0, 0, 100, 100)
    assert_equal(label_studio.read(file), labels, 1e-6, scores=False)


def test_what_annotators_change(tmp_path):
    regions = (
        box('big', 0, 0, 80, 80), box('small', 10, 10, 20, 20, score=.2),
        point('nose', 15, 15, parentID='big', score=.1), point('nose', 16, 16),
        point('left_eye', 17, 17), point('right_eye', 60, 60), point('left_ear', 70, 70, parentID='removed'),
        point('right_ear', 12, 12, parentID='left_eye17'),
        point('left_hip', 50, 50, parentID='nose15', meta=dict(text=['hidden'])),
        dict(id='x', type='choices', value=dict(choices=['good'])), dict(type='relation', from_id='a', to_id='b'))
    image, = read(tmp_path, *regions)
    assert (image.file_name, image.width, image.height) == ('a.jpg', 200, 100)
    big, small = image.people
    found = [{NAMES[17][index]: int(person.visible[index]) for index in np.flatnonzero(person.visible)}
             for person in (big, small)]
    assert found == [dict(nose=2, right_eye=2, left_ear=2, left_hip=1), dict(nose=2, left_eye=2, right_ear=2)]
    assert big.keypoint_scores is big.score is small.score is None  # those of predictions, which are corrected
    np.testing.assert_allclose(big.keypoints[0], (29.5, 14.5))


def test_turned_boxes_and_names(tmp_path):
    turned = box('a', 50, 10, 10, 20)
    turned['value']['rotation'] = 90
    image, = read(tmp_path, turned, data=dict(image='/data/local-files/?d=photos/sub/a%20b.jpg'))
    np.testing.assert_allclose(image.people[0].box, (80, 10, 100, 30))
    assert image.file_name == 'photos/sub/a b.jpg'
    assert image.keypoint_set is None
    image, = read(tmp_path, turned, data=dict(image='https://a.org/x/%C3%BC.jpg?token=1'))
    assert image.file_name == 'ü.jpg'
    image, = read(tmp_path, turned, data=dict(image='s3://photos/x/a.jpg'), image_root='s3://photos')
    assert image.file_name == 'x/a.jpg'


def test_boxes_of_others(tmp_path):
    dog = box('dog', 0, 0, 10, 10)
    dog['value']['rectanglelabels'] = ['dog']
    with pytest.warns(UserWarning, match='dog'):
        image, = read(tmp_path, box('a', 0, 0, 20, 20), dog, point('nose', 5, 5))
    assert len(image.people) == 1
    assert image.people[0].visible[0] == 2
    cat = box('cat', 0, 0, 10, 10)
    cat['value']['rectanglelabels'] = ['cat']
    with pytest.raises(ValueError, match='cat, dog'):
        read(tmp_path, dog, cat)
    image, = read(tmp_path, dog)
    assert len(image.people) == 1


def test_an_image_with_nobody_needs_its_size(tmp_path):
    with pytest.raises(OSError, match=r'a\.jpg'):
        read(tmp_path, image_root=str(tmp_path))
    cv2.imwrite(str(tmp_path / 'a.jpg'), np.zeros((4, 6, 3), np.uint8))
    image, = read(tmp_path, image_root=str(tmp_path))
    assert (image.width, image.height, image.people) == (6, 4, [])


def test_several_annotations_and_none(tmp_path):
    data = dict(image='a.jpg', width=200, height=100)
    tasks = [
        dict(data=data, annotations=[
            dict(updated_at='2026-02-01', result=[box('a', 0, 0, 10, 10), box('b', 0, 0, 10, 10)]),
            dict(updated_at='2026-01-01', result=[]),
            dict(updated_at='2026-03-01', was_cancelled=True, result=[])]),
        dict(data=data, annotations=[], predictions=[dict(result=[box('a', 0, 0, 10, 10)])])]
    (tmp_path / 'export.json').write_text(json.dumps(tasks))
    with pytest.warns(UserWarning, match=r'export\.json') as caught:
        image, = label_studio.read(tmp_path / 'export.json')
    assert len(image.people) == 2
    assert len(caught) == 2
    (tmp_path / 'export.json').write_text(json.dumps(tasks[1:]))
    image, = label_studio.read(tmp_path / 'export.json')
    assert len(image.people) == 1
