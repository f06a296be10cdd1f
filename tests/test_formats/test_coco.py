"""Tests of COCO annotations."""
import json

import numpy as np
import pytest
from xtcocotools.coco import COCO

from sapiens_mm.formats import coco
from sapiens_mm.formats.labels import keypoint_set

from .conftest import FIVE, NAMES, assert_equal, make_labels


def _content(**changes):
    annotation = dict(id=7, image_id=1, category_id=1, bbox=[1, 2, 3, 4], keypoints=[1, 2, 2] * 17) | changes
    return dict(images=[dict(id=1, file_name='a.jpg', width=9, height=9)], annotations=[annotation],
                categories=[dict(id=1, name='person')])


@pytest.mark.parametrize('content', [
    [], {}, dict(images=[{}], annotations=[], categories=[]), _content() | dict(categories=[]),
    _content() | dict(categories=[dict(id=1, name='cat'), dict(id=2, name='dog')]),
    _content() | dict(images=[]), _content(bbox=[1, 2, 3]), _content(bbox=None), _content(bbox=[1, 2, 3, float('nan')]),
    _content(keypoints=[1, 2, 2] * 16), _content(keypoints=['a'] * 51), _content(keypoints=[1, 2]),
    _content() | dict(annotations=[3])])
def test_invalid_content(tmp_path, content):
    (tmp_path / 'labels.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r'labels\.json'):
        list(coco.read(tmp_path / 'labels.json'))


def test_damaged_json_and_other_keypoints(tmp_path):
    (tmp_path / 'labels.json').write_text('{"images": [')
    with pytest.raises(ValueError, match=r'labels\.json'):
        list(coco.read(tmp_path / 'labels.json'))
    with pytest.raises(OSError, match=r'no\.json'):
        list(coco.read(tmp_path / 'no.json'))
    coco.write(make_labels(5), tmp_path / 'labels.json')
    with pytest.raises(ValueError, match='head'):
        list(coco.read(tmp_path / 'labels.json', keypoint_set(NAMES[17])))


def test_different_sets_and_equal_names_in_one_file(tmp_path):
    (tmp_path / 'labels.json').write_text('before')
    with pytest.raises(ValueError, match='5 keypoints'):
        coco.write([make_labels(17)[0], make_labels(5)[1]], tmp_path / 'labels.json')
    with pytest.raises(ValueError, match=r'nobody\.png'):
        coco.write(make_labels()[1:] * 2, tmp_path / 'labels.json')
    assert [path.name for path in tmp_path.iterdir()] == ['labels.json']
    assert (tmp_path / 'labels.json').read_text() == 'before'


def test_round_trip(tmp_path, labels):
    coco.write(labels, tmp_path / 'labels.json')
    assert_equal(coco.read(tmp_path / 'labels.json'), labels)
    content = COCO(tmp_path / 'labels.json')
    for annotation, person in zip(content.dataset['annotations'], labels[0].people, strict=True):
        points = np.reshape(annotation['keypoints'], (-1, 3))
        assert np.array_equal(points[:, 2], person.visible)
        assert np.array_equal(points[:, :2], person.keypoints)  # no half pixel
        assert annotation['num_keypoints'] == sum(person.visible > 0)
    assert content.dataset['categories'][0]['keypoints'] == list(labels[0].keypoint_set.names)


def test_parts(tmp_path):
    labels = make_labels(with_parts=True)
    files = coco.write(labels, tmp_path / 'labels.json')
    assert [path.name for path in files] == ['labels.json', 'labels_parts.json']
    assert_equal(coco.read(tmp_path / 'labels.json'), labels)
    content = COCO(files[1])
    for annotation in content.dataset['annotations']:
        mask = content.annToMask(annotation).astype(bool)
        assert (labels[0].parts[mask] == annotation['category_id']).all()
        assert mask.sum() == annotation['area']
    assert {annotation.get('person') for annotation in content.dataset['annotations']} == {None, 0, 1}
    content = json.loads(files[1].read_text())
    content['annotations'][0]['segmentation']['counts'] = '3'
    files[1].write_text(json.dumps(content))
    with pytest.raises(ValueError, match='labels_parts'):
        list(coco.read(tmp_path / 'labels.json'))


def test_keypoints_of_a_known_set_in_another_order(tmp_path):
    labels = make_labels()
    coco.write(labels, tmp_path / 'labels.json')
    content = json.loads((tmp_path / 'labels.json').read_text())
    order = np.random.default_rng(0).permutation(17)
    content['categories'][0] |= dict(keypoints=[NAMES[17][index] for index in order], skeleton=[[1, 2]])
    for annotation in content['annotations']:
        annotation['keypoints'] = np.reshape(annotation['keypoints'], (-1, 3))[order].ravel().tolist()
        annotation.pop('keypoint_scores')
    (tmp_path / 'labels.json').write_text(json.dumps(content))
    assert_equal(coco.read(tmp_path / 'labels.json'), labels, scores=False)


def test_files_of_others(tmp_path):
    content = _content(keypoints=[1, 2, 2] * 5)
    content['annotations'] += [dict(content['annotations'][0], iscrowd=1), dict(content['annotations'][0], id=9)]
    content['annotations'][2]['category_id'] = 2
    content['categories'].append(dict(id=2, name='dog'))
    (tmp_path / 'labels.json').write_text(json.dumps(content))
    with pytest.warns(UserWarning, match='1') as caught:
        image, = coco.read(tmp_path / 'labels.json', keypoint_set(FIVE))
    assert len(caught) == 2
    assert image.keypoint_set.names == FIVE
    assert len(image.people) == 1


def test_lines_of_a_killed_run(tmp_path):
    target, path = tmp_path / 'coco.json', tmp_path / 'coco.jsonl'
    first, second = make_labels()
    lines = coco.AnnotationLines(target, path)
    lines.append(second)
    lines.close()
    with open(path, 'a') as file:
        file.write('{"image": {"file_name": "sub')
    lines = coco.AnnotationLines(target, path, resume=True)
    assert lines.names == {second.file_name}
    with pytest.raises(ValueError, match='5 keypoints'):
        lines.append(make_labels(5)[0])
    for image in (second, first):  # of an image that is done again the last line counts
        lines.append(image)
    assert lines.finish() == [target]
    assert_equal(coco.read(target), [second, first])
    coco.AnnotationLines(target, path).append(first)  # without resume, lines are replaced
    assert coco.AnnotationLines(target, path, resume=True).names == {first.file_name}
    path.write_text('{"image"\n')
    with pytest.raises(ValueError, match=r'coco\.jsonl'):
        coco.AnnotationLines(target, path, resume=True)
