"""Detector boxes that are wrong, or of other images."""
import pytest

from sapiens_mm.utils.problems import DataError

from .conftest import boxes_of, exact_ap


def test_missing_file(content, open_set):
    with pytest.raises(FileNotFoundError, match='none.json'):
        open_set(content, bbox_file='none.json')


@pytest.mark.parametrize(('boxes', 'named'), [
    ('{"a"', 'JSON'), ({'annotations': []}, 'dict'), ([[0, 0, 9, 9]], 'lack image_id, category_id, bbox, score'),
    ([dict(image_id=1, bbox=[0, 0, 9, 9])], 'lack category_id, score'), ([], 'no sample'),
])
def test_files_that_are_no_list_of_boxes(content, open_set, boxes, named):
    with pytest.raises(ValueError, match=f'boxes.json.* {named}'):
        open_set(content, boxes)


@pytest.mark.parametrize(('change', 'named'), [
    (dict(bbox=[.1, .1, .2, .5]), '12 of 12 boxes'), (dict(bbox=[100, 100, 250, 240]), 'x0, y0, x1, y1'),
    (dict(bbox=[1, 2, float('nan'), 4]), 'entry 0'), (dict(bbox=[1, 2, 3]), 'entry 0'), (dict(bbox='abcd'), 'abcd'),
    (dict(bbox=dict(x=1)), 'bbox'), (dict(score=float('inf')), 'inf'), (dict(score='high'), 'high'),
    (dict(image_id=17), 'not in'), (dict(image_id=None), 'None'),
])
def test_wrong_detections_end_in_an_error(content, open_set, change, named):
    boxes = [{**box, **change} for box in boxes_of(content)]
    with pytest.raises(DataError) as error:
        open_set(content, boxes)
    assert 'boxes.json' in str(error.value)
    assert named in str(error.value)


def test_threshold_that_leaves_no_box(content, open_set):
    with pytest.raises(ValueError, match='0.95.* 12 samples'):
        open_set(content, boxes_of(content), filter_cfg=dict(bbox_score_thr=0.95))


def test_detections_of_other_classes_are_counted(content, open_set, logged):
    boxes = [*boxes_of(content), *boxes_of(content, 3)[:5]]
    assert len(open_set(content, boxes)) == 12
    assert '5 of 17 boxes' in logged()
    assert '5 with another category' in logged()


def test_boxes_outside_of_the_image_are_counted(content, open_set, logged):
    boxes = boxes_of(content)
    boxes[0]['bbox'], boxes[1]['bbox'] = [5, 5, 0, 9], [400, 5, 9, 9]
    assert len(open_set(content, boxes)) == 10
    assert '1 with no area (entry 0); 1 with no part in the image (entry 1)' in logged()


def test_persons_without_a_box_still_count(content, open_set):
    assert exact_ap(open_set(content, boxes_of(content)[:6]), content['annotations']) < .6
