"""Tests of YOLO-pose folders."""
import cv2
import numpy as np
import pytest
import yaml

from sapiens_mm.formats import yolo
from sapiens_mm.formats.labels import Labels, Person, keypoint_set

from .conftest import FIVE, NAMES, assert_equal, make_labels


@pytest.fixture
def photos(tmp_path):
    for image in make_labels():
        path = tmp_path / 'photos' / image.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imencode(path.suffix, np.zeros((image.height, image.width, 3), np.uint8))[1].tofile(path)
    return tmp_path / 'photos'


@pytest.mark.parametrize('content', ['', '[', '3', 'train: a', 'kpt_shape: [x, 3]', 'kpt_shape: [6, 3]\ntrain: a',
                                     'kpt_shape: [2, 3]\nkpt_names: {0: [a]}', 'kpt_shape: [17, 4]',
                                     'kpt_shape: [17, 3]\nnames: [cat, dog]'])
def test_invalid_settings(tmp_path, content):
    (tmp_path / 'data.yaml').write_text(content)
    with pytest.raises(ValueError, match=r'data\.yaml'):
        list(yolo.read(tmp_path))


@pytest.mark.parametrize('line', ['0 1 2', 'person ' + '0 ' * 55, '0 nan ' + '0 ' * 54])
def test_invalid_lines(tmp_path, photos, line):
    yolo.write(make_labels(), tmp_path / 'yolo', photos)
    (tmp_path / 'yolo/labels/train/nobody.txt').write_text(line)
    with pytest.raises(ValueError, match=r'nobody\.txt: line 1'):
        list(yolo.read(tmp_path / 'yolo'))


def test_missing_images(tmp_path, photos):
    with pytest.raises(OSError, match='nowhere'):
        list(yolo.read(tmp_path / 'nowhere'))
    with pytest.raises(ValueError, match='image_root.*nowhere'):
        yolo.write(make_labels(), tmp_path / 'yolo', tmp_path / 'nowhere')
    assert not (tmp_path / 'yolo').exists()
    yolo.write(make_labels(), tmp_path / 'yolo')
    with pytest.raises(OSError, match=r'schöne Grüße\.jpg'):
        list(yolo.read(tmp_path / 'yolo'))
    (photos / 'nobody.png').write_bytes(b'')
    with pytest.raises(ValueError, match=r'nobody\.png'):
        list(yolo.read(tmp_path / 'yolo', image_root=photos))
    (tmp_path / 'yolo/data.yaml').write_text('train: images\nkpt_shape: [17, 3]')
    with pytest.raises(OSError, match='images'):
        list(yolo.read(tmp_path / 'yolo'))


def test_what_a_folder_cannot_hold(tmp_path):
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full/a').touch()
    with pytest.raises(ValueError, match='full'):
        yolo.write(make_labels(), tmp_path / 'full')
    image, nobody = make_labels()
    nobody.file_name = 'sub/schöne Grüße.png'
    with pytest.raises(ValueError, match=r'Grüße\.png'):
        yolo.write([image, nobody], tmp_path / 'yolo')
    with pytest.raises(ValueError, match=r'a\.jpg'):
        yolo.write([Labels('a.jpg', 9, 9, [Person(np.zeros(4))])], tmp_path / 'yolo')
    with pytest.raises(ValueError, match='keypoints'):
        yolo.write([Labels('a.jpg', 9, 9)], tmp_path / 'yolo')
    assert not (tmp_path / 'yolo').exists()


@pytest.mark.parametrize('number', NAMES)
@pytest.mark.parametrize('linked', [False, True])
def test_round_trip(tmp_path, photos, number, linked):
    expected = make_labels(number)
    yolo.write(make_labels(number), tmp_path / 'yolo', photos if linked else '')
    root = '' if linked else photos
    assert_equal(yolo.read(tmp_path / 'yolo', image_root=root), expected, 640e-6, scores=False)
    assert_equal(yolo.read(tmp_path / 'yolo/data.yaml', image_root=root), expected, 640e-6, scores=False)
    content = yaml.safe_load((tmp_path / 'yolo/data.yaml').read_text('utf-8'))
    assert content['kpt_shape'] == [number, 3]
    assert content['flip_idx'] == list(expected[0].keypoint_set.flip_indices)
    assert content['names'] == {0: 'person'}
    lines = (tmp_path / 'yolo/labels/train/sub/schöne Grüße.txt').read_text().splitlines()
    assert [len(line.split()) for line in lines] == [5 + 3 * number] * 2
    assert (tmp_path / 'yolo/labels/train/nobody.txt').read_text() == ''


def test_the_center_of_a_pixel_and_what_is_outside(tmp_path):
    keypoints = np.array([[0, 0], [9, 4], [-1, 3], [3, 10]], float)
    people = [Person(np.array([-2, 0, 10, 12.]), keypoints, np.array([2, 1, 2, 2])),
              Person(np.array([-5, 0, 0, 9.]), keypoints, np.full(4, 2))]
    with pytest.warns(UserWarning, match='1 person'):
        yolo.write([Labels('dot.png', 10, 10, people, keypoint_set(tuple('abcd')))], tmp_path / 'yolo')
    line = (tmp_path / 'yolo/labels/train/dot.txt').read_text()
    assert line == '0 0.5 0.5 1 1 0.05 0.05 2 0.95 0.45 1 0 0 0 0 0 0\n'


def test_folders_of_others(tmp_path, photos):
    """Two splits as folders, without names of keypoints and visibilities."""
    folder = tmp_path / 'data'
    for split, name in (('train', 'a'), ('val', 'b')):
        (folder / f'images/{split}').mkdir(parents=True)
        (folder / f'images/{split}/{name}.png').write_bytes((photos / 'nobody.png').read_bytes())
    (folder / 'labels/val').mkdir(parents=True)
    (folder / 'labels/val/b.txt').write_text('1 .5 .5 1 1 .5 .5 0 0 .1 .1 .2 .2 .3 .3\n0 .5 .5 1 1' + ' 0' * 10)
    (folder / 'data.yaml').write_text('path: /elsewhere\ntrain: images/train\nval: [images/val]\nkpt_shape: [5, 2]\n'
                                      'names: [dog, person]')
    with pytest.warns(UserWarning, match=r'data\.yaml'):
        nobody, somebody = yolo.read(folder, keypoint_set(FIVE))
    assert (nobody.file_name, nobody.people) == ('train/a.png', [])
    assert somebody.file_name == 'val/b.png'
    assert len(somebody.people) == 1
    assert somebody.people[0].visible.tolist() == [2, 0, 2, 2, 2]
    np.testing.assert_allclose(somebody.people[0].keypoints[0], (15, 28))
