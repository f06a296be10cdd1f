"""Tests of lists, counts and errors as text."""
from sapiens_mm.utils.text import count, differences, some, with_option


def test_long_lists_end_with_their_number():
    assert some([]) == 'none'
    assert some([1, 2]) == '1, 2'
    assert some('abcdefg', limit=3) == 'a, b, c and 4 more'


def test_nouns_follow_their_number():
    assert [count(0, 'image'), count(1, 'image'), count(2, 'box', 'boxes')] == ['0 images', '1 image', '2 boxes']


def test_differences_between_settings_as_they_are_written():
    assert differences(dict(size=[2, 1], seed=0), dict(size=(2, 1), seed=0)) == ''
    assert differences(dict(seed=0), dict(seed=1, samples=2)) == 'seed 0 instead of 1; samples None instead of 2'


def test_an_argument_in_front_of_an_error_becomes_its_option():
    options = ['max_persons', 'tasks']
    assert with_option(ValueError('max_persons: got 0, expected 1: more'), options) == (
        '--max-persons: got 0, expected 1: more')
    assert with_option(ValueError("task: got 'hair'"), options) == "--tasks: got 'hair'"
    for text in ('boxes of tasks: got none', 'tasks', 'tasks.json: no file'):
        assert with_option(ValueError(text), options) == text
