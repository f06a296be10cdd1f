"""Tests of labels and keypoint sets."""
import json

import numpy as np
import pytest

from sapiens_mm.formats import coco, cvat, label_studio, yolo
from sapiens_mm.formats.labels import (
    Labels,
    Person,
    arrange,
    from_metainfo,
    image_size,
    keypoint_set,
    known_set,
    read_keypoint_set,
    select,
)
from sapiens_mm.vocabularies.goliath import METAINFO_308

from .conftest import FIVE, NAMES, make_labels


def test_invalid_keypoint_sets(tmp_path):
    with pytest.raises(ValueError, match='nose'):
        keypoint_set(('nose', 'nose'))
    with pytest.raises(ValueError, match=r'\(0, 2\)'):
        keypoint_set(('a', 'b'), ((0, 2), ))
    for content in ('[]', '[1]', '3', '{"categories": []}', '{"categories": [{"keypoints": 3}]}'):
        (tmp_path / 'names.json').write_text(content)
        with pytest.raises(ValueError, match='names.json'):
            read_keypoint_set(tmp_path / 'names.json')
    (tmp_path / 'names.json').write_text('["a", ')
    with pytest.raises(ValueError, match='names.json'):
        read_keypoint_set(tmp_path / 'names.json')


def test_unknown_names_and_formats():
    person = Person(np.zeros(4), np.ones((2, 2)), np.ones(2, int))
    with pytest.raises(ValueError, match='tail'):
        arrange(person, ('nose', 'tail'), keypoint_set(NAMES[17]))
    with pytest.raises(ValueError, match='5 keypoints'):
        list(select(make_labels(5), 'coco-17'))
    with pytest.raises(ValueError, match='17 keypoints'):
        list(select(make_labels(17), 'wholebody-133'))


def test_missing_and_damaged_images(tmp_path):
    with pytest.raises(OSError, match=r'no\.jpg'):
        image_size(tmp_path / 'no.jpg')
    (tmp_path / 'a.jpg').write_bytes(b'text')
    with pytest.raises(ValueError, match=r'a\.jpg'):
        image_size(tmp_path / 'a.jpg')


@pytest.mark.parametrize('number', NAMES)
def test_mirror_pairs_and_links(number):
    keypoints = keypoint_set(NAMES[number])
    flip = keypoints.flip_indices
    assert [flip[index] for index in flip] == list(range(number))
    assert all(('left' in name) == ('right' in NAMES[number][flip[index]]) for index, name in enumerate(NAMES[number]))
    assert len(keypoints.links) == {5: 0, 17: 19}.get(number, 65)


def test_sets_of_a_config_and_of_files(tmp_path):
    config = from_metainfo(METAINFO_308)
    assert config == keypoint_set(NAMES[308])
    (tmp_path / 'names.json').write_text(json.dumps(FIVE))
    assert read_keypoint_set(tmp_path / 'names.json').flip_indices == (0, 2, 1, 4, 3)
    (tmp_path / 'coco.json').write_text(json.dumps(dict(categories=[
        dict(name='person', keypoints=FIVE, skeleton=[[1, 2], [1, 3]])])))
    assert read_keypoint_set(tmp_path / 'coco.json').links == ((0, 1), (0, 2))
    assert known_set(['left_eye', 'nose']).names == NAMES[17]
    assert known_set([*NAMES[17], 'face-3']).names == NAMES[133]
    assert known_set(FIVE) is None


def test_selection():
    people = [Person(np.zeros(4), np.ones((17, 2)), np.full(17, 2), np.linspace(0, 1, 17), .5),
              Person(np.zeros(4), np.ones((17, 2)), np.full(17, 1))]
    image, = select([Labels('a', 9, 9, people, keypoint_set(NAMES[17]))], threshold=.5, min_score=.6)
    assert len(image.people) == 1
    assert (image.people[0].visible == 1).all()
    image, = select([Labels('a', 9, 9, people, keypoint_set(NAMES[17]))], threshold=.5)
    assert (image.people[0].visible > 0).tolist() == [score >= .5 for score in np.linspace(0, 1, 17)]


def test_conversion():
    before = make_labels(308)
    whole, _ = select(before, 'wholebody-133')
    wrist = NAMES[133].index('left_wrist'), NAMES[308].index('left_wrist')
    for person, other in zip(whole.people, before[0].people):
        assert person.visible[wrist[0]] == other.visible[wrist[1]]
        assert np.array_equal(person.keypoints[wrist[0]], other.keypoints[wrist[1]])
        assert not person.visible[NAMES[133].index('face-0')]
        assert np.isfinite(person.keypoints).all()
    body, nobody = select([whole, before[1]], 'coco-17')
    assert np.array_equal(body.people[0].keypoints, whole.people[0].keypoints[:17])
    assert nobody.keypoint_set.names == body.keypoint_set.names == NAMES[17]


@pytest.mark.parametrize('target', ['coco', 'cvat', 'label-studio', 'yolo'])
def test_from_where_each_format_counts_pixels(tmp_path, target):
    """The center of the first pixel: 0 in COCO's files, half a pixel from the corner in the others."""
    image = Labels('dot.png', 10, 20, [Person(np.array([0, 0, 4, 4.]), np.zeros((2, 2)), np.array([2, 0]))],
                   keypoint_set(('a', 'b')))
    if target == 'coco':
        coco.write([image], tmp_path / 'out')
        point = json.loads((tmp_path / 'out').read_text())['annotations'][0]['keypoints'][:2]
    elif target == 'cvat':
        cvat.write([image], tmp_path / 'out.json')
        point = json.loads((tmp_path / 'out.json').read_text())['annotations'][0]['keypoints'][:2]
    elif target == 'label-studio':
        label_studio.write([image], tmp_path / 'out.json')
        task, = json.loads((tmp_path / 'out.json').read_text())
        value = task['predictions'][0]['result'][1]['value']
        point = [value['x'] * 10 / 100, value['y'] * 20 / 100]
    else:
        yolo.write([image], tmp_path / 'out')
        line = (tmp_path / 'out/labels/train/dot.txt').read_text().split()
        point = [float(line[5]) * 10, float(line[6]) * 20]
    np.testing.assert_allclose(point, [0, 0] if target == 'coco' else [.5, .5])
