"""Tests of person tracking."""
import numpy as np

from sapiens_mm.apis.tracker import Tracker


def boxes_at(*places):
    return np.array([[x, 10, x + 40, 90, .9] for x in places], np.float32).reshape(-1, 5)


def test_ids_follow_people():
    tracker = Tracker()
    assert tracker.update(boxes_at(0, 100)).tolist() == [1, 2]
    assert tracker.update(boxes_at(105, 5)).tolist() == [2, 1]
    assert tracker.update(boxes_at(110, 10, 300)).tolist() == [2, 1, 3]
    assert tracker.update(boxes_at()).tolist() == []
    assert tracker.update(boxes_at(12, 305)).tolist() == [1, 3]  # remembered while unseen
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
    for _ in range(3):
        tracker.update(boxes_at())
    assert tracker.update(boxes_at(0)).tolist() == [2]


def test_the_largest_overlap_is_matched_first():
    tracker = Tracker()
    tracker.update(boxes_at(0, 20))
    assert tracker.update(boxes_at(18)).tolist() == [2]
