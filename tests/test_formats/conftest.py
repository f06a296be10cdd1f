"""Labels of two images, one with nobody, for each keypoint set."""
import numpy as np
import pytest

from sapiens_mm.formats.labels import Labels, Person, keypoint_set
from sapiens_mm.vocabularies.body_parts import PART_NAMES
from sapiens_mm.vocabularies.keypoints import KEYPOINT_NAMES

#: Own keypoints, as in docs/your_keypoints.md.
FIVE = ('head', 'left_hand', 'right_hand', 'left_foot', 'right_foot')
NAMES = {17: KEYPOINT_NAMES['coco'], 133: KEYPOINT_NAMES['coco_wholebody'], 308: KEYPOINT_NAMES['goliath'], 5: FIVE}


def make_labels(number=17, with_parts=False, with_scores=True):
    """Two people in an image whose name has a blank and an umlaut, and nobody in another one."""
    rng = np.random.default_rng(number)
    keypoints = keypoint_set(NAMES[number])
    boxes = np.array([[20.25, 30.5, 300.75, 400.125], [250, 10, 633.3, 411.7]])
    people = []
    for index, box in enumerate(boxes):
        visible = rng.integers(0, 3, number)
        visible[0] = 2
        points = np.where(visible[:, None] > 0, rng.uniform(box[:2], box[2:], (number, 2)), 0).round(3)
        scores = np.where(visible > 0, rng.uniform(.3, 1, number), .1).round(4)
        people.append(Person(box, points, visible, scores if with_scores else None, .9 - .2 * index if with_scores
                             else None, track_id=index + 1))
    parts = None
    if with_parts:
        parts = np.zeros((425, 640), np.uint8)
        parts[40:200, 30:500] = rng.integers(1, 28, (16, 47)).repeat(10, 0).repeat(10, 1)
        parts[420:, 600:] = 3  # outside of all boxes
    names = PART_NAMES if with_parts else ()
    return [Labels('sub/schöne Grüße.jpg', 640, 425, people, keypoints, parts, names),
            Labels('nobody.png', 31, 57, [], keypoints, None, names)]


def assert_equal(read, expected, tolerance=.01, scores=True):
    """Compares labels; ``tolerance`` is in pixels."""
    read = list(read)
    assert [(image.file_name, image.width, image.height, len(image.people)) for image in read] == [
        (image.file_name, image.width, image.height, len(image.people)) for image in expected]
    for image, other in zip(read, expected):
        assert image.keypoint_set.names == other.keypoint_set.names
        for person, truth in zip(image.people, other.people):
            np.testing.assert_allclose(person.box, truth.box, atol=tolerance)
            assert np.array_equal(person.visible, truth.visible)
            shown = truth.visible > 0
            np.testing.assert_allclose(person.keypoints[shown], truth.keypoints[shown], atol=tolerance)
            if scores:
                np.testing.assert_allclose(person.keypoint_scores[shown], truth.keypoint_scores[shown], atol=1e-3)
                assert person.score == pytest.approx(truth.score, abs=1e-3)
                assert person.track_id == truth.track_id
        if other.parts is not None:
            assert np.array_equal(image.parts, other.parts)
            assert image.part_names == other.part_names


@pytest.fixture(params=NAMES)
def labels(request):
    return make_labels(request.param)
