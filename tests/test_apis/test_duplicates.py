"""Tests of duplicate detection among images."""
import cv2
import numpy as np
import pytest

from sapiens_mm.apis.duplicates import Duplicates, look_of


@pytest.fixture
def image():
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(noise, (320, 240), interpolation=cv2.INTER_CUBIC)


def test_flat_images_have_no_look():
    assert look_of(np.full((40, 40, 3), 90, np.uint8)) is None


def test_a_look_stays_when_an_image_is_saved_again_or_scaled(image):
    _, saved = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 60])
    for other in (cv2.imdecode(saved, cv2.IMREAD_COLOR), cv2.resize(image, (160, 120), interpolation=cv2.INTER_AREA),
                  cv2.convertScaleAbs(image, alpha=.8)):
        assert bin(look_of(image) ^ look_of(other)).count('1') <= 2
    assert bin(look_of(image) ^ look_of(image[::-1])).count('1') > 10


@pytest.mark.parametrize(('looks', 'groups'), [
    ([0b0, 0b11, 1 << 63], 1), ([0b0, 0b111, 0b1111], 1), ([0b0, 0b11111], 0), ([3 << 62, 1 << 62, 0], 1)])
def test_looks_that_differ_in_two_bits_are_near(looks, groups):
    duplicates = Duplicates()
    for number, look in enumerate(looks):
        duplicates.add('train', f'{number}.jpg', str(number), look)
    near = [problem for problem in duplicates.problems() if problem.kind == 'near duplicates']
    assert sum(problem.count for problem in near) == groups


@pytest.mark.parametrize(('splits', 'level'), [(('train', 'train'), 'note'), (('train', 'val'), 'warning'),
                                               (('val', 'test'), 'note')])
def test_the_same_file_twice(splits, level):
    duplicates = Duplicates()
    for number, split in enumerate(splits):
        duplicates.add(split, f'{number}.jpg', 'same', None)
    problem, = duplicates.problems()
    assert (problem.kind, problem.level) == ('duplicates', level)
    assert '0.jpg = 1.jpg' in str(problem)


def test_one_file_in_training_and_test():
    duplicates = Duplicates()
    duplicates.add('train', 'a.jpg', 'same', None)
    duplicates.add('train', 'a.jpg', 'same', None)  # as a union of datasets may have it
    assert duplicates.problems() == []
    duplicates.add('val', 'a.jpg', 'same', None)
    assert [problem.level for problem in duplicates.problems()] == ['warning']
