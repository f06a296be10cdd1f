"""Tests of assigning pixels to people."""
import numpy as np

from sapiens_mm.utils.people import owners

NO_LINES = np.zeros((0, 2, 2))


def test_nobody_and_empty_boxes():
    foreground = np.ones((20, 30), bool)
    assert (owners(foreground, np.zeros((0, 5)), []) == -1).all()
    boxes = np.array([[5, 5, 5, 9], [-9, -9, -1, -1], [40, 0, 50, 9.]])
    assert (owners(foreground, boxes, [NO_LINES] * 3) == -1).all()


def test_people_apart():
    foreground = np.zeros((60, 100), bool)
    foreground[10:50, 10:30] = foreground[10:50, 60:80] = True
    foreground[20:25, 30:34] = True  # a hand outside of the box
    foreground[0:3, 0:3] = True  # another person, in the enlarged box only
    owner = owners(foreground, np.array([[10, 10, 30, 50, .9], [60, 10, 80, 50, .5]]), [NO_LINES] * 2)
    assert (owner[10:50, 10:30] == 0).all()
    assert (owner[10:50, 60:80] == 1).all()
    assert (owner[20:25, 30:32] == 0).all()
    assert (owner[:5, :5] == -1).all()
    assert (owner[~foreground] == -1).all()


def test_people_who_touch_are_divided_by_their_skeletons():
    foreground = np.zeros((60, 100), bool)
    foreground[10:50, 20:60] = True
    foreground[30:35, 60:70] = True  # the arm of the left person, in front of the right one
    foreground[10:50, 70:90] = True
    boxes = np.array([[20, 10, 80, 50], [60, 10, 90, 50]])
    left = np.array([[[40, 12], [40, 48]], [[40, 32], [72, 32]]])
    right = np.array([[[82, 12], [82, 48]], [[np.nan, 1], [3, 3]]])
    owner = owners(foreground, boxes, [left, right])
    assert (owner[30:35, 60:74] == 0).all()
    assert (owner[10:50, 20:60] == 0).all()
    assert (owner[12:20, 75:90] == 1).all()
    assert (owners(foreground, [*boxes, [5, 5, 5, 5]], [left, right, NO_LINES]) == owner).all()
    by_center = owners(foreground, boxes, [left, NO_LINES])
    assert (by_center[10:50, 20:55] == 0).all()
    assert (by_center[10:50, 75:90] == 1).all()
