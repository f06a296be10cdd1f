"""Tests of lists, counts and errors as text."""
from sapiens_mm.utils.text import count, differences, some


def test_long_lists_end_with_their_number():
    assert some([]) == 'none'
    assert some([1, 2]) == '1, 2'
    assert some('abcdefg', limit=3) == 'a, b, c and 4 more'


def test_nouns_follow_their_number():
    assert [count(0, 'image'), count(1, 'image'), count(2, 'box', 'boxes')] == ['0 images', '1 image', '2 boxes']


def test_differences_between_settings_as_they_are_written():
    assert differences(dict(size=[2, 1], seed=0), dict(size=(2, 1), seed=0)) == ''
    assert differences(dict(seed=0), dict(seed=1, samples=2)) == 'seed 0 instead of 1; samples None instead of 2'
