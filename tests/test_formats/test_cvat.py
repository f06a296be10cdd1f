"""Tests of CVAT's files."""
import json
import re
import zipfile

import numpy as np
import pytest

from sapiens_mm.formats import cvat
from sapiens_mm.formats.labels import Labels, Person, keypoint_set

from .conftest import NAMES, assert_equal, make_labels


@pytest.mark.parametrize('files', [{}, {'images/a.jpg': ''}, {'annotations/person_keypoints_default.json': '{'},
                                   {'annotations/person_keypoints_default.json': '{}'}])
def test_other_archives(tmp_path, files):
    with zipfile.ZipFile(tmp_path / 'export.zip', 'w') as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match=r'export\.zip'):
        list(cvat.read(tmp_path / 'export.zip'))
    (tmp_path / 'cut.zip').write_bytes((tmp_path / 'export.zip').read_bytes()[:-10])
    with pytest.raises(ValueError, match=r'cut\.zip'):
        list(cvat.read(tmp_path / 'cut.zip'))


def test_a_skeleton_needs_keypoints(tmp_path):
    with pytest.raises(ValueError, match='keypoints'):
        cvat.write([Labels('a.jpg', 9, 9, [Person(np.zeros(4))])], tmp_path / 'cvat.zip')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['cvat.zip', 'cvat.json'])
def test_round_trip(tmp_path, labels, name):
    expected = make_labels(len(labels[0].keypoint_set.names))
    files = cvat.write(labels, tmp_path / name)
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert_equal(cvat.read(files[0]), expected)
    label, = json.loads((tmp_path / 'cvat_labels.json').read_text())
    assert [point['name'] for point in label['sublabels']] == list(expected[0].keypoint_set.names)
    places = np.array(re.findall(r'cx="([\d.-]+)" cy="([\d.-]+)"', label['svg']), float)
    assert len(places) == len(label['sublabels']) == len(np.unique(places, axis=0))
    assert places.min() >= 0
    assert places.max() <= 100
    assert label['svg'].count('<line') == len(expected[0].keypoint_set.links)


def test_the_center_of_a_pixel(tmp_path):
    labels = [Labels('dot.png', 10, 10, [Person(np.array([0, 0, 10, 10.]), np.array([[0, 0], [9., 4]]), np.full(2, 2))],
                     keypoint_set(('a', 'b')))]
    cvat.write(labels, tmp_path / 'cvat.json')
    annotation, = json.loads((tmp_path / 'cvat.json').read_text())['annotations']
    assert annotation['keypoints'] == [.5, .5, 2, 9.5, 4.5, 2]
    assert annotation['bbox'] == [0, 0, 10, 10]


def test_an_export_with_points_in_another_order(tmp_path):
    expected = make_labels()
    cvat.write(make_labels(), tmp_path / 'cvat.json')
    content = json.loads((tmp_path / 'cvat.json').read_text())
    order = np.random.default_rng(0).permutation(17)
    content['categories'][0] |= dict(id=3, keypoints=[NAMES[17][index] for index in order], skeleton=[])
    for annotation in content['annotations']:
        points = np.reshape(annotation['keypoints'], (-1, 3))[order].ravel().tolist()
        for key in ('score', 'keypoint_scores', 'track_id'):
            annotation.pop(key)
        annotation |= dict(category_id=3, keypoints=points, attributes=dict(occluded=False, track_id=4))
    with zipfile.ZipFile(tmp_path / 'export.zip', 'w') as archive:
        archive.writestr('annotations/person_keypoints_Train.json', json.dumps(content))
    read = list(cvat.read(tmp_path / 'export.zip'))
    assert_equal(read, expected, scores=False)
    assert read[0].people[0].track_id == 4


@pytest.mark.parametrize('number', [133, 308])
def test_skeletons_of_body_face_and_hands(tmp_path, number):
    expected = make_labels(number, with_scores=False)
    cvat.write(make_labels(number, with_scores=False), tmp_path / 'cvat.zip', split=True)
    assert_equal(cvat.read(tmp_path / 'cvat.zip'), expected, scores=False)
    labels = json.loads((tmp_path / 'cvat_labels.json').read_text())
    assert [label['name'] for label in labels] == ['body', 'face', 'left_hand', 'right_hand']
    assert sum(len(label['sublabels']) for label in labels) == number
    with zipfile.ZipFile(tmp_path / 'cvat.zip') as archive:
        content = json.loads(archive.read('annotations/person_keypoints_default.json'))
    for category, label in zip(content['categories'], labels, strict=True):
        assert category['keypoints'] == [point['name'] for point in label['sublabels']]
    assert {entry['attributes']['person'] for entry in content['annotations']} == {1, 2}
    # As an annotator leaves a new skeleton, and in another order.
    content['annotations'].reverse()
    for entry in content['annotations']:
        if entry['attributes']['person'] == 1:
            entry['attributes'] = {} if entry['category_id'] > 1 else dict(person='0')
        else:
            entry['attributes'] = dict(person='2.0')
            entry['bbox'] = [20, 30, 100, 100] if entry['category_id'] > 1 else entry['bbox']
    (tmp_path / 'export.json').write_text(json.dumps(content))
    image, _ = cvat.read(tmp_path / 'export.json')
    image.people.sort(key=lambda person: person.box[0])
    assert_equal([image], expected[:1], scores=False)


def test_skeletons_that_cannot_be_split_or_joined(tmp_path):
    for number in (17, 5):
        with pytest.raises(ValueError, match=f'{number} keypoints'):
            cvat.write(make_labels(number), tmp_path / 'cvat.zip', split=True)
    cvat.write(make_labels(133), tmp_path / 'cvat.json', split=True)
    content = json.loads((tmp_path / 'cvat.json').read_text())
    face = next(entry for entry in content['annotations'] if entry['category_id'] == 2)
    content['annotations'].append(face)
    (tmp_path / 'cvat.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r'cvat\.json: .*face'):
        list(cvat.read(tmp_path / 'cvat.json'))
