"""Boxes of a detector that are wrong, or of other images."""
import pytest

from sapiens_mm.utils.problems import DataError

from .conftest import boxes_of, exact_ap


def test_detections_of_other_classes_are_counted(content, open_set, logged):
    boxes = [*boxes_of(content), *boxes_of(content, 3)[:5]]
    assert len(open_set(content, boxes)) == 12
    assert '5 of 17 boxes' in logged()
    assert '5 with another category' in logged()


@pytest.mark.parametrize(('change', 'named'), [
    (dict(bbox=[.1, .1, .2, .5]), '12 of 12 boxes'), (dict(bbox=[100, 100, 250, 240]), 'x0, y0, x1, y1'),
    (dict(bbox=[1, 2, float('nan'), 4]), 'entry 0'), (dict(score=float('inf')), 'inf'),
    (dict(image_id=17), 'not in'), (dict(image_id=None), 'None'), (dict(bbox=dict(x=1)), 'bbox'),
])
def test_wrong_detections_end_in_an_error(content, open_set, change, named):
    boxes = [{**box, **change} for box in boxes_of(content)]
    with pytest.raises(DataError) as error:
        open_set(content, boxes)
    assert 'boxes.json' in str(error.value)
    assert named in str(error.value)


def test_persons_who_are_not_found_still_count(content, open_set):
    assert exact_ap(open_set(content, boxes_of(content)[:6]), content['annotations']) < .6
