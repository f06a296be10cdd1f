"""Tests of mirror tables."""
import pytest

from sapiens_mm.utils.problems import DataError
from sapiens_mm.vocabularies.mirror import check_mirror, mirrored_name


@pytest.mark.parametrize('table', [[0], [0, 2], [0, -1], [0, 1], [1, 1]])
def test_tables_that_are_no_pairs(table):
    with pytest.raises(DataError, match='flip_indices'):
        check_mirror(['left_eye', 'right_eye'], table, 'a test')


@pytest.mark.parametrize('names', ['leftEye rightEye', 'LEye REye', 'eyeL eyeR', 'LeftArm RightArm', 'l-hand r-hand',
                                   'Left_Hand Right_Hand', 'EYE_LEFT EYE_RIGHT'])
def test_sides_of_names(names):
    names = names.split()
    assert [mirrored_name(name) for name in names] == names[::-1]
    with pytest.raises(DataError):
        check_mirror(names, [0, 1], 'a test')
    check_mirror(names, [1, 0], 'a test')


def test_names_without_sides_are_their_own_mirror_image():
    names = ['nose', 'collar', 'leftover', 'Hair', 'lower_lip']
    assert [mirrored_name(name) for name in names] == names
