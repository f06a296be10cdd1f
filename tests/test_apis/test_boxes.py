"""Tests of person boxes: box files, checks, filtering."""
import json

import numpy as np
import pytest
import torch

from sapiens_mm.apis.boxes import BoxFile, best_boxes, check_boxes, filter_boxes
from sapiens_mm.apis.frames import Frame, Source

IMAGE = np.zeros((100, 200, 3), np.uint8)
GOOD = np.array([[10, 10, 50, 90, .9]], np.float32)


def frame(name, index=None):
    return Frame(Source(f'/data/{name}', name), IMAGE, index)


@pytest.fixture
def write(tmp_path):
    def write(content):
        (tmp_path / 'boxes.json').write_text(content if isinstance(content, str) else json.dumps(content))
        return tmp_path / 'boxes.json'

    return write


def coco(boxes, images=({'id': 1, 'file_name': 'a.jpg'}, {'id': 2, 'file_name': 'b.jpg'}), **more):
    return dict(images=list(images), annotations=[
        dict(image_id=image, category_id=category, bbox=box) for image, category, box in boxes], **more)


def test_a_missing_file():
    with pytest.raises(ValueError, match='nowhere.json'):
        BoxFile('nowhere.json')


@pytest.mark.parametrize(('content', 'value'), [
    ('no JSON', ''), ('3', ''), ('[{"bbox": [1]}]', ''), ('{"a.jpg": [[1, 2]]}', 'a.jpg'), ('{"annotations": []}', ''),
    ('[' * 100_000, ''), ('{"a.jpg": ' + '[' * 100_000, ''),
    ({'a.jpg': [[0, 0, .5, 1]], 'b.jpg': [[.2, .1, .7, 1.0000001, .9]]}, 'from 0 to 1'),
    ({'a.jpg': [[.1, .1, .5, .5], [0, 0, 0, 0]]}, 'from 0 to 1'),
    (coco([(1, 1, [.7, .2, .3, .4]), (2, 1, [.1, .1, .2, .2])]), 'from 0 to 1'),
    ([dict(image_id=1, category_id=1, bbox=[.7, .2, .3, .4], score=.9)], 'from 0 to 1'),
    (coco([(1, 1, [5, 5, 9, 9])], [dict(id=1, file_name='a.jpg'), dict(id=1, file_name='b.jpg')]), 'id 1: '),
    (coco([(1, 1, [5, 5, 9, 9])], [dict(id=1, file_name='a.jpg'), dict(id=2, file_name='a.jpg')]), 'a.jpg'),
    (coco([(3, 1, [5, 5, 9, 9])]), 'image_id.* 3'),
    (coco([(1, 0, [5, 5, 9, 9])], categories=[dict(id=1, name='person')]), 'category_id.* 0'),
    (coco([(1, 1, [5, 5, 9, 9])], categories=[dict(id=1, name='cat'), dict(id=2, name='dog')]), 'cat, dog'),
    ([dict(image_id=1, category_id=0, bbox=[5, 5, 9, 9], score=.9)], 'category_id.* 0'),
    ({'a.jpg': [[5, 5, 9, 9, float('inf')]]}, 'inf')])
def test_invalid_files(write, content, value):
    with pytest.raises(ValueError, match=f'boxes.json.*{value}') as error:
        BoxFile(write(content))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('limits', [dict(score_threshold=7), dict(nms_threshold=-1), dict(max_persons=0)])
def test_invalid_limits(write, limits):
    (name, value), = limits.items()
    with pytest.raises(ValueError, match=f'{name}: got {value}'):
        BoxFile(write({'a.jpg': [[5, 5, 9, 9]]}), **limits)


@pytest.mark.parametrize(('content', 'names'), [
    ({'a.jpg': [[5, 5, 9, 9]]}, ('x/a.jpg', 'y/a.jpg')), ({'a.jpg': [[5, 5, 9, 9]]}, ('a.jpg', 'y/a.jpg')),
    (coco([(1, 1, [5, 5, 9, 9])]), ('x/a.jpg', 'y/a.jpg')),
    ([dict(image_id=7, category_id=1, bbox=[5, 5, 9, 9], score=.9)], ('7.jpg', '000007.jpg')),
    ([dict(image_id='007', category_id=1, bbox=[5, 5, 9, 9], score=.9)], ('x/7.jpg', 'y/7.png'))])
def test_a_name_that_matches_several_inputs(write, content, names):
    boxes = BoxFile(write(content))
    for run in (lambda: boxes.check([frame(name).source for name in names]),
                lambda: [boxes([frame(name)]) for name in names]):
        with pytest.raises(ValueError, match=names[0]) as error:
            run()
        assert names[1] in str(error.value)
    for name in names:  # in separate runs each is fine
        assert len(boxes.for_run()([frame(name), frame(name)])[1]) == 1


def test_a_frame_that_matches_several_videos(write):
    boxes = BoxFile(write({'a.mp4/000003': [[5, 5, 9, 9]]}))
    with pytest.raises(ValueError, match='x/a.mp4, y/a.mp4'):
        boxes.check([Source(f'/data/{name}', name, 'video') for name in ('x/a.mp4', 'y/a.mp4')])


@pytest.mark.parametrize(('boxes', 'value'), [
    ([GOOD], '1 array .*2 frames'), ([], '0 arrays .*2 frames'), ([GOOD] * 3, '3 arrays .*2 frames'),
    (np.repeat(GOOD[None], 3, 0), '3 arrays .*2 frames'), ((GOOD for _ in range(1)), '1 array .*2 frames'),
    (iter([GOOD] * 9), 'at least 3 arrays .*2 frames'),
    (None, 'NoneType'), (5, 'int'), ('ab', 'str'), ({0: GOOD, 1: GOOD}, 'dict'),
    ([GOOD, None], 'b.jpg: .*NoneType'), ([GOOD, GOOD[0]], r'b.jpg: .*\(5,\)'), ([GOOD, GOOD[:, :3]], r'\(1, 3\)'),
    ([GOOD, np.zeros((1, 6))], r'\(1, 6\)'), ([GOOD, GOOD[None]], r'\(1, 1, 5\)'), ([GOOD, 'text'], 'b.jpg: .*str'),
    ([GOOD, [[1, 2, 3, 4], [5, 6, 7]]], 'b.jpg: .*list'), ([GOOD, GOOD * np.nan], 'b.jpg, box 0: .*nan'),
    ([GOOD, GOOD * np.inf], 'b.jpg, box 0: .*inf'), ([GOOD, [[-1e30, 0, 1e30, 50]]], 'b.jpg, box 0'),
    ([GOOD, [[0, 0, 3e38, 3e38]]], 'b.jpg, box 0'), ([GOOD, [[50, 10, 10, 90]]], 'b.jpg, box 0'),
    *(([GOOD, relative], 'b.jpg: .*from 0 to 1') for relative in (
        [[0, 0, 1, 1]], [[.1, .2, .9, .95, .9], [0, 0, 0, 0, 1]], [[0, 0, 1.02, 1.02]], [[-.05, 0, .9, .9]],
        [[-.2, -.1, 1.2, 1.1]]))])
def test_boxes_that_do_not_fit_the_frames(boxes, value):
    with pytest.raises(ValueError, match=value) as error:
        check_boxes(boxes, [frame('a.jpg'), frame('b.jpg')], 'the detector find')
    assert '\n' not in str(error.value)


def test_boxes_become_arrays():
    boxes = check_boxes((box for box in ([], torch.from_numpy(GOOD), [[0, 0, 1, 1], [1, 2, 30, 40]], np.zeros((0, 4)))),
                        [frame(name) for name in 'abcd'], 'find')
    assert [array.shape for array in boxes] == [(0, 5), (1, 5), (2, 5), (0, 5)]
    assert boxes[2][:, 4].tolist() == [1, 1]
    tiny = Frame(Source('', '000000'), np.zeros((1, 1, 3), np.uint8))
    assert check_boxes([[[0, 0, 1, 1]]], [tiny], 'find')[0].tolist() == [[0, 0, 1, 1, 1]]


@pytest.mark.parametrize('content', [
    {'a.jpg': [[0, 0, 1, 1]]}, {'a.jpg': [[0, 0, 0, 0]]}, {'a.jpg': [[.5, .5, .5, .5]]}, {'a.jpg': []},
    {'a.jpg': [[0, 0, .5, .5], [0, 0, 9, 9]]}, {'a.jpg': [[0, 0, .5, .5]], 'b.jpg': [[5, 5, 9, 9]]}])
def test_files_that_may_be_in_pixels(write, content):
    assert len(BoxFile(write(content)).boxes['a.jpg']) == len(content['a.jpg'])


def test_boxes_by_name(write):
    boxes = BoxFile(write({'a.jpg': [[1, 2, 3, 4], [5, 6, 7, 8, .5]], 'x/a.jpg': [],
                           'clip.mp4/000003': [[0, 0, 9, 9]]}))
    arrays = boxes([frame('a.jpg'), frame('x/a.jpg'), frame('b.jpg'), frame('clip.mp4', 3), frame('clip.mp4', 4)])
    assert arrays[0].tolist() == [[1, 2, 3, 4, 1], [5, 6, 7, 8, .5]]
    assert [len(array) for array in arrays] == [2, 0, 0, 1, 0]


def test_boxes_of_coco(write):
    annotations = [(7, 3, [1, 2, 10, 20]), (7, 1, [0, 0, 5, 5])]
    content = coco(annotations, [dict(id=7, file_name='a.jpg'), dict(id=8, file_name='b.jpg')],
                   categories=[dict(id=3, name='person'), dict(id=1, name='cat')])
    content['annotations'].append(dict(image_id=7, category_id=3, iscrowd=1, bbox=[0, 0, 50, 50]))
    arrays = BoxFile(write(content))([frame('x/a.jpg'), frame('b.jpg')])
    assert [array.tolist() for array in arrays] == [[[1, 2, 11, 22, 1]], []]
    path = write([dict(image_id=785, category_id=1, bbox=[1, 2, 10, 20], score=.5),
                  dict(image_id=785, category_id=2, bbox=[1, 2, 10, 20], score=.9)])
    for name in ('000000000785.jpg', '785.png'):
        assert [array.tolist() for array in BoxFile(path)([frame(name), frame('b.jpg')])] == [[[1, 2, 11, 22, .5]], []]


def test_ids_of_different_types_match(write):
    boxes = BoxFile(write(coco([('1', '3', [5, 5, 9, 9]), (2.0, 3, [6, 6, 9, 9])],
                               categories=[dict(id=3.0, name='Person'), dict(id=1, name='cat')])))
    assert [array[:, 0].tolist() for array in boxes([frame('a.jpg'), frame('b.jpg')])] == [[5], [6]]


def test_ids_belong_to_image_files_only(write):
    boxes = BoxFile(write([dict(image_id=number, category_id=1, bbox=[5, 5, 9, 9], score=.9)
                           for number in (0, 3, 7, 100_000)]))
    frames = [frame('a.mp4', 3), frame('3.mp4', 0), frame('a.mp4', 100_000), frame('camera0', 0),
              Frame(Source('', '000003'), IMAGE), Frame(Source('', '100000'), IMAGE)]
    assert [len(array) for array in boxes(frames)] == [0] * len(frames)
    assert not any(boxes.knows(Source(f'/data/{name}', name, 'video')) for name in ('a.mp4', '3.mp4', '7'))
    assert len(boxes([frame('000003.jpg')])[0]) == 1


@pytest.mark.parametrize('key', ['a.mp4', '000003', '3', 'a.mp4/3', 'a.mp4/000003/000003', '/data/a.mp4'])
def test_names_of_no_frame(write, key):
    assert not len(BoxFile(write({key: [[5, 5, 9, 9]]}))([frame('a.mp4', 3)])[0])


@pytest.mark.parametrize('name', ['x/a.mp4', '/data/x/a.mp4', 'a.mp4'])
def test_names_of_frames(write, name):
    boxes = BoxFile(write({f'{name}/000003': [[5, 5, 9, 9]]}))
    assert [len(array) for array in boxes([frame('x/a.mp4', 3), frame('x/a.mp4', 4)])] == [1, 0]
    assert boxes.knows(Source('/data/x/a.mp4', 'x/a.mp4', 'video'))


@pytest.mark.parametrize(('limits', 'scores'), [
    ({}, [.01, .5, .8, .9]), (dict(score_threshold=.3), [.5, .8, .9]), (dict(nms_threshold=.6), [.5, .8, .9]),
    (dict(max_persons=2), [.8, .9])])
def test_limits_of_a_file(write, limits, scores):
    path = write({'a.jpg': [[10, 10, 50, 90, .01], [10, 10, 50, 90, .5], [60, 10, 99, 90, .8], [7, 7, 7, 7, .9]]})
    boxes, = BoxFile(path, **limits)([frame('a.jpg')])
    np.testing.assert_allclose(boxes[:, 4], scores)
    assert filter_boxes(np.zeros((0, 5), np.float32), .3, .65, 1).shape == (0, 5)


def test_best_boxes():
    boxes = np.array([[10, 10, 50, 90, .5], [11, 10, 50, 90, .9], [60, 10, 99, 90, .8], [60, 10, 99, 20, .2],
                      [210, 10, 250, 90, 1], [10, 10, 10, 90, 1]], np.float32)
    np.testing.assert_allclose(best_boxes(boxes, (100, 200), .3, .65, None)[:, 4], [.9, .8])
    assert len(best_boxes(boxes, (100, 200), .3, .65, 1)) == 1
    assert len(best_boxes(boxes, (100, 200), .1, 1., None)) == 4
    assert best_boxes(np.zeros((0, 5), np.float32), (100, 200), .3, .65, None).shape == (0, 5)
