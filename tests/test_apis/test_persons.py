import json

import numpy as np
import pytest
import torch

from sapiens_mm.apis.models import TaskModel
from sapiens_mm.apis.persons import (
    BoxFile,
    PartsFinder,
    Tracker,
    check_found,
    default_detector,
    filter_boxes,
    keep_best,
    whole_frames,
)
from sapiens_mm.apis.reading import Frame, Source

IMAGE = np.zeros((100, 200, 3), np.uint8)


def frame(name, index=None):
    return Frame(Source(f'/data/{name}', name), IMAGE, index)


@pytest.mark.parametrize('content', ['no JSON', '3', '[{"bbox": [1]}]', '{"a.jpg": [[1, 2]]}', '{"annotations": []}'])
def test_files_that_list_no_boxes(tmp_path, content):
    (tmp_path / 'boxes.json').write_text(content)
    with pytest.raises(ValueError, match='boxes.json cannot be used as boxes .*; expected COCO annotations') as error:
        BoxFile(tmp_path / 'boxes.json')
    assert '\n' not in str(error.value)


@pytest.fixture
def write(tmp_path):
    def write(content):
        (tmp_path / 'boxes.json').write_text(content if isinstance(content, str) else json.dumps(content))
        return tmp_path / 'boxes.json'

    return write


def coco(boxes, images=({'id': 1, 'file_name': 'a.jpg'}, {'id': 2, 'file_name': 'b.jpg'}), **more):
    return dict(images=list(images), annotations=[
        dict(image_id=image, category_id=category, bbox=box) for image, category, box in boxes], **more)


@pytest.mark.parametrize(('content', 'says'), [
    ('[' * 100_000, 'nested too deeply'),
    ('{"a.jpg": ' + '[' * 100_000, 'nested too deeply'),
    ({'a.jpg': [[0, 0, .5, 1]], 'b.jpg': [[.2, .1, .7, 1.0000001, .9]]}, 'from 0 to 1'),
    ({'a.jpg': [[.1, .1, .5, .5], [0, 0, 0, 0]]}, 'from 0 to 1'),
    (coco([(1, 1, [.7, .2, .3, .4]), (2, 1, [.1, .1, .2, .2])]), 'from 0 to 1'),
    ([dict(image_id=1, category_id=1, bbox=[.7, .2, .3, .4], score=.9)], 'from 0 to 1'),
    (coco([(1, 1, [5, 5, 9, 9])], [dict(id=1, file_name='a.jpg'), dict(id=1, file_name='b.jpg')]), 'image id 1 '),
    (coco([(1, 1, [5, 5, 9, 9])], [dict(id=1, file_name='a.jpg'), dict(id=2, file_name='a.jpg')]), 'a.jpg is the file'),
    (coco([(3, 1, [5, 5, 9, 9])]), 'image_id is 3'),
    (coco([(1, 0, [5, 5, 9, 9])], categories=[dict(id=1, name='person')]), 'category_id 0'),
    (coco([(1, 1, [5, 5, 9, 9])], categories=[dict(id=1, name='cat'), dict(id=2, name='dog')]), 'cat, dog'),
    ([dict(image_id=1, category_id=0, bbox=[5, 5, 9, 9], score=.9)], 'category_id 0'),
    ({'a.jpg': [[5, 5, 9, 9, float('inf')]]}, 'inf'),
])
def test_files_whose_boxes_cannot_be_meant(write, content, says):
    with pytest.raises(ValueError, match=says) as error:
        BoxFile(write(content))
    assert str(error.value).startswith(str(write(content)))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('limits', [dict(score_threshold=7), dict(nms_threshold=-1), dict(max_persons=0)])
def test_limits_of_a_file_that_cannot_be(write, limits):
    with pytest.raises(ValueError, match='must be'):
        BoxFile(write({'a.jpg': [[5, 5, 9, 9]]}), **limits)


@pytest.mark.parametrize(('content', 'names'), [
    ({'a.jpg': [[5, 5, 9, 9]]}, ('x/a.jpg', 'y/a.jpg')), ({'a.jpg': [[5, 5, 9, 9]]}, ('a.jpg', 'y/a.jpg')),
    (coco([(1, 1, [5, 5, 9, 9])]), ('x/a.jpg', 'y/a.jpg')),
    ([dict(image_id=7, category_id=1, bbox=[5, 5, 9, 9], score=.9)], ('7.jpg', '000007.jpg')),
    ([dict(image_id='007', category_id=1, bbox=[5, 5, 9, 9], score=.9)], ('x/7.jpg', 'y/7.png'))])
def test_a_name_that_fits_several_inputs(write, content, names):
    boxes = BoxFile(write(content))
    with pytest.raises(ValueError, match='fits several inputs') as checked:
        boxes.check([frame(name).source for name in names])
    with pytest.raises(ValueError, match='fits several inputs') as called:
        [boxes([frame(name)]) for name in names]
    for error in (checked, called):
        assert all(name in str(error.value) for name in names)
    for name in names:  # one at a time, in runs of their own
        assert len(boxes.for_run()([frame(name), frame(name)])[1]) == 1


def test_numbers_are_of_image_files_only(write):
    boxes = BoxFile(write([dict(image_id=number, category_id=1, bbox=[5, 5, 9, 9], score=.9)
                           for number in (0, 3, 7, 100_000)]))
    frames = [frame('a.mp4', 3), frame('3.mp4', 0), frame('a.mp4', 100_000), frame('camera0', 0),
              Frame(Source('', '000003'), IMAGE), Frame(Source('', '100000'), IMAGE)]
    assert [len(found) for found in boxes(frames)] == [0] * len(frames)
    assert not any(boxes.knows(Source(f'/data/{name}', name, 'video')) for name in ('a.mp4', '3.mp4', '7'))
    assert len(boxes([frame('000003.jpg')])[0]) == 1


@pytest.mark.parametrize('key', ['a.mp4', '000003', '3', 'a.mp4/3', 'a.mp4/000003/000003', '/data/a.mp4'])
def test_names_that_are_of_no_frame(write, key):
    boxes = BoxFile(write({key: [[5, 5, 9, 9]]}))
    assert not len(boxes([frame('a.mp4', 3)])[0])


@pytest.mark.parametrize('name', ['x/a.mp4', '/data/x/a.mp4', 'a.mp4'])
def test_names_of_frames(write, name):
    boxes = BoxFile(write({f'{name}/000003': [[5, 5, 9, 9]]}))
    assert [len(found) for found in boxes([frame('x/a.mp4', 3), frame('x/a.mp4', 4)])] == [1, 0]
    assert boxes.knows(Source('/data/x/a.mp4', 'x/a.mp4', 'video'))


def test_a_frame_that_fits_several_videos_is_found_before_the_run(write):
    boxes = BoxFile(write({'a.mp4/000003': [[5, 5, 9, 9]]}))
    with pytest.raises(ValueError, match='x/a.mp4, y/a.mp4'):
        boxes.check([Source(f'/data/{name}', name, 'video') for name in ('x/a.mp4', 'y/a.mp4')])


def test_ids_of_other_types_meet(write):
    boxes = BoxFile(write(coco([('1', '3', [5, 5, 9, 9]), (2.0, 3, [6, 6, 9, 9])],
                               categories=[dict(id=3.0, name='Person'), dict(id=1, name='cat')])))
    assert [found[:, 0].tolist() for found in boxes([frame('a.jpg'), frame('b.jpg')])] == [[5], [6]]


@pytest.mark.parametrize('content', [
    {'a.jpg': [[0, 0, 1, 1]]}, {'a.jpg': [[0, 0, 0, 0]]}, {'a.jpg': [[.5, .5, .5, .5]]}, {'a.jpg': []},
    {'a.jpg': [[0, 0, .5, .5], [0, 0, 9, 9]]}, {'a.jpg': [[0, 0, .5, .5]], 'b.jpg': [[5, 5, 9, 9]]}])
def test_files_that_may_be_in_pixels(write, content):
    assert len(BoxFile(write(content)).boxes['a.jpg']) == len(content['a.jpg'])


def test_boxes_of_a_file_are_filtered_where_it_is_asked_for(write):
    path = write({'a.jpg': [[10, 10, 50, 90, .01], [10, 10, 50, 90, .5], [60, 10, 99, 90, .8], [7, 7, 7, 7, .9]]})
    scores = {name: [] for name in ('', 'score_threshold', 'nms_threshold', 'max_persons')}
    for name, value in (('', None), ('score_threshold', .3), ('nms_threshold', .6), ('max_persons', 2)):
        found, = BoxFile(path, **({name: value} if name else {}))([frame('a.jpg')])
        scores[name] = [round(score, 2) for score in found[:, 4].tolist()]
    assert scores == {'': [.01, .5, .8, .9], 'score_threshold': [.5, .8, .9], 'nms_threshold': [.5, .8, .9],
                      'max_persons': [.8, .9]}
    assert filter_boxes(np.zeros((0, 5), np.float32), .3, .65, 1).shape == (0, 5)


GOOD = np.array([[10, 10, 50, 90, .9]], np.float32)


@pytest.mark.parametrize(('found', 'says'), [
    ([GOOD], '1 array of boxes for 2 frames'), ([], '0 arrays of boxes for 2 frames'),
    ([GOOD] * 3, '3 arrays of boxes for 2 frames'), (np.repeat(GOOD[None], 3, 0), '3 arrays of boxes for 2 frames'),
    ((GOOD for _ in range(1)), '1 array of boxes for 2 frames'), (iter([GOOD] * 9), 'at least 3 arrays .*for 2 frames'),
    (None, 'NoneType'), (5, 'int'), ('ab', 'str'), ({0: GOOD, 1: GOOD}, 'dict'),
    ([GOOD, None], 'b.jpg: boxes are NoneType'), ([GOOD, GOOD[0]], r'b.jpg: boxes are ndarray of shape \(5,\)'),
    ([GOOD, GOOD[:, :3]], r'\(1, 3\)'), ([GOOD, np.zeros((1, 6))], r'\(1, 6\)'), ([GOOD, GOOD[None]], r'\(1, 1, 5\)'),
    ([GOOD, 'text'], 'b.jpg: boxes are str'), ([GOOD, [[1, 2, 3, 4], [5, 6, 7]]], 'b.jpg: boxes are list'),
    ([GOOD, GOOD * np.nan], 'b.jpg: box 0 is .*nan'), ([GOOD, GOOD * np.inf], 'b.jpg: box 0 is .*inf'),
    ([GOOD, [[-1e30, 0, 1e30, 50]]], 'b.jpg: box 0 is'), ([GOOD, [[0, 0, 3e38, 3e38]]], 'b.jpg: box 0 is'),
    ([GOOD, [[50, 10, 10, 90]]], 'b.jpg: box 0 is'), ([GOOD, [[0, 0, 1, 1]]], 'b.jpg: .*from 0 to 1'),
    ([GOOD, [[.1, .2, .9, .95, .9], [0, 0, 0, 0, 1]]], 'b.jpg: .*from 0 to 1'),
    ([GOOD, [[0, 0, 1.02, 1.02]]], 'b.jpg: .*from 0 to 1'), ([GOOD, [[-.05, 0, .9, .9]]], 'b.jpg: .*from 0 to 1'),
    ([GOOD, [[-.2, -.1, 1.2, 1.1]]], 'b.jpg: .*from 0 to 1')])
def test_what_is_found_must_fit_the_frames(found, says):
    with pytest.raises(ValueError, match=says) as error:
        check_found(found, [frame('a.jpg'), frame('b.jpg')], 'the detector find')
    assert '\n' not in str(error.value)


def test_what_is_found_becomes_arrays():
    found = check_found((box for box in ([], torch.from_numpy(GOOD), [[0, 0, 1, 1], [1, 2, 30, 40]], np.zeros((0, 4)))),
                        [frame(name) for name in 'abcd'], 'find')
    assert [array.shape for array in found] == [(0, 5), (1, 5), (2, 5), (0, 5)]
    assert found[2][:, 4].tolist() == [1, 1]
    tiny = Frame(Source('', '000000'), np.zeros((1, 1, 3), np.uint8))
    assert check_found([[[0, 0, 1, 1]]], [tiny], 'find')[0].tolist() == [[0, 0, 1, 1, 1]]


def test_a_file_that_is_not_there():
    with pytest.raises(ValueError, match='nowhere.json cannot be used as boxes .FileNotFoundError'):
        BoxFile('nowhere.json')


def test_boxes_by_name(tmp_path):
    (tmp_path / 'boxes.json').write_text(json.dumps({
        'a.jpg': [[1, 2, 3, 4], [5, 6, 7, 8, .5]], 'x/a.jpg': [], 'clip.mp4/000003': [[0, 0, 9, 9]]}))
    file = BoxFile(tmp_path / 'boxes.json')
    boxes = file([frame('a.jpg'), frame('x/a.jpg'), frame('b.jpg'), frame('clip.mp4', 3), frame('clip.mp4', 4)])
    assert boxes[0].tolist() == [[1, 2, 3, 4, 1], [5, 6, 7, 8, .5]]
    assert [len(found) for found in boxes] == [2, 0, 0, 1, 0]


def test_boxes_of_coco(tmp_path):
    categories = [dict(id=3, name='person'), dict(id=1, name='cat')]
    annotations = [dict(image_id=7, category_id=3, bbox=[1, 2, 10, 20]),
                   dict(image_id=7, category_id=1, bbox=[0, 0, 5, 5]),
                   dict(image_id=7, category_id=3, iscrowd=1, bbox=[0, 0, 50, 50])]
    path = tmp_path / 'coco.json'
    path.write_text(json.dumps(dict(images=[dict(id=7, file_name='a.jpg'), dict(id=8, file_name='b.jpg')],
                                    annotations=annotations, categories=categories)))
    boxes = BoxFile(path)([frame('x/a.jpg'), frame('b.jpg')])
    assert [found.tolist() for found in boxes] == [[[1, 2, 11, 22, 1]], []]
    path.write_text(json.dumps([dict(image_id=785, category_id=1, bbox=[1, 2, 10, 20], score=.5),
                                dict(image_id=785, category_id=2, bbox=[1, 2, 10, 20], score=.9)]))
    for name in ('000000000785.jpg', '785.png'):
        boxes = BoxFile(path)([frame(name), frame('b.jpg')])
        assert [found.tolist() for found in boxes] == [[[1, 2, 11, 22, .5]], []]


def test_people_are_regions_of_parts():
    logits = torch.zeros(1, 3, 48, 36)
    logits[:, 0] = 5.
    logits[:, 1, 10:40, 4:10] = 10.  # a body, and close to it
    logits[:, 2, 41:44, 4:12] = 10.  # a shoe
    logits[:, 1, 20:40, 20:30] = 10.  # somebody else
    logits[:, 1, 2, 2] = 10.  # a speck
    model = TaskModel(('parts', ), (192, 144), {}, lambda images: logits, '', '', torch.device('cpu'))
    finder = PartsFinder(model)
    boxes, = finder([frame('a.jpg')])
    scale = np.array([200 / 36, 100 / 48])
    np.testing.assert_allclose(boxes[:, :4], [[*(4, 10) * scale, *(12, 44) * scale],
                                              [*(20, 20) * scale, *(30, 40) * scale]], rtol=1e-5)
    assert (boxes[:, 4] > .9).all()


def test_whole_frames():
    assert whole_frames([frame('a.jpg')])[0].tolist() == [[0, 0, 200, 100, 1]]


def test_boxes_that_are_kept():
    boxes = np.array([[10, 10, 50, 90, .5], [11, 10, 50, 90, .9], [60, 10, 99, 90, .8], [60, 10, 99, 20, .2],
                      [210, 10, 250, 90, 1], [10, 10, 10, 90, 1], [np.nan, 0, 1, 1, 1]])
    kept = keep_best(boxes, (100, 200), .3, .65, None)
    assert kept.dtype == np.float32
    np.testing.assert_allclose(kept[:, 4], [.9, .8])
    assert len(keep_best(boxes, (100, 200), .3, .65, 1)) == 1
    assert len(keep_best(boxes, (100, 200), .1, 1., None)) == 4
    assert keep_best(boxes[:2, :4], (100, 200), .3, .65, None).tolist() == [[10, 10, 50, 90, 1]]
    assert keep_best(np.zeros((0, 4)), (100, 200), .3, .65, None).shape == (0, 5)
    with pytest.raises(ValueError, match='boxes have shape .2, 3.; expected'):
        keep_best(np.zeros((2, 3)), (100, 200), .3, .65, None)


def boxes_at(*places):
    return np.array([[x, 10, x + 40, 90, .9] for x in places], np.float32).reshape(-1, 5)


def test_numbers_stay_with_people():
    tracker = Tracker()
    assert tracker.update(boxes_at(0, 100)).tolist() == [1, 2]
    assert tracker.update(boxes_at(105, 5)).tolist() == [2, 1]
    assert tracker.update(boxes_at(110, 10, 300)).tolist() == [2, 1, 3]
    assert tracker.update(boxes_at()).tolist() == []
    assert tracker.update(boxes_at(12, 305)).tolist() == [1, 3]  # remembered while unseen
    tracker.reset()
    assert tracker.update(boxes_at(12)).tolist() == [1]


def test_boxes_without_area_do_not_change_the_numbers_of_others():
    tracker = Tracker()
    boxes = np.concatenate([boxes_at(0, 100), [[7, 7, 7, 7, 1]]]).astype(np.float32)
    assert tracker.update(boxes).tolist() == [1, 2, 3]
    assert tracker.update(boxes)[:2].tolist() == [1, 2]


def test_who_is_long_gone_is_forgotten():
    tracker = Tracker(max_age=2)
    tracker.update(boxes_at(0))
    for _ in range(3):
        tracker.update(boxes_at())
    assert tracker.update(boxes_at(0)).tolist() == [2]


def test_the_best_pair_comes_first():
    tracker = Tracker()
    tracker.update(boxes_at(0, 20))
    assert tracker.update(boxes_at(18)).tolist() == [2]


def test_what_finds_people_by_default():
    assert default_detector('tiny', own_weights=False) == 'parts'  # without a network
    assert default_detector('tiny', own_weights=True) == default_detector('1b', own_weights=False) == 'rtmdet-m'
