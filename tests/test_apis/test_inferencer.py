"""Tests of `SapiensInferencer`."""
import copy
import itertools
import json
import threading

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from sapiens_mm.apis import SapiensInferencer
from sapiens_mm.apis import inferencer as module
from sapiens_mm.apis.boxes import BoxFile
from sapiens_mm.apis.detector import DETECTORS
from sapiens_mm.apis.frames import Frame, InputError, Source
from sapiens_mm.apis.smoothing import OneEuro, smooth, steady
from sapiens_mm.engine.checkpoint import CheckpointError

EXACT = dict(device='cpu', dtype=torch.float32)
PHOTOS = ('000000000785.jpg', '000000040083.jpg', '000000196141.jpg', '000000197388.jpg')


@pytest.fixture(scope='module')
def make(small_models):
    def inferencer(*names, **kwargs):
        kwargs = {'detector': None, **EXACT, **kwargs}
        return SapiensInferencer(weights=[small_models[name] for name in names], **kwargs)

    return inferencer


@pytest.fixture(scope='module')
def crowd():
    """40 smooth images of 12 sizes with 0 to 6 persons each, and their boxes."""
    rng = np.random.default_rng(0)
    sizes = [(int(h), int(w)) for h, w in rng.integers(40, 200, (12, 2))]
    images, boxes = [], []
    for i in range(40):
        height, width = sizes[i % 12]
        small = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
        images.append(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))
        number = i % 7
        low = rng.uniform(0, .5, (number, 2)) * (width, height)
        high = low + rng.uniform(.3, .6, (number, 2)) * (width, height)
        scores = rng.permutation(np.linspace(.4, 1, number)) if number else np.zeros(0)
        boxes.append(np.column_stack([low, high, scores]).astype(np.float32))
    return images, boxes


IMAGE = np.zeros((64, 48, 3), np.uint8)


@pytest.mark.parametrize(('model', 'options', 'value'), [
    ('depth', dict(mask='hair'), "mask: got 'hair'"), ('depth', dict(mask='depth'), "mask: got 'depth'"),
    ('depth', dict(mask='foreground'), "mask: got 'foreground' for weights of depth"),
    ('depth', dict(mask='seg', tasks=['depth']), 'seg'), (None, dict(size='2b', mask='foreground'), 'foreground .* 2b'),
    ('depth', dict(batch_size=0), 'batch_size: got 0'), ('depth', dict(batch_size='4'), "batch_size: got '4'"),
    ('depth', dict(batch_size=None), 'batch_size: got None'), ('depth', dict(batch_size=True), 'batch_size: got True'),
    ('depth', dict(detect_every=True, track=True), 'detect_every: got True'),
    ('depth', dict(smooth=OneEuro()), 'smooth: got OneEuro'),
    ('depth', dict(max_persons=True), 'max_persons: got True'), ('depth', dict(score_threshold=True), 'got True'),
    ('depth', dict(max_persons=1.5), 'max_persons: got 1.5'),
    ('depth', dict(score_threshold=7), 'score_threshold: got 7'),
    ('depth', dict(score_threshold=None), 'score_threshold: got None'),
    ('depth', dict(score_threshold=np.nan), 'score_threshold: got nan'),
    ('depth', dict(nms_threshold=-1), 'nms_threshold: got -1'), ('depth', dict(nms_threshold='a'), "old: got 'a'"),
    ('depth', dict(detect_every=2), 'detect_every: got 2'), ('depth', dict(tasks=[]), 'tasks'),
    ('depth', dict(tasks=['parts', 'pose-17', 'depth']), 'seg, pose-17'), ('depth', dict(dtype='int8'), 'int8'),
    ('depth', dict(dtype=torch.int8), 'int8'), ('depth', dict(dtype=16), '16'),
    ('pose-17', dict(detector=5), 'detector: got 5'), ('pose-17', dict(detector='yolo'), "detector: got 'yolo'"),
    (None, dict(weights=5), 'weights: got 5'), (None, dict(weights=('config.py', 'a.pth', 'more')), 'a.pth'),
    (None, dict(weights=[]), 'weights'), (None, dict(size='3b'), "size: got '3b'"),
    (None, dict(size='3b', tasks=['depth']), "size: got '3b'")])
def test_invalid_arguments(small_models, model, options, value):
    weights = dict(weights=small_models[model]) if model else {}
    with pytest.raises(ValueError, match=value):
        SapiensInferencer(**{**EXACT, **weights, **options})


@pytest.mark.parametrize('names', [['pose-17', 'pose-133'], ['depth', 'multi']])
def test_models_of_the_same_task(make, names):
    with pytest.raises(ValueError, match=names[0]):
        make(*names)


@pytest.mark.parametrize(('tasks', 'size', 'value'), [
    (['pose-17', 'pose-308'], '1b', 'pose-17, pose-308'), (['depth', 'parts'], '2b', 'seg was not released for 2b')])
def test_tasks_are_checked_before_anything_is_fetched(monkeypatch, tasks, size, value):
    monkeypatch.setattr('sapiens_mm.apis.models.load_released', lambda *args, **kwargs: pytest.fail('fetched'))
    with pytest.raises(ValueError, match=value):
        SapiensInferencer(tasks, size, detector=None, **EXACT)


def test_a_detector_that_cannot_be_fetched(small_models, monkeypatch):
    missing = 'mmdet::rtmdet/rtmdet_m_8xb32-300e_coco.py', 'http://127.0.0.1:9/rtmdet.pth'
    monkeypatch.setitem(DETECTORS, 'rtmdet-m', missing)
    with pytest.raises(CheckpointError, match='rtmdet-m .*--boxes') as error:
        SapiensInferencer(weights=small_models['pose-17'], **EXACT)
    assert '\n' not in str(error.value)
    with pytest.raises(FileNotFoundError, match='nowhere.pth'):  # with the config of a name
        SapiensInferencer(weights=small_models['pose-17'], detector=('rtmdet-m', 'nowhere.pth'), **EXACT)


def test_weights_that_cannot_be_fetched(monkeypatch):
    from huggingface_hub import constants
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    with pytest.raises(CheckpointError, match='HF_HUB_OFFLINE is set'):
        SapiensInferencer(['depth'], '0.3b', detector=None, **EXACT)


@pytest.mark.parametrize(('inputs', 'value'), [
    (3.5, 'input 0: got a float'), ({'a.png': 1}, 'input 0: got a dict'), ([True], 'input 0: got a bool'),
    ([IMAGE, torch.zeros(3)], 'input 1: got a Tensor'), (iter([None]), 'input 0: got a NoneType'),
    (np.zeros((8, 8), np.uint8), r'image 0: got \(8, 8\)'), (np.zeros((8, 8, 3)), 'image 0: .*float64'),
    (np.zeros((0, 8, 3), np.uint8), r'image 0: got \(0, 8, 3\), .*at least 1'),
    (Image.new('F', (8, 8)), 'image 0: .*floating')])
def test_invalid_inputs(make, inputs, value):
    with pytest.raises(InputError, match=value):
        make('depth')(inputs)


@pytest.mark.parametrize(('boxes', 'value'), [
    (np.array([[1, 2, 30, 40], [5, 6, 50, 60.]]), r'ndarray of shape \(2, 4\)'),
    ({'a.png': [[1, 2, 30, 40]]}, 'got dict'), (5, 'got int'), ([None], 'frame 0: got NoneType'),
    ([[1, 2, 30, 40]], 'frame 0: got list'), ([[[30, 20, 10, 10]]], 'frame 0, box 0: .*30'),
    ([[[0, 0, np.nan, 9]]], 'frame 0, box 0: .*nan'), ([np.zeros((1, 3))], r'frame 0: .*\(1, 3\)'),
    ('nowhere.json', 'nowhere.json'), ([], '0 arrays'), ([np.zeros((0, 4))] * 2, '2 arrays for 1 frame')])
def test_invalid_boxes(make, boxes, value):
    with pytest.raises(ValueError, match=value):
        make('pose-17')(IMAGE, boxes)


def test_boxes_by_order_need_all_frames(make, crowd):
    with pytest.raises(ValueError, match='on_error'):
        next(make('pose-17').stream(crowd[0], crowd[1], on_error=print))


@pytest.mark.parametrize('number', [0, 1, 3, 7])
def test_a_detector_that_returns_a_wrong_number_of_arrays(make, number):
    def find(frames):
        return [np.array([[0, 0, 48, 64, .9]])] * number

    runs = [lambda: make('pose-17', detector=find, batch_size=2)([IMAGE] * 2)]
    runs += [lambda: make('pose-17')([IMAGE] * 2, find)] if number != 1 else []  # called frame by frame
    for run in runs:
        with pytest.raises(ValueError, match=rf'find: got {number} arrays? of boxes for [12] frames?') as error:
            run()
        assert '\n' not in str(error.value)


def test_relative_boxes(make):
    good, relative = [[5, 5, 40, 60]], [[.1, .1, .8, .9]]
    for boxes, value in (([relative] * 2, 'from 0 to 1'), (iter([good, relative]), 'frame 1: .*from 0 to 1'),
                         ([good, relative], 'frame 1: .*from 0 to 1'), (lambda frames: [relative], 'frame 0: '),
                         ([good, [[0, 0, 1, 1]]], 'frame 1: .*from 0 to 1')):
        with pytest.raises(ValueError, match=value):
            make('pose-17')([IMAGE] * 2, boxes)
    with pytest.raises(ValueError, match='from 0 to 1'):
        make('pose-17', detector=lambda frames: [relative] * len(frames))([IMAGE] * 2)


def test_a_name_in_a_file_of_boxes_that_matches_two_images(make, tmp_path):
    for name in ('x/a.png', 'y/a.png', 'b.png'):
        write(tmp_path / name)
    (tmp_path / 'boxes.json').write_text('{"a.png": [[3, 4, 30, 40]]}')
    boxes, paths = BoxFile(tmp_path / 'boxes.json'), [tmp_path / 'x/a.png', tmp_path / 'y/a.png']
    with pytest.raises(ValueError, match='a.png'):
        make('pose-17')(iter(paths), boxes)
    with pytest.raises(ValueError, match='x/a.png, y/a.png'):
        next(make('pose-17').stream([tmp_path / 'b.png', *paths], boxes))  # before any result
    assert [len(make('pose-17')(path, boxes)[0].boxes) for path in paths] == [1, 1]
    assert len(make('pose-17')([paths[0]] * 2, boxes)) == 2


@pytest.mark.parametrize('tasks', [[], ['foo'], ['depth', 'pose-308']])
def test_only_unavailable_tasks(make, tasks):
    with pytest.raises(ValueError, match=', '.join(tasks) or 'none'):
        make('pose-17', 'multi').only(tasks)


@pytest.mark.parametrize('name', ['pose-17', 'seg'])
def test_flip_test_needs_mirror_pairs(small_models, crowd, name):
    config, checkpoint = small_models[name]
    cfg = Config.fromfile(config)
    unnamed = {key: cfg[key] for key in ('model', 'default_scope')}
    with pytest.raises(ValueError, match=f'flip_test: .*{checkpoint.name} .*{name}'):
        SapiensInferencer(weights=[(unnamed, checkpoint)], detector=None, flip_test=True, **EXACT)
    result, = SapiensInferencer(weights=[(unnamed, checkpoint)], detector=None, **EXACT)(crowd[0][6])
    assert result.draw(0).shape == result.image.shape
    assert json.dumps(result.to_json())
    if name == 'pose-17':
        assert result.to_json()['keypoint_names'][0] == 'keypoint_0'
        with pytest.raises(ValueError, match='coco'):
            result.to_json('coco-17')


@pytest.mark.parametrize('number', [1, 3, 6])
def test_results_before_an_error_are_yielded(make, crowd, number):
    def images():
        yield from crowd[0][:number]
        raise KeyError('the disk is gone')

    results = []
    with pytest.raises(KeyError, match='the disk is gone'):
        results.extend(make('pose-17', 'depth', batch_size=4).stream(images()))
    assert [len(result.image) for result in results] == [len(image) for image in crowd[0][:number]]


@pytest.mark.parametrize('wrap', [list, iter])
def test_unreadable_inputs_can_be_handled(make, tmp_path, wrap):
    errors = []
    inputs = wrap([str(write(tmp_path / 'a.png')), 'missing.png', IMAGE.astype(float), IMAGE])
    results = make('depth').stream(inputs, on_error=lambda *error: errors.append(error))
    assert [result.name for result in results] == ['a.png', '000003']
    assert [source.name for source, _ in errors] == ['missing.png', '000002']


@pytest.mark.parametrize('stage', ['boxes', 'model'])
def test_no_thread_outlives_an_error(make, monkeypatch, stage):
    inferencer = make('pose-17', batch_size=2)
    if stage == 'model':
        monkeypatch.setattr(inferencer.pose, 'network', lambda images: 1 / 0)
    before = threading.active_count()
    boxes = [np.array([[0, 0, 48, 64]])] * (50 if stage == 'model' else 3)
    with pytest.raises((ValueError, ZeroDivisionError)) as error:  # holds the traceback
        inferencer([IMAGE] * 50, boxes)
    assert error.tb
    assert threading.active_count() == before


def write(path, image=IMAGE):
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), image)
    return path


def test_pillow_images(make, tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 4), dtype=np.uint8), 'RGBA')
    image.save(tmp_path / 'a.png', exif=exif)
    with Image.open(tmp_path / 'a.png') as opened:
        results = make('depth')([opened, opened.convert('L'), str(tmp_path / 'a.png')])
        assert opened.size == (30, 40)
    assert [result.name for result in results] == ['000000', '000001', 'a.png']
    assert results[0].image.shape == (30, 40, 3)
    assert np.array_equal(results[0].image, results[2].image)


@pytest.mark.parametrize('number', [7, np.int64(7)])
def test_a_number_is_a_camera(make, monkeypatch, number):
    asked = []
    monkeypatch.setattr('sapiens_mm.apis.sources.frames_of', lambda sources, on_error: asked.extend(sources) or ())
    assert make('depth')(number) == []
    assert asked == [Source('7', 'camera7', 'camera')]


def test_an_iterator_is_read_as_it_is_worked_on(make):
    made = []

    def images():
        for i in range(60):
            made.append(i)
            yield np.full((64, 48, 3), i, np.uint8)

    stream = make('depth', batch_size=2).stream(images())
    assert [next(stream).name for _ in range(2)] == ['000000', '000001']
    assert len(made) < 30
    assert [result.image[0, 0, 0] for result in stream] == list(range(2, 60))


def test_names_of_inputs_are_unique(make, tmp_path):
    paths = [write(tmp_path / name) for name in ('x/a.png', 'y/a.png')]
    assert [result.name for result in make('depth')(paths)] == ['x/a.png', 'y/a.png']
    assert [result.name for result in make('depth')(iter([*paths, paths[0]]))] == ['a.png', '000001/a.png', 'a.png']
    assert len(make('depth')([str(paths[0])] * 2)) == 2


@pytest.mark.parametrize('given', ['list', 'generator', 'function', 'file'])
def test_boxes_that_are_given_are_used_as_they_are(make, tmp_path, given):
    boxes = [[40, 10, 60, 60, .5], [10, 10, 30, 60, .01], [40, 10, 60, 60, .5], [20, 20, 20, 60, .9],
             [500, 10, 560, 60, .8], [1, 2, 40, 60, .9]]
    path = tmp_path / 'a.png'
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))
    (tmp_path / 'boxes.json').write_text(json.dumps({'a.png': boxes}))
    way = dict(list=[boxes], generator=(array for array in [boxes]), function=lambda frames: [boxes],
               file=tmp_path / 'boxes.json')[given]
    inferencer = make('pose-17', 'seg', per_person=True, max_persons=1, score_threshold=.6, nms_threshold=.1)
    result, = inferencer(str(path), way)
    np.testing.assert_array_equal(result.boxes, np.array(boxes, np.float32))
    assert np.array_equal(result.keypoints[0], result.keypoints[2])
    empty = np.array([False, False, False, True, True, False])  # without an area in the frame
    assert (~result.keypoint_scores.any(axis=1) == empty).all()
    assert (~result.keypoints.any(axis=(1, 2)) == empty).all()
    alone, = inferencer(str(path), [boxes[5:]])
    np.testing.assert_allclose(result.keypoints[5], alone.keypoints[0], atol=1e-3)


def test_boxes_of_a_file_and_of_a_generator(make, crowd, tmp_path):
    image = crowd[0][1]
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    (tmp_path / 'boxes.json').write_text('{"a.png": [[3, 4, 30, 40]]}')
    result, = make('pose-17')(str(tmp_path / 'a.png'), tmp_path / 'boxes.json')
    assert result.boxes.tolist() == [[3, 4, 30, 40, 1]]
    results = make('pose-17')([image] * 3, itertools.repeat([[3, 4, 30, 40, .5]]))
    assert [len(result.boxes) for result in results] == [1] * 3


def test_only_some_tasks(make):
    inferencer = make('pose-17', 'multi')
    assert inferencer.only(['depth', 'pose-17']).tasks == ('pose-17', 'depth')
    assert inferencer.only('parts').tasks == inferencer.only('seg').tasks == ('seg', )


def test_two_streams_count_their_people_apart(make, tmp_path, write_video):
    path = str(write_video(tmp_path / 'clip.mp4'))

    def finder(frames):
        return [np.array([[5 * frame.index % 40, 0, 5 * frame.index % 40 + 20, 40, .9]]) for frame in frames]

    inferencer = make('pose-17', track=True, detector=finder)
    alone = [result.track_ids.tolist() for result in inferencer(path)]
    first, second = inferencer.stream(path), inferencer.stream(path)
    next(first), next(first)
    together = [[result.track_ids.tolist() for result in stream] for stream in (second, first)]
    assert together == [alone, alone[2:]]


def test_smooth_keypoints_and_steady_depth_of_a_video(make, tmp_path, write_video):
    path = str(write_video(tmp_path / 'clip.mp4'))
    options = dict(track=True, detector=lambda frames: [np.array([[0, 0, 40, 40, .9]])] * len(frames))
    plain = make('pose-17', 'depth', **options)(path)
    inferencer = make('pose-17', 'depth', smooth=OneEuro(.5, .1), steady=True, **options)
    results = inferencer(path)
    protocol = inferencer.describe()['protocol']
    assert (protocol['smooth'], protocol['steady']) == (dict(min_cutoff=.5, beta=.1), True)
    assert any((result.depth != other.depth).any() for result, other in zip(results, plain))
    for result, expected in zip(results, steady(smooth(plain, OneEuro(.5, .1)))):
        np.testing.assert_array_equal(result.keypoints, expected.keypoints)
        np.testing.assert_array_equal(result.depth, expected.depth)


@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('name', ['pose-17', 'pose-308'])
def test_keypoints_are_those_of_mmpose(make, small_models, host_results, coco_real, name, flip):
    inferencer = make(name, flip_test=flip)
    for photo in PHOTOS[:4 if name == 'pose-17' else 1]:
        path = str(coco_real / photo)
        result, = inferencer.stream(path, BoxFile(coco_real / 'person_keypoints.json'))
        assert len(result.boxes)
        for person, sample in enumerate(host_results(*small_models[name], path, result.boxes, flip)):
            expected = sample.pred_instances
            difference = np.abs(result.keypoints[person] - expected.keypoints[0]).max(-1)
            # Random heatmaps throw points out of the image, by long steps that depend on how a CPU rounds.
            size = np.array(cv2.imread(path).shape[1::-1])
            outside = np.maximum(-expected.keypoints[0], expected.keypoints[0] - size).max(-1).clip(0)
            assert (difference < .05 + .01 * outside).all()
            np.testing.assert_allclose(result.keypoint_scores[person], expected.keypoint_scores[0], atol=1e-4)


@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('name', ['multi', 'seg', 'depth', 'normal'])
def test_maps_are_those_of_mmseg(make, small_models, host_results, coco_real, name, flip):
    inferencer = make(name, flip_test=flip)
    for photo in PHOTOS[:2 if name == 'multi' else 1]:
        path = str(coco_real / photo)
        result, = inferencer(path)
        sample, = host_results(*small_models[name], path, flip=flip)
        mask = 1
        if 'seg' in inferencer.tasks:
            expected = sample.pred_sem_seg.data[0].numpy()
            assert len(np.unique(expected)) > 3
            assert (result.parts == expected).mean() > .999
            mask = result.parts != 0
        if 'depth' in inferencer.tasks:
            np.testing.assert_allclose(result.depth, sample.pred_depth_map.data[0].numpy() * mask, atol=1e-4)
        if 'normal' in inferencer.tasks:
            expected = sample.pred_normal_map.data.permute(1, 2, 0).numpy() * np.atleast_3d(mask)
            np.testing.assert_allclose(result.normal, expected, atol=1e-3)


@pytest.mark.parametrize('per_person', [False, True])
def test_one_by_one_equals_batched(make, crowd, per_person):
    images, boxes = crowd
    batched = make('pose-17', 'multi', per_person=per_person, batch_size=8)(images, boxes)
    single = make('pose-17', 'multi', per_person=per_person, batch_size=1)
    assert len(batched) == len(images)
    apart = []
    for i, (image, box, result) in enumerate(zip(images, boxes, batched)):
        alone, = single(image, [box])
        assert result.image.shape == image.shape
        assert len(result.boxes) == len(result.keypoints) == len(alone.boxes) <= i % 7
        np.testing.assert_allclose(result.keypoint_scores, alone.keypoint_scores, atol=1e-4)
        sides = (result.boxes[:, 2:4] - result.boxes[:, :2]).max(axis=1)[:, None, None]
        apart.append((np.abs(result.keypoints - alone.keypoints) / sides).ravel())
        assert (result.parts == alone.parts).mean() > .999
        same = result.parts == alone.parts
        np.testing.assert_allclose(result.depth[same], alone.depth[same], atol=1e-3)
        assert result.normal.shape == image.shape
        if per_person and not len(box):
            assert not result.parts.any()
            assert not result.depth.any()
    # Random heatmaps are flat, and in a few of them rounding tells where the peak lies.
    assert (np.concatenate(apart) < 1e-3).mean() > .99


def test_frames_of_a_camera_do_not_wait_for_each_other(make, monkeypatch):
    camera, read = Source('0', 'camera0', 'camera'), []

    def frames(*args):
        for index in range(50):
            read.append(index)
            yield Frame(camera, IMAGE, index)

    monkeypatch.setattr(module, 'frames_of_inputs', frames)
    stream = make('pose-17', 'depth', batch_size=8).stream('0')
    assert next(stream).index == 0
    assert len(read) < 30
    stream.close()


def test_a_crowd_is_cropped_in_bounded_batches(make):
    boxes = np.array([[i, 0, i + 20, 60, 1 - i / 100] for i in range(30)], np.float32)
    inferencer = make('pose-17', 'seg', per_person=True, batch_size=2)
    batches = list(inferencer.preprocess([IMAGE], [boxes]))
    assert max(len(sample.people) for batch in batches for sample in batch) == 2
    assert sum(len(sample.people) for batch in batches for sample in batch) == 30
    result, = (result for batch in batches for result in inferencer.forward(batch))
    expected, = make('pose-17', 'seg', per_person=True, batch_size=64)([IMAGE], [boxes])
    np.testing.assert_allclose(result.keypoints, expected.keypoints, atol=1e-3)
    assert (result.parts == expected.parts).mean() > .999


@pytest.mark.parametrize(('people', 'sizes'), [(1, [4, 4]), (0, []), (2, [4, 4, 4, 4])])
def test_batches_hold_people_of_several_frames(make, monkeypatch, people, sizes):
    inferencer, batches = make('pose-17', batch_size=4), []
    network = inferencer.pose.network
    monkeypatch.setattr(inferencer.pose, 'network', lambda images: batches.append(len(images)) or network(images))
    boxes = [np.array([[i, 0, 40 + i, 60] for i in range(people)]).reshape(-1, 4)] * 8
    assert [len(result.boxes) for result in inferencer([IMAGE] * 8, boxes)] == [people] * 8
    assert sorted(batches) == sizes


def test_many_frames_without_people_do_not_wait(make):
    inferencer, asked = make('pose-17', batch_size=2), []

    def boxes(frames):
        asked.extend(frames)
        return [np.array([[0, 0, 48, 64]]) if frame.source.name == '000000' else np.zeros((0, 4)) for frame in frames]

    results = inferencer.stream([IMAGE] * 40, boxes)
    assert len(next(results).keypoints) == 1  # alone in its batch
    assert len(asked) < 20
    assert [len(result.keypoints) for result in results] == [0] * 39


def test_boxes_that_are_given_are_those_of_their_frame(make, tmp_path, write_video):
    path = str(write_video(tmp_path / 'clip.mp4'))
    boxes = [np.array([[i, 0, 20 + i, 40]]) for i in range(5)]
    results = make('pose-17', track=True, detect_every=2)(path, boxes)
    assert [result.boxes[0, 0] for result in results] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(('name', 'dtype'), [('bf16', torch.bfloat16), ('float16', torch.float16),
                                             (torch.float32, torch.float32)])
def test_dtypes_by_their_names(make, name, dtype):
    inferencer = make('depth', dtype=name)
    assert inferencer.dtype == inferencer.models[0].network.dtype == dtype


def test_the_person_of_the_highest_score_lies_on_top(make, crowd):
    inferencer = make('seg', per_person=True)
    image = crowd[0][6]
    height, width = image.shape[:2]
    boxes = np.array([[0, 0, width * .7, height, .5], [width * .3, 0, width, height, .9]], np.float32)
    both, = inferencer(image, [boxes])
    below, = inferencer(image, [boxes[:1]])
    above, = inferencer(image, [boxes[1:]])
    assert (above.parts != 0).any()
    assert (below.parts != 0).any()
    assert np.array_equal(both.parts, np.where(above.parts != 0, above.parts, below.parts))


def test_depth_alone_stays_in_the_boxes(make, crowd):
    image = crowd[0][6]
    height, width = image.shape[:2]
    box = np.array([[5, 5, width // 2, height // 2]])
    result, = make('depth', per_person=True)(image, [box])
    assert (result.depth[5:height // 2, 5:width // 2] != 0).all()
    assert not result.depth[height // 2:].any()
    assert not result.depth[:, :5].any()


@pytest.mark.parametrize('per_person', [False, True])
@pytest.mark.parametrize(('mask', 'bound'), [(None, 'foreground'), ('foreground', 'foreground'), ('parts', 'parts')])
def test_depth_and_normals_end_where_the_mask_ends(make, crowd, mask, bound, per_person):
    images, boxes = (values[3:5] for values in crowd)
    inferencer = make('seg', 'foreground', 'depth', 'normal', mask=mask, per_person=per_person)
    for result in inferencer.stream(images, boxes):
        inside = result.maps[bound] != 0
        assert inside.any()
        assert 0 < (result.foreground != 0).mean() < 1
        assert ((result.depth != 0) == inside).all()
        assert (result.normal.any(-1) == inside).all()
        assert set(np.unique(result.foreground)) <= {0, 1}
        assert (result.foreground != (result.parts != 0)).any()
        drawn = result.draw_maps()
        assert not drawn['depth'][~inside].any()
        assert (result.mask == (result.foreground != 0)).all()


def test_the_task_of_the_mask_is_added(make, crowd):
    inferencer = make('foreground', 'depth', 'seg', tasks=['depth'], mask='foreground')
    assert set(inferencer.tasks) == {'depth', 'foreground'}
    assert set(inferencer.only(['depth']).tasks) == {'depth', 'foreground'}
    assert set(inferencer.only(['foreground']).tasks) == {'foreground'}
    result, = inferencer.only(['depth'])(crowd[0][3])
    assert ((result.depth != 0) == (result.foreground != 0)).all()
    assert inferencer.describe()['protocol']['mask'] == 'foreground'


def test_foreground_alone(make, crowd, tmp_path):
    result, = make('foreground')(crowd[0][3])
    assert set(result.maps) == {'foreground'}
    shown = result.draw()
    assert (shown[result.foreground == 0] == result.image[result.foreground == 0]).all()
    assert (shown[result.foreground == 1] != result.image[result.foreground == 1]).any()
    result.save(tmp_path, ['png', 'npz', 'sheet', 'overlay'])
    file = tmp_path / f'{result.name}.foreground.png'
    assert (np.array(Image.open(file)) == result.foreground * 255).all()
    with np.load(tmp_path / f'{result.name}.npz') as maps:
        assert (maps['foreground'] == result.foreground).all()


def test_numbers_of_people_in_a_video(make, tmp_path, write_video):
    path = write_video(tmp_path / 'clip.mp4')
    asked = []

    def finder(frames):
        asked.extend(frame.index for frame in frames)
        return [np.array([[frame.index, 0, 20 + frame.index, 40, .9], [40, 0, 60, 40, .8]]) for frame in frames]

    results = make('pose-17', track=True, detect_every=2, detector=finder)(str(path))
    assert asked == [0, 2, 4]
    assert [result.track_ids.tolist() for result in results] == [[1, 2]] * 5
    assert [result.boxes[0, 0] for result in results] == [0, 0, 2, 2, 4]
    assert all(result.track_ids is None for result in make('pose-17', detector=finder)(str(path)))


def test_a_detector_of_mmdet_runs_in_the_pipeline(make, tmp_path, crowd):
    from mmdet.registry import MODELS
    from mmengine.hub import get_config
    name = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
    cfg = get_config(name).model
    cfg.backbone.init_cfg = None
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        weights = MODELS.build(cfg).state_dict()
    for key, value in weights.items():  # people everywhere
        if '.rtm_cls.' in key and key.endswith('bias'):
            value[:] = -10
            value[0] = 2
        if '.rtm_reg.' in key and key.endswith('bias'):
            value[:] = 2
    torch.save(weights, tmp_path / 'detector.pth')
    inferencer = make('pose-17', detector=(name, tmp_path / 'detector.pth'), score_threshold=0., max_persons=2)
    results = inferencer(crowd[0][:3])
    assert [len(result.keypoints) for result in results] == [len(result.boxes) for result in results]
    assert [len(result.boxes) for result in results] == [2] * 3
    assert inferencer.describe()['boxes_of'] == f"{name} {tmp_path / 'detector.pth'}"


@pytest.mark.parametrize(('options', 'number'), [({}, 1), (dict(flip_test=True), 2), (dict(per_person=True), 2)])
def test_the_model_that_people_are_found_by_runs_once(make, monkeypatch, crowd, options, number):
    inferencer = make('pose-17', 'multi', detector='parts', batch_size=4, **options)
    monkeypatch.setattr('sapiens_mm.apis.detector.SegDetector._regions',
                        lambda self, probability, size: np.array([[0, 0, *size[::-1], .9]]))
    model, = inferencer.dense
    inferencer.dense, run = [copy.copy(model)], type(model.network).forward  # as `only` leaves it
    seen = []

    def counted(self, images):
        seen.append(self)
        return run(self, images)

    monkeypatch.setattr(type(model.network), 'forward', counted)
    results = inferencer(crowd[0][:4])
    assert seen.count(model.network) == number
    boxes = [result.boxes for result in results]
    for result, expected in zip(results, make('pose-17', 'multi', batch_size=4, **options)(crowd[0][:4], boxes)):
        for task in ('parts', 'depth', 'normal'):
            np.testing.assert_allclose(getattr(result, task), getattr(expected, task), atol=1e-6)


def test_frames_in_which_nobody_is_looked_for_are_run_likewise(make, tmp_path, write_video):
    path = str(write_video(tmp_path / 'clip.mp4'))
    results = make('pose-17', 'multi', detector='parts', track=True, detect_every=2)(path)
    for result, expected in zip(results, make('multi')(path)):
        np.testing.assert_allclose(result.depth, expected.depth, atol=1e-5)


def test_tasks_of_a_multi_task_model(make):
    inferencer = make('multi', tasks=['normal'])
    assert inferencer.tasks == ('normal', )
    result, = inferencer(np.zeros((30, 20, 3), np.uint8))
    assert result.parts is result.depth is result.keypoints is None
    assert result.normal.shape == (30, 20, 3)


def test_describe(make):
    content = make('depth', 'pose-17').describe()
    assert [model['tasks'] for model in content['models']] == [['pose-17'], ['depth']]  # as in the table of tasks
    model, = make('multi', tasks=['normal', 'depth', 'seg']).describe()['models']
    assert model['tasks'] == ['seg', 'depth', 'normal']
    assert all(len(model['sha256']) == 64 for model in content['models'])
    assert content['dtype'] == 'float32'
    assert content['protocol']['box_padding'] == 1.25
