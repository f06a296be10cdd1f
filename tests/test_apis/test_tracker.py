"""Tests of person tracking."""
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from sapiens_mm.apis.frames import Source
from sapiens_mm.apis.result import Result
from sapiens_mm.apis.tracker import Tracker, track

BLANK = np.zeros((1, 1, 3), np.uint8)


def boxes_at(*places, score=.9):
    return np.array([[x, 10, x + 40, 90, score] for x in places], np.float32).reshape(-1, 5)


def crossing(seed, gap):
    """Boxes and true identities of 120 frames: three people walk across each other.

    The one behind is not seen at the crossing, and one of them is missed in ``gap`` of every 20 frames.
    """
    rng, seen = np.random.default_rng(seed), []
    for number in range(120):
        x = np.array([50, 1100, 300]) + np.array([9, -8, 4]) * number
        y = 200 + 10 * np.arange(3)
        boxes = np.column_stack([x - 60, y, x + 60, y + 320]) + rng.normal(0, 3, (3, 4))
        visible = np.array([all(abs(x[person] - x[other]) >= 60 for other in range(person)) for person in range(3)])
        if number % 20 < gap:
            visible[number // 20 % 3] = False
        seen.append((np.column_stack([boxes, [.9] * 3])[visible].astype(np.float32), np.flatnonzero(visible)))
    return seen


def measure(scenes):
    """Returns the identity switches and IDF1 of scenes (boxes, true identities)."""
    switches, agreed, total = 0, 0, 0
    for scene in scenes:
        tracker, last, table = Tracker(), {}, np.zeros((3, 200), int)
        for boxes, people in scene:
            for person, found in zip(people, tracker.update(boxes)):
                switches += last.get(person, found) != found
                last[person] = found
                table[person, found] += 1
        agreed += table[linear_sum_assignment(table, maximize=True)].sum()
        total += table.sum()
    return switches, agreed / total


@pytest.mark.parametrize('gap', [0, 6, 12])
def test_people_who_cross_keep_their_ids(gap):
    switches, idf1 = measure([crossing(seed, gap) for seed in range(5)])
    assert switches <= 1
    assert idf1 > .99


def test_ids_follow_people():
    tracker = Tracker()
    assert tracker.update(boxes_at(0, 100)).tolist() == [1, 2]
    assert tracker.update(boxes_at(105, 5)).tolist() == [2, 1]
    assert tracker.update(boxes_at(110, 10, 300)).tolist() == [2, 1, 3]
    assert tracker.update(boxes_at()).tolist() == []
    assert tracker.update(boxes_at(20, 300)).tolist() == [1, 3]  # remembered while unseen
    tracker.reset()
    assert tracker.update(boxes_at(12)).tolist() == [1]


def test_boxes_without_area_do_not_change_other_ids():
    tracker = Tracker()
    boxes = np.concatenate([boxes_at(0, 100), [[7, 7, 7, 7, 1]]]).astype(np.float32)
    assert tracker.update(boxes).tolist() == [1, 2, 3]
    assert tracker.update(boxes)[:2].tolist() == [1, 2]


def test_people_are_forgotten():
    tracker = Tracker(max_age=2)
    tracker.update(boxes_at(0))
    for _ in range(2):
        tracker.update(boxes_at())
    assert tracker.update(boxes_at(0)).tolist() == [2]
    tracker.update(boxes_at(), frames=3)
    assert tracker.update(boxes_at(0)).tolist() == [3]


def test_the_sum_of_overlaps_is_largest():
    tracker = Tracker()
    tracker.update(boxes_at(0, 20))
    assert tracker.update(boxes_at(18)).tolist() == [2]
    tracker = Tracker()
    tracker.update(boxes_at(0, 20))
    # The second person of before is nearest to the first box, but then the first one would have none.
    assert tracker.update(boxes_at(14, 30)).tolist() == [1, 2]


def test_uncertain_boxes_are_matched_last():
    tracker = Tracker()
    tracker.update(boxes_at(0))
    boxes = np.concatenate([boxes_at(0, score=.3), boxes_at(8)])
    assert tracker.update(boxes).tolist() == [2, 1]


def test_poses_tell_people_apart():
    left, right = np.array([[[4, 4], [10, 30], [4, 60.]]]), np.array([[[30, 4], [36, 30], [30, 60.]]])
    scores = np.ones((2, 3))
    tracker = Tracker()
    tracker.update(boxes_at(0, 6), np.concatenate([left, right]), scores)
    # By their boxes alone they would have changed places.
    poses = np.concatenate([right, left])
    assert tracker.update(boxes_at(1, 5), poses, scores).tolist() == [2, 1]
    # Keypoints of low scores do not count.
    assert tracker.update(boxes_at(5, 1), poses, scores * .1).tolist() == [1, 2]


def results(places, name='a', **kwargs):
    return [Result(Source(name, name, 'video'), BLANK, number, boxes=boxes, **kwargs)
            for number, boxes in enumerate(boxes_at(*row) for row in places)]


def test_each_video_starts_anew():
    videos = [*results([[0], [5]]), Result(Source('b', 'b'), BLANK), *results([[0]], 'c'), *results([[8]], 'c')]
    assert [None if result.track_ids is None else result.track_ids.tolist() for result in track(videos)] == [
        [1], [1], None, [1], [1]]


def test_fast_people_keep_their_ids_when_detected_in_every_fifth_frame():
    frames = results([[x] for x in range(0, 400, 7)])
    for number, result in enumerate(frames):
        result.boxes = frames[number - number % 5].boxes
    assert {int(result.track_ids[0]) for result in track(frames)} == {1}
