"""COCO-style files with mistakes: an error names them, or the log counts them."""
import copy
import json

import numpy as np
import pytest
from mmengine.dataset import ConcatDataset
from mmpose.registry import METRICS

from sapiens_mm.pose.ground_truth import evaluated_by
from sapiens_mm.utils.problems import DataError, collect_problems

from .conftest import METAINFO, boxes_of, exact_ap


def check_evaluator(dataset, **kwargs):
    METRICS.build(dict(dict(type='SapiensKeypointMetric', ann_file=dataset.ann_file), **kwargs)
                  ).dataset_meta = dataset.metainfo


def test_clean_files_are_taken_as_they_are(content, open_set):
    with collect_problems() as problems:
        dataset = open_set(content)
        assert len(dataset) == 12
        assert len(open_set(content, boxes_of(content))) == 12
    assert problems == []
    assert exact_ap(dataset, content['annotations']) == pytest.approx(1)


SHARE = (1 / 320, 1 / 240)
NAN, INF = float('nan'), float('inf')
EVERYBODY = range(12)


def put(*path_and_value):
    """Sets one value, given by its path: ``put('annotations', 0, 'id', 7)``."""
    *path, key, value = path_and_value

    def spoil(content):
        for step in path:
            content = content[step]
        content[key] = value

    return spoil


def scale(keypoints=(1, 1), boxes=(1, 1), numbers=EVERYBODY):
    """Scales x and y of keypoints and boxes of some annotations."""

    def spoil(content):
        for entry in (content['annotations'][number] for number in numbers):
            entry['keypoints'] = [value * (*keypoints, 1)[i % 3] for i, value in enumerate(entry['keypoints'])]
            entry['bbox'] = [value * boxes[i % 2] for i, value in enumerate(entry['bbox'])]

    return spoil


def each(change, name='annotations'):
    """Applies a function to each entry."""
    return lambda content: [change(entry) for entry in content[name]]


def box_as(form):
    return each(lambda entry: entry.update(bbox=form(*entry['bbox'])))


def corners(x, y, width, height):
    return [x, y, x + width, y + height]


def corners_of_small_boxes(content):
    """In a larger image corners stay inside of it if they are read as width and height."""
    each(lambda image: image.update(width=800, height=800), 'images')(content)
    box_as(corners)(content)


def boxes_of_others(content):
    first, last = content['annotations'][0], content['annotations'][3]
    first['bbox'], last['bbox'] = last['bbox'], first['bbox']


def one_keypoint_as_shares(entry):
    entry['keypoints'][9:11] = [value * share for value, share in zip(entry['keypoints'][9:11], SHARE)]


@pytest.mark.parametrize(('spoil', 'named'), [
    (each(lambda entry: entry.update(id=entry['id'] % 4 + 1)), '12 of 12 annotations'),
    (put('images', 1, 'id', 1), 'images'),
    (lambda content: content['categories'].append(dict(id=1, name='chair')), 'categories'),
    (put('annotations', 3, 'id', '1'), '2 of 12 annotations'),
    (put('annotations', 0, 'id', 1.5), '1.5'),
    (put('annotations', 0, 'image_id', None), 'None'),
    (put('annotations', 0, 'image_id', 9), '9'),
    (put('annotations', 0, 'category_id', 0), 'category_id 0'),
    (scale(SHARE, SHARE), '12 of 12 persons'),
    (scale(SHARE, numbers=[5]), '1 of 12 persons (6)'),
    (scale(SHARE, SHARE, [5]), '1 of 12 persons (6)'),
    (scale(boxes=SHARE), '12 of 12 persons'),
    (box_as(corners), 'x0, y0, x1, y1'),
    (box_as(lambda x, y, width, height: [x + width / 2, y + height / 2, width, height]), 'persons'),
    (corners_of_small_boxes, 'x0, y0, x1, y1'),
    (boxes_of_others, '(1, 4)'),
    (scale((4, 4), (4, 4)), 'outside of the image'),
    (each(one_keypoint_as_shares), 'number 3'),
    (each(lambda entry: entry['keypoints'].__setitem__(slice(3, 6), [0, 0, 2])), '0, 0'),
    (put('annotations', 2, 'bbox', 2, NAN), '(3)'),
    (put('annotations', 2, 'bbox', ['20', '20', '60', '180']), '(3)'),
    (put('annotations', 2, 'bbox', [[20, 20, 60, 180]]), '(3)'),
    (put('annotations', 2, 'keypoints', 3, INF), '(3)'),
    (put('annotations', 2, 'keypoints', 3, '25'), '(3)'),
    (put('annotations', 2, 'keypoints', 4, None), '(3)'),
    (put('annotations', 2, 'keypoints', 5, NAN), '(3)'),
    (put('annotations', 2, 'keypoints', 5, 255), '255'),
    (put('annotations', 2, 'keypoints', 2, -1), '-1'),
    (put('annotations', 2, 'keypoints', [20, 20, 2] * 2), '2 keypoints (6 numbers)'),
    (put('annotations', 2, 'keypoints', [20, 20, 2, 20, 20]), '(5 numbers)'),
    (lambda content: content['annotations'][2].pop('id'), "no 'id'"),
    (lambda content: content['images'][0].pop('width'), "no 'width'"),
    (lambda content: content['images'][0].pop('file_name'), "no 'file_name'"),
    (put('annotations', 1, 'iscrowd', 'maybe'), '(2)'),
    (put('annotations', 3, [1, 2]), 'annotations'),
    (put('images', 0, 'width', 0), 'width and height'),
    (put('images', 0, 'width', INF), '(1)'),
    (put('images', 1, 'file_name', 5), 'file_name'),
])
def test_wrong_files_end_in_an_error_when_they_are_opened(content, open_set, spoil, named):
    spoil(content)
    with pytest.raises(DataError) as error:
        open_set(content)
    assert 'ann.json' in str(error.value)
    assert named in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('convert', [str, float, 'image-{}'.format, '{:012d}'.format])
def test_ids_of_other_types_are_converted_the_same_way_in_every_file(content, open_set, convert):
    for entry in content['images']:
        entry['id'] = convert(entry['id'])
    for entry in content['annotations']:
        entry['id'], entry['image_id'] = convert(entry['id']), convert(entry['image_id'])
    for boxes in (None, boxes_of(content)):
        dataset = open_set(content, boxes)
        assert len(dataset) == 12
        assert exact_ap(dataset, content['annotations']) == pytest.approx(1)


def test_categories_of_any_number_are_fine_where_files_agree(content, open_set):
    content['categories'][0]['id'] = 0
    for entry in content['annotations']:
        entry['category_id'] = 0
    assert exact_ap(open_set(content), content['annotations']) == pytest.approx(1)
    assert exact_ap(open_set(content, boxes_of(content, 0)), content['annotations']) == pytest.approx(1)
    with pytest.raises(DataError, match=r'category_id 1, expected .*\(0\)'):
        open_set(content, boxes_of(content, 1))


@pytest.mark.parametrize('box', [[100, 100, 0, 50], [100, 100, -20, 50], [-90, 10, 50, 50], [400, 10, 50, 50]])
def test_boxes_that_show_nobody_are_counted_and_miss_from_the_evaluation(content, open_set, logged, box):
    entries = content['annotations']
    entries[4]['bbox'] = entries[7]['bbox'] = box
    if box[2] > 0:  # else the box is elsewhere than the keypoints
        for entry in (entries[4], entries[7]):
            entry['keypoints'] = [0, 0, 0] * 4 + [box[0] + 25, box[1] + 25, 1]
    dataset = open_set(content)
    assert len(dataset) == 10
    assert '2 of 12 persons' in logged()
    assert '5, 8' in logged()
    assert exact_ap(dataset, entries) == pytest.approx(1)
    assert '2 labeled persons (5, 8) are not part of this evaluation' in logged()


def test_subsets_are_evaluated_on_themselves(content, open_set):
    assert exact_ap(open_set(content, indices=5), content['annotations']) == pytest.approx(1)
    assert exact_ap(open_set(content, indices=[0, 9]), content['annotations']) == pytest.approx(1)
    assert exact_ap(open_set(content, boxes_of(content), indices=4), content['annotations']) == pytest.approx(1)


def test_confidences_count_as_labeled(content, open_set):
    content['annotations'][0]['keypoints'][2::3] = [.45, .01, 1, 2, 0]
    sample = open_set(content)[0]
    np.testing.assert_array_equal(sample['keypoints_visible'], [[1, 1, 1, 1, 0]])


@pytest.mark.parametrize(('change', 'named'), [
    *[(put('annotations', 3, 'area', area), r'1 of 12 persons \(4\)') for area in (0, -1, NAN, 'large')],
    (lambda content: content['annotations'][3].pop('area'), r'1 of 12 persons \(4\)'),
    *[(each(lambda entry, unit=unit: entry.update(area=unit * entry['area'])), 'have areas of typically')
      for unit in (1 / 76800, 1e-4, 1e4)],
])
def test_areas_are_checked_before_a_training(content, open_set, change, named):
    change(content)
    dataset = open_set(content)
    with pytest.raises(DataError, match=named):
        check_evaluator(dataset)
    check_evaluator(dataset, use_area=False)


@pytest.mark.parametrize(('key', 'value', 'named'), [
    ('sigmas', [26, 25, 25, 79, 72], '26'), ('sigmas', [1e-5] * 5, '1e-05'),
    ('joint_weights', [0] * 5, 'joint_weights'),
    ('sigmas', [.05] * 4, '4 sigmas'), ('sigmas', [.05] * 4 + [0], 'right_foot'),
    ('sigmas', [.05] * 4 + [float('nan')], 'nan'), ('joint_weights', [1.] * 4 + [-1], 'right_foot'),
    ('joint_weights', [1.] * 6, '6 joint_weights'),
])
def test_tables_of_the_keypoint_set_are_checked(content, open_set, key, value, named):
    with pytest.raises(DataError, match=named):
        open_set(content, metainfo={**METAINFO, key: value})


@pytest.mark.parametrize('swaps', [
    ['', 'right_hand', 'right_hand', 'right_foot', 'left_foot'], ['', '', 'left_hand', 'right_foot', 'left_foot'],
    ['', '', '', 'right_foot', 'left_foot'], ['', 'right_foot', 'left_foot', 'right_hand', 'left_hand'],
])
def test_mirror_tables_that_are_no_pairs(content, open_set, swaps):
    info = {i: {**entry, 'swap': swap} for (i, entry), swap in zip(METAINFO['keypoint_info'].items(), swaps)}
    with pytest.raises(DataError) as error:
        open_set(content, metainfo={**METAINFO, 'keypoint_info': info})
    assert "'left_hand'" in str(error.value)
    assert "'right_hand'" in str(error.value)


def test_a_scan_finds_everything_in_one_go(content, open_set):
    content['annotations'][2]['keypoints'][2] = -1
    content['annotations'][5]['image_id'] = 9
    content['annotations'][6]['bbox'][0] = INF
    content['annotations'][7]['id'] = 8.5
    with collect_problems() as problems:
        assert len(open_set(content)) == 8
    assert {problem.kind for problem in problems} == {
        'visibilities', 'unknown ids', 'not numbers', 'invalid ids'}


@pytest.mark.parametrize('change', [dict(swap='tail'), dict(name='head'), dict(name=None)])
def test_keypoint_info_that_mmpose_does_not_parse(content, open_set, change):
    info = {**METAINFO['keypoint_info'], 4: {**METAINFO['keypoint_info'][4], **change}}
    with pytest.raises(DataError, match=str(next(iter(change.values())))):
        open_set(content, metainfo={**METAINFO, 'keypoint_info': info})
    with pytest.raises(DataError, match='sigmas'):
        open_set(content, metainfo={key: value for key, value in METAINFO.items() if key != 'sigmas'})


def add(content, **entry):
    content['annotations'].append(dict(dict(id=99, image_id=1, category_id=1, bbox=[1, 2, 30, 40]), **entry))


@pytest.mark.parametrize('change', [
    each(lambda entry: entry.update(id=-entry['id'])),
    put('annotations', 3, 'id', -5),
    each(lambda entry: entry.update(iscrowd=None)),
    each(lambda entry: entry.update(iscrowd='0')),
    add,
    lambda content: add(content, keypoints=[]),
    each(lambda entry: entry.update(id=2**70 + entry['id'])),
    lambda content: [each(lambda entry: entry.update(category_id=3))(content),
                     content['categories'].append(dict(id=3, name='dancer'))],
])
@pytest.mark.parametrize('detected', [False, True])
def test_unusual_files_are_accepted_and_exact_keypoints_score_1(content, open_set, change, detected):
    people = list(content['annotations'])
    change(content)
    boxes = boxes_of(dict(annotations=people), people[0]['category_id']) if detected else None
    assert exact_ap(open_set(content, boxes), people) == pytest.approx(1)


def test_things_of_other_categories_may_have_other_keypoints(content, open_set):
    content['categories'].append(dict(id=2, name='horse'))
    add(content, category_id=2, area=600, keypoints=[10, 20, 2] * 9)
    assert len(open_set(content)) == 12


@pytest.mark.parametrize(('corner', 'used'), [
    (dict(bbox=[.4, .6, 1.2, 1.3], keypoints=[0] * 15), False),
    (dict(bbox=[0, 0, 1, 1], keypoints=[0] * 15, iscrowd=1), False),
    (dict(bbox=[0, 0, 2, 2], keypoints=[1, 1, 2] + [0] * 12), True),
    (dict(bbox=[0, 0, 2, 2], keypoints=[1, 1, 2] * 3 + [0] * 6), True)])
def test_a_tiny_person_in_the_corner_is_no_reason_to_refuse_a_file(content, open_set, corner, used):
    content['annotations'].append({**content['annotations'][0], 'id': 99, 'area': 2, **corner})
    assert len(open_set(content)) == 12 + used


def test_a_stray_in_a_large_file_is_a_warning(content, open_set, logged):
    first = content['annotations']
    for number in range(1, 30):
        content['images'] += [dict(image, id=image['id'] + 10 * number, file_name=f'{number}-{image["id"]}.jpg')
                              for image in content['images'][:3]]
        content['annotations'] = content['annotations'] + [
            dict(entry, id=entry['id'] + 100 * number, image_id=entry['image_id'] + 10 * number) for entry in first]
    content['annotations'][7] = dict(content['annotations'][7], bbox=[0, 0, 8, 8])
    assert len(open_set(content)) == 360
    assert '1 of 360 persons (8)' in logged()


@pytest.mark.parametrize(('change', 'named'), [
    (each(lambda image: image.update(file_name=f'b{image["id"]}.jpg'), 'images'), '3 of 3 images'),
    (lambda other: [each(lambda image: image.update(id=image['id'] + 100), 'images')(other),
                    each(lambda entry: entry.update(image_id=entry['image_id'] + 100))(other)], '3 of 3 images'),
    (lambda other: [other['categories'][0].update(id=5), each(lambda entry: entry.update(category_id=5))(other)],
     '12 of 12 persons'),
    (lambda other: other['annotations'].pop(), '1 of 12 persons'),
    (put('annotations', 2, 'keypoints', 0, 1.), '1 of 12 persons'),
    (lambda other: other['annotations'].append(dict(other['annotations'][0], id=77)), '1 of 13 persons')])
def test_an_evaluator_of_another_set_is_refused_before_a_training(content, open_set, tmp_path, change, named):
    dataset = open_set(content)
    other = copy.deepcopy(content)
    change(other)
    (tmp_path / 'other.json').write_text(json.dumps(other))
    with pytest.raises(DataError, match=f'other.json: got {named}'):
        check_evaluator(dataset, ann_file=str(tmp_path / 'other.json'))


def test_repeated_persons_and_detections_of_other_images_are_counted(content, open_set, logged):
    content['annotations'].append(dict(content['annotations'][0], id=99))
    boxes = [dict(box, bbox=[value / 2 for value in box['bbox']]) for box in boxes_of(content)]
    open_set(content, boxes)
    assert 'the same keypoints more than once' in logged()
    assert 'of 13 persons' in logged()


def test_a_union_of_test_sets_can_be_built(content, open_set):
    one, other = open_set(content, indices=3), open_set(content, indices=[9])
    both = ConcatDataset([one, other])
    assert set(evaluated_by(both)['images']) == {1, 3}
    assert evaluated_by(one)['images'].keys() == {1}
