"""COCO files that are wrong: each kind ends in an error that names it, or in a line that counts it."""
import copy
import json

import numpy as np
import pytest
from mmpose.registry import METRICS

from sapiens_mm.utils.problems import DataError, collect_problems

from .conftest import METAINFO, boxes_of, exact_ap


def test_clean_files_are_taken_as_they_are(content, open_set):
    with collect_problems() as problems:
        dataset = open_set(content)
        assert len(dataset) == 12
        assert len(open_set(content, boxes_of(content))) == 12
    assert problems == []
    assert exact_ap(dataset, content['annotations']) == pytest.approx(1)


def repeat_annotation_ids(content):
    for entry in content['annotations']:
        entry['id'] = entry['id'] % 4 + 1


def repeat_image_ids(content):
    content['images'][1]['id'] = 1


def repeat_category_ids(content):
    content['categories'].append(dict(id=1, name='chair'))


def text_and_number_are_one_id(content):
    content['annotations'][3]['id'] = '1'


def half_an_id(content):
    content['annotations'][0]['id'] = 1.5


def no_id(content):
    content['annotations'][0]['image_id'] = None


def unknown_image(content):
    content['annotations'][0]['image_id'] = 9


def unknown_category(content):
    content['annotations'][0]['category_id'] = 0


def shares(content):
    for entry in content['annotations']:
        entry['keypoints'] = [value / (320, 240, 1)[i % 3] for i, value in enumerate(entry['keypoints'])]
        entry['bbox'] = [value / (320, 240)[i % 2] for i, value in enumerate(entry['bbox'])]


def shares_in_one(content):
    entry = content['annotations'][5]
    entry['keypoints'] = [value / (320, 240, 1)[i % 3] for i, value in enumerate(entry['keypoints'])]


def everything_as_shares_in_one(content):
    entry = content['annotations'][5]
    shares_in_one(content)
    entry['bbox'] = [value / (320, 240)[i % 2] for i, value in enumerate(entry['bbox'])]


def boxes_as_shares(content):
    for entry in content['annotations']:
        entry['bbox'] = [value / (320, 240)[i % 2] for i, value in enumerate(entry['bbox'])]


def boxes_as_corners(content):
    for entry in content['annotations']:
        x, y, width, height = entry['bbox']
        entry['bbox'] = [x, y, x + width, y + height]


def boxes_by_middle(content):
    for entry in content['annotations']:
        x, y, width, height = entry['bbox']
        entry['bbox'] = [x + width / 2, y + height / 2, width, height]


def boxes_of_others(content):
    first, last = content['annotations'][0], content['annotations'][3]
    first['bbox'], last['bbox'] = last['bbox'], first['bbox']


def keypoints_of_a_larger_image(content):
    for entry in content['annotations']:
        entry['keypoints'] = [value * (4, 4, 1)[i % 3] for i, value in enumerate(entry['keypoints'])]
        entry['bbox'] = [4 * value for value in entry['bbox']]


def nan_box(content):
    content['annotations'][2]['bbox'][2] = float('nan')


def infinite_keypoint(content):
    content['annotations'][2]['keypoints'][3] = float('inf')


def negative_flag(content):
    content['annotations'][2]['keypoints'][2] = -1


def large_flag(content):
    content['annotations'][2]['keypoints'][5] = 255


def nan_flag(content):
    content['annotations'][2]['keypoints'][5] = float('nan')


def text_keypoint(content):
    content['annotations'][2]['keypoints'][3] = '25'


def text_box(content):
    content['annotations'][2]['bbox'] = ['20', '20', '60', '180']


def missing_keypoints_at_0(content):
    for entry in content['annotations']:
        entry['keypoints'][3:6] = [0, 0, 2]


def file_name_is_no_text(content):
    content['images'][1]['file_name'] = 5


def corners_of_small_boxes(content):
    """In a larger image corners stay inside of it when they are taken for width and height."""
    for image in content['images']:
        image.update(width=800, height=800)
    boxes_as_corners(content)


def one_field_of_the_keypoints_as_shares(content):
    for entry in content['annotations']:
        entry['keypoints'][9] /= 320
        entry['keypoints'][10] /= 240


def crowd_of_text(content):
    content['annotations'][1]['iscrowd'] = 'maybe'


def nested_box(content):
    content['annotations'][1]['bbox'] = [content['annotations'][1]['bbox']]


def infinite_image(content):
    content['images'][0]['width'] = float('inf')


def image_without_size(content):
    content['images'][0]['width'] = 0


def no_dict(content):
    content['annotations'][3] = [1, 2]


@pytest.mark.parametrize(('spoil', 'named'), [
    (repeat_annotation_ids, '12 of 12 annotations'), (repeat_image_ids, 'images'), (repeat_category_ids, 'categories'),
    (text_and_number_are_one_id, '2 of 12 annotations'), (half_an_id, '1.5'), (no_id, 'None'), (unknown_image, '9'),
    (unknown_category, 'category_id 0'), (shares, '12 of 12 persons'), (shares_in_one, '1 of 12 persons (6)'),
    (everything_as_shares_in_one, '1 of 12 persons (6)'),
    (boxes_as_shares, '12 of 12 persons'), (boxes_as_corners, 'x0, y0, x1, y1'), (boxes_by_middle, 'persons'),
    (boxes_of_others, '(1, 4)'), (keypoints_of_a_larger_image, 'outside of the image'), (nan_box, '(3)'),
    (infinite_keypoint, '(3)'), (negative_flag, '-1'), (large_flag, '255'), (nan_flag, '(3)'),
    (image_without_size, 'width and height'), (no_dict, 'annotations'), (text_keypoint, '(3)'), (text_box, '(3)'),
    (missing_keypoints_at_0, '0, 0'), (file_name_is_no_text, 'file_name'), (corners_of_small_boxes, 'x0, y0, x1, y1'),
    (one_field_of_the_keypoints_as_shares, 'number 3'), (crowd_of_text, '(2)'), (nested_box, '(2)'),
    (infinite_image, '(1)'),
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
    assert '2 labelled persons (5, 8) are not part of this evaluation' in logged()


def test_subsets_are_evaluated_on_themselves(content, open_set):
    assert exact_ap(open_set(content, indices=5), content['annotations']) == pytest.approx(1)
    assert exact_ap(open_set(content, indices=[0, 9]), content['annotations']) == pytest.approx(1)
    assert exact_ap(open_set(content, boxes_of(content), indices=4), content['annotations']) == pytest.approx(1)


def test_confidences_count_as_labelled(content, open_set):
    content['annotations'][0]['keypoints'][2::3] = [.45, .01, 1, 2, 0]
    sample = open_set(content)[0]
    np.testing.assert_array_equal(sample['keypoints_visible'], [[1, 1, 1, 1, 0]])


@pytest.mark.parametrize('area', [0, -1, None, float('nan'), 'large'])
def test_areas_are_checked_before_a_training(content, open_set, area):
    content['annotations'][3]['area'] = area
    if area is None:
        del content['annotations'][3]['area']
    dataset = open_set(content)
    metric = METRICS.build(dict(type='SapiensKeypointMetric', ann_file=dataset.ann_file))
    with pytest.raises(DataError, match=r'1 of 12 persons \(4\)'):
        metric.dataset_meta = dataset.metainfo
    METRICS.build(dict(type='SapiensKeypointMetric', ann_file=dataset.ann_file, use_area=False)
                  ).dataset_meta = dataset.metainfo


@pytest.mark.parametrize('rename', [True, False])
def test_annotations_of_another_set_are_refused_before_a_training(content, open_set, tmp_path, rename):
    dataset = open_set(content)
    other = copy.deepcopy(content)
    for image in other['images']:
        image['file_name' if rename else 'id'] = f'b{image["id"]}.jpg' if rename else image['id'] + 100
    for entry in other['annotations']:
        entry['image_id'] += 0 if rename else 100
    (tmp_path / 'other.json').write_text(json.dumps(other))
    metric = METRICS.build(dict(type='SapiensKeypointMetric', ann_file=str(tmp_path / 'other.json')))
    with pytest.raises(DataError, match='other.json: got 3 of 3 images'):
        metric.dataset_meta = dataset.metainfo


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
    negative_flag(content)
    content['annotations'][5]['image_id'] = 9
    content['annotations'][6]['bbox'][0] = float('inf')
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


@pytest.mark.parametrize('wrong', [
    lambda content: [entry.update(id=-entry['id']) for entry in content['annotations']],
    lambda content: content['annotations'][3].update(id=-5),
    lambda content: [entry.update(iscrowd=None) for entry in content['annotations']],
    lambda content: [entry.update(iscrowd='0') for entry in content['annotations']],
    lambda content: content['annotations'].append(dict(id=99, image_id=1, category_id=1, bbox=[1, 2, 30, 40])),
    lambda content: content['annotations'].append(dict(id=99, image_id=1, category_id=1, bbox=[1, 2, 30, 40],
                                                       keypoints=[])),
    lambda content: [entry.update(id=2**70 + entry['id']) for entry in content['annotations']],
    lambda content: [entry.update(category_id=3) for entry in content['annotations']] + [
        content['categories'].append(dict(id=3, name='dancer'))],
])
@pytest.mark.parametrize('detected', [False, True])
def test_unusual_files_are_accepted_and_exact_keypoints_score_1(content, open_set, wrong, detected):
    people = list(content['annotations'])
    wrong(content)
    boxes = boxes_of(dict(annotations=people), people[0]['category_id']) if detected else None
    assert exact_ap(open_set(content, boxes), people) == pytest.approx(1)


def test_things_of_other_categories_may_have_other_keypoints(content, open_set):
    content['categories'].append(dict(id=2, name='horse'))
    content['annotations'].append(dict(id=99, image_id=1, category_id=2, bbox=[1, 2, 30, 40], area=600,
                                       keypoints=[10, 20, 2] * 9))
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


@pytest.mark.parametrize('scale', [1 / 76800, 1e-4, 1e4])
def test_areas_of_another_unit(content, open_set, scale):
    for entry in content['annotations']:
        entry['area'] *= scale
    dataset = open_set(content)
    with pytest.raises(DataError, match='area'):
        METRICS.build(dict(type='SapiensKeypointMetric', ann_file=dataset.ann_file)).dataset_meta = dataset.metainfo


@pytest.mark.parametrize('change', [
    lambda other: [entry.update(category_id=5) for entry in [*other['annotations'], other['categories'][0]]]
    + [other['categories'][0].update(id=5)],
    lambda other: other['annotations'].pop(), lambda other: other['annotations'][2]['keypoints'].__setitem__(0, 1.),
    lambda other: other['annotations'].append(dict(other['annotations'][0], id=77))])
def test_an_evaluator_with_other_persons_is_refused(content, open_set, tmp_path, change):
    dataset = open_set(content)
    other = copy.deepcopy(content)
    change(other)
    (tmp_path / 'other.json').write_text(json.dumps(other))
    with pytest.raises(DataError, match=r'other\.json: got \d+ of \d+ persons'):
        METRICS.build(dict(type='SapiensKeypointMetric', ann_file=str(tmp_path / 'other.json'))
                      ).dataset_meta = dataset.metainfo


def test_repeated_persons_and_detections_of_other_images_are_counted(content, open_set, logged):
    content['annotations'].append(dict(content['annotations'][0], id=99))
    boxes = [dict(box, bbox=[value / 2 for value in box['bbox']]) for box in boxes_of(content)]
    open_set(content, boxes)
    assert 'the same keypoints more than once' in logged()
    assert 'of 13 persons' in logged()


def test_a_union_of_test_sets_can_be_built(content, open_set):
    from mmengine.dataset import ConcatDataset
    one, other = open_set(content, indices=3), open_set(content, indices=[9])
    both = ConcatDataset([one, other])
    from sapiens_mm.pose.ground_truth import evaluated_by
    assert set(evaluated_by(both)['images']) == {1, 3}
    assert evaluated_by(one)['images'].keys() == {1}
