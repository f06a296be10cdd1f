"""Tests of result files."""
import errno
import json
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from sapiens_mm.apis.frames import Source, read_frames
from sapiens_mm.apis.meta import read_meta, write_meta
from sapiens_mm.apis.result_files import kept_tasks
from sapiens_mm.apis.sources import find_sources
from sapiens_mm.apis.space import Space
from sapiens_mm.apis.writer import ResultWriter
from sapiens_mm.formats import coco
from sapiens_mm.formats.rle import decode_coco
from sapiens_mm.vocabularies.keypoints import KEYPOINT_NAMES

from .conftest import make_result


def test_an_image_that_is_called_meta(tmp_path):
    with ResultWriter(tmp_path, ['json']) as writer:
        write_meta(writer.meta_path, dict(sapiens_mm='0'))
        writer.write(make_result('meta'))
    assert read_meta(writer.meta_path) == dict(sapiens_mm='0')
    assert json.loads((tmp_path / 'meta_.json').read_text())['image']['file'] == '/data/meta'
    assert writer.is_done(make_result('meta').source)


def test_a_video(tmp_path):
    frames = [make_result('clip.mp4', 'video', index) for index in range(4)]
    for frame in frames:
        frame.source, frame.maps = frames[0].source, {}
        frame.image[:] = np.linspace(0, 200, 81)[:, None]  # noise does not survive a video
    with ResultWriter(tmp_path, ['video']) as writer:
        for frame in frames:
            writer.write(frame)
            assert not writer.is_done(frame.source)
        writer.write(make_result())
    assert writer.is_done(frames[0].source)
    assert json.loads((tmp_path / 'clip.mp4.json').read_text())['video'] == dict(file='/data/clip.mp4', frames=4)
    assert (tmp_path / 'clip.mp4.frames/000003.json').exists()
    source, = find_sources([tmp_path / 'clip.mp4.overlay.mp4'])
    read = list(read_frames(source))
    assert len(read) == 4
    assert read[0].image.shape == (60, 80, 3)
    assert read[0].rate == 10
    assert np.abs(read[0].image.astype(int) - frames[0].draw()[:60, :80]).mean() < 5


def test_a_truncated_video_is_not_done(tmp_path):
    frame = make_result('clip.mp4', 'video', 0)
    writer = ResultWriter(tmp_path, ['video'])
    writer.write(frame)
    writer.mark_broken(Source('clip.mp4', 'clip.mp4', 'video'), 'truncated')
    writer.close()
    assert (tmp_path / 'clip.mp4.overlay.mp4').exists()
    assert not writer.is_done(frame.source)
    writer = ResultWriter(tmp_path / 'other', ['video'])
    with suppress(KeyError), writer:
        writer.write(frame)
        raise KeyError
    assert (tmp_path / 'other/clip.mp4.overlay.mp4').exists()
    assert not writer.is_done(frame.source)


def shot(depth=(1., 1.2, 3.)):
    """Frames whose depths differ by factors."""
    frames = [make_result('clip.mp4', 'video', index) for index in range(len(depth))]
    for frame, factor in zip(frames, depth):
        frame.source, frame.maps = frames[0].source, {**make_result('clip.mp4', 'video', 0).maps}
        frame.maps['depth'] = frame.depth * np.float32(factor)
    return frames


def depths_of(folder, number):
    trimesh = pytest.importorskip('trimesh')
    return [-trimesh.load(folder / f'clip.mp4.frames/{index:06d}.ply').vertices[:, 2] for index in range(number)]


def test_frames_of_a_video_have_one_scale(tmp_path):
    frames, space = shot(), Space(depth_range=(1, 2))
    with ResultWriter(tmp_path, ['ply'], space=space) as writer:
        for frame in frames:
            assert writer.write(frame)
            assert not list(tmp_path.rglob('*.ply'))
            assert not writer.is_done(frame.source)
    assert writer.is_done(frames[0].source)
    first, second, third = depths_of(tmp_path, 3)
    # One line for all frames: depths keep their ratios of differences.
    assert np.ptp(second) / np.ptp(first) == pytest.approx(1.2, rel=1e-3)
    assert np.ptp(third) / np.ptp(first) == pytest.approx(3, rel=1e-3)
    with ResultWriter(tmp_path / 'each', ['ply'], space=replace(space, per_frame_scale=True)) as writer:
        for number, frame in enumerate(frames):
            writer.write(frame)
            assert len(list((tmp_path / 'each').rglob('*.ply'))) == number + 1
    for depths in depths_of(tmp_path / 'each', 3):
        np.testing.assert_allclose(np.percentile(depths, (1, 99)), (1, 2), atol=.01)


def test_a_camera_has_no_scale_of_all_frames(tmp_path):
    pytest.importorskip('trimesh')
    camera = make_result('camera', 'camera', 0)
    with pytest.raises(ValueError, match='per_frame_scale'):
        ResultWriter(tmp_path, ['glb']).write(camera)
    assert ResultWriter(tmp_path, ['glb'], space=Space(per_frame_scale=True)).write(camera)


@pytest.mark.parametrize('kind', ['image', 'video'])
def test_references_that_do_not_fit_are_errors_of_their_inputs(kind, tmp_path):
    pytest.importorskip('trimesh')
    results, errors = [make_result()] if kind == 'image' else shot(), []
    (tmp_path / 'true').mkdir()
    with ResultWriter(tmp_path / 'out', ['ply'], space=Space(reference=tmp_path / 'true'),
                      on_error=lambda source, error: errors.append(str(error))) as writer:
        for result in results:
            writer.write(result)
    assert len(errors) == 1
    assert results[0].name in errors[0]
    assert not writer.is_done(results[0].source)
    # A frame without a reference has the scale of the others.
    path = tmp_path / f'true/{results[0].name}.npy'
    path.parent.mkdir(parents=True)
    np.save(path, np.where(results[0].depth != 0, results[0].depth * 2 + 1, 0))
    with ResultWriter(tmp_path / 'out', ['ply'], space=Space(reference=tmp_path / 'true')) as writer:
        for result in results:
            writer.write(result)
    assert writer.is_done(results[0].source)
    if kind == 'video':
        depth = results[1].depth
        np.testing.assert_allclose(depths_of(tmp_path / 'out', 2)[1], depth[depth != 0] * 2 + 1, rtol=1e-5)


def test_write_errors_can_be_handled(tmp_path):
    errors = []
    writer = ResultWriter(tmp_path, ['json'],
                          on_error=lambda source, error: errors.append((source.name[0], error.errno)))
    with writer:
        assert not writer.write(make_result('x' * 251 + '.jpg'))
        assert writer.write(make_result('y.jpg'))
    assert errors == [('x', errno.ENAMETOOLONG)]
    assert [path.name for path in tmp_path.iterdir()] == ['y.jpg.json']
    with pytest.raises(OSError, match='name too long'):
        ResultWriter(tmp_path).write(make_result('x' * 251 + '.jpg'))


@pytest.mark.parametrize('when', ['mux', 'close'])
def test_a_video_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch, when):
    av = pytest.importorskip('av')
    opened, errors = av.open, []

    class Full:
        """A container on a disk that becomes full."""

        def __init__(self, *args, **kwargs):
            self.container = opened(*args, **kwargs)

        def __getattr__(self, name):
            if name in (when, 'close'):
                raise OSError(errno.ENOSPC, 'No space left on device')
            return getattr(self.container, name)

    monkeypatch.setattr(av, 'open', Full)
    frames = [make_result('clip.mp4', 'video', index) for index in range(3)]
    for frame in frames:
        frame.source = frames[0].source
    writer = ResultWriter(tmp_path, ['video'], on_error=lambda source, error: errors.append((source.name, error.errno)))
    with writer:
        for frame in (*frames, make_result('a.png')):
            assert writer.write(frame)
    assert errors == [('clip.mp4', errno.ENOSPC)]
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*') if path.is_file()) == [
        'a.png.json', *(f'clip.mp4.frames/00000{i}.json' for i in range(3))]
    assert not writer.is_done(frames[0].source)


def test_a_video_keeps_the_times_of_its_frames(tmp_path):
    times = [0, .01, .5, .5, .45, 2.]
    frames = [make_result('clip.mp4', 'video', index) for index in range(6)]
    with ResultWriter(tmp_path, ['video']) as writer:
        for frame, time in zip(frames, times):
            frame.source, frame.time = frames[0].source, time
            writer.write(frame)
    read = list(read_frames(find_sources([tmp_path / 'clip.mp4.overlay.mp4'])[0]))
    np.testing.assert_allclose([frame.time for frame in read], [0, .01, .5, .5, .5, 2.], atol=1e-4)
    content = json.loads((tmp_path / 'clip.mp4.frames/000001.json').read_text())
    assert content['image']['time'] == .01


def _people(name, kind='image', index=None):
    """A result with 17 keypoints of a person, one of them below the threshold."""
    result = make_result(name, kind, index)
    names = dict(enumerate(KEYPOINT_NAMES['coco']))
    result.metainfo['pose'] = dict(keypoint_id2name=names, keypoint_name2id={})
    result.keypoints = np.full((1, 17, 2), 3.5 + (index or 0), np.float32)
    result.keypoint_scores = np.linspace(.2, 1, 17, dtype=np.float32)[None]
    return result


def test_one_coco_file_of_a_run_and_of_the_one_that_resumes_it(tmp_path):
    first, second, video = _people('a.jpg'), _people('sub/b.jpg'), _people('clip.mp4', 'video', 0)
    frames = [replace(video, index=index, keypoints=video.keypoints + index) for index in (0, 1)]
    with suppress(KeyboardInterrupt), ResultWriter(tmp_path, ['coco']) as writer:
        writer.write(first)
        raise KeyboardInterrupt
    assert not (tmp_path / 'coco.json').exists()
    with open(tmp_path / 'coco.jsonl', 'a') as file:
        file.write('{"image"')  # killed while writing
    with ResultWriter(tmp_path, ['coco'], resume=True) as writer:
        assert writer.is_done(first.source)
        assert not writer.is_done(second.source)
        for result in (first, second, *frames):
            writer.write(result)
    images = list(coco.read(tmp_path / 'coco.json'))
    assert [image.file_name for image in images] == [
        'a.jpg', 'sub/b.jpg', 'clip.mp4.frames/000000.jpg', 'clip.mp4.frames/000001.jpg']
    for image, result in zip(images, (first, second, *frames)):
        person, = image.people
        assert (image.width, image.height) == (81, 61)
        assert np.array_equal(person.box, result.boxes[0, :4])
        assert np.array_equal(person.visible, np.where(result.keypoint_scores[0] >= .3, 2, 0))
        assert np.array_equal(person.keypoints[-1], result.keypoints[0, -1])
    writer = ResultWriter(tmp_path, ['coco'], resume=True)
    assert writer.is_done(second.source)
    assert writer.is_done(video.source)
    assert not ResultWriter(tmp_path / 'other', ['coco'], resume=True).is_done(second.source)
    with ResultWriter(tmp_path, ['coco']) as writer:
        writer.write(second)
    assert [image.file_name for image in coco.read(tmp_path / 'coco.json')] == ['sub/b.jpg']


def test_a_coco_file_has_one_keypoint_set(tmp_path):
    with pytest.raises(ValueError, match='openpose'):
        ResultWriter(tmp_path, ['coco'], 'openpose')
    with ResultWriter(tmp_path, ['coco']) as writer:
        writer.write(_people('a.jpg'))
    other = _people('coco')
    other.metainfo['pose']['keypoint_id2name'] = dict(enumerate('abcdefghijklmnopq'))
    errors = []
    with ResultWriter(tmp_path, ['coco'], resume=True) as writer:
        writer.on_error = lambda source, error: errors.append(str(error))
        writer.write(other)
    assert '17 keypoints' in errors[0]
    assert [image.file_name for image in coco.read(tmp_path / 'coco.json')] == ['a.jpg']
    with ResultWriter(tmp_path, ['coco'], resume=True) as writer:
        writer.write(_people('coco'))
    assert [image.file_name for image in coco.read(tmp_path / 'coco.json')] == ['a.jpg', 'coco']


def test_masks_in_json_and_coco(tmp_path):
    result = make_result()
    assert kept_tasks(['depth', 'seg'], ['masks']) == ['seg']
    with ResultWriter(tmp_path, ['masks', 'coco']) as writer:
        writer.write(result)
        assert writer.is_done(result.source)
    content, = json.loads((tmp_path / 'x/a.jpg.json').read_text())['instances']
    labels, = coco.read(tmp_path / 'coco.json')
    for segmentation in (content['segmentation'], labels.people[0].segmentation):
        assert np.array_equal(decode_coco(segmentation), result.person_masks[0])
    assert labels.people[0].area == result.person_masks[0].sum()
    with ResultWriter(tmp_path, ['json']) as writer:
        writer.write(result)
    assert ResultWriter(tmp_path, ['json']).is_done(result.source)
    assert not ResultWriter(tmp_path, ['masks']).is_done(result.source)
