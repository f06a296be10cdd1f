import json

import numpy as np
import pytest
import torch

from sapiens_mm.apis.models import TaskModel
from sapiens_mm.apis.persons import BoxFile, PartsFinder, Tracker, default_detector, keep_best, whole_frames
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
    boxes = BoxFile(path)([frame('000000000785.jpg'), frame('785.png'), frame('b.jpg')])
    assert [found.tolist() for found in boxes] == [[[1, 2, 11, 22, .5]]] * 2 + [[]]


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
