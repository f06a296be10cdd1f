"""Tests of result files."""
import errno
import json
import sys
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sapiens_mm.apis import Result
from sapiens_mm.apis.frames import Source, read_frames
from sapiens_mm.apis.sources import find_sources
from sapiens_mm.apis.writer import ResultWriter, encode_depth, kept_tasks, meta_differences
from sapiens_mm.formats import coco
from sapiens_mm.formats.rle import decode_coco
from sapiens_mm.vocabularies.body_parts import PART_COLORS, PART_NAMES
from sapiens_mm.vocabularies.keypoints import KEYPOINT_NAMES

ALL = ('json', 'npz', 'png', 'overlay', 'sheet')


def make_result(name='x/a.jpg', kind='image', index=None):
    rng = np.random.default_rng(index or 0)
    parts = np.zeros((61, 81), np.uint8)
    parts[10:50, 20:60] = rng.integers(1, 28, (40, 40))
    normal = rng.normal(size=(61, 81, 3)).astype(np.float32)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    mask = parts != 0
    return Result(Source(f'/data/{name}', name, kind), rng.integers(0, 256, (61, 81, 3), dtype=np.uint8), index, 10.,
                  boxes=np.array([[20, 10, 60, 50, .9]], np.float32), maps=dict(
                      parts=parts, depth=(rng.uniform(.2, .9, parts.shape) * mask).astype(np.float32),
                      normal=normal * mask[..., None]),
                  metainfo=dict(seg=dict(classes=PART_NAMES, palette=PART_COLORS)))


def test_invalid_arguments(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match='gif'):
        ResultWriter(tmp_path, ['json', 'gif'])
    with pytest.raises(ValueError, match='h36m'):
        ResultWriter(tmp_path, ['json'], 'h36m')
    monkeypatch.setitem(sys.modules, 'av', None)
    with pytest.raises(ValueError, match='pip install av'):
        ResultWriter(tmp_path, ['video'])


def test_files_hold_the_result(tmp_path):
    result = make_result()
    with ResultWriter(tmp_path, ALL) as writer:
        writer.write(result)
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*') if path.is_file())
    assert names == [f'x/a.jpg.{ending}' for ending in (
        'depth.png', 'json', 'normal.png', 'npz', 'overlay.jpg', 'parts.png', 'sheet.jpg')]
    base = str(tmp_path / 'x/a.jpg')
    with np.load(f'{base}.npz') as maps:
        for task in ('parts', 'depth', 'normal'):
            assert np.array_equal(maps[task], getattr(result, task))
            assert maps[task].dtype == getattr(result, task).dtype
    with Image.open(f'{base}.parts.png') as parts:
        assert parts.mode == 'P'
        assert np.array_equal(np.array(parts), result.parts)
        assert tuple(parts.getpalette()[3:6]) == PART_COLORS[1]
    content = json.loads((tmp_path / 'x/a.jpg.json').read_text())
    assert content['part_names'] == list(PART_NAMES)
    with Image.open(f'{base}.depth.png') as depth:
        values = np.array(depth)
        near, step = float(depth.text['near']), float(depth.text['step'])
    assert content['depth'] == dict(near=near, step=step)
    mask = result.depth != 0
    assert np.array_equal(values != 0, mask)
    restored = near + (values.astype(np.float64) - 1) * step
    assert np.abs(restored - result.depth)[mask].max() < 1e-5
    with Image.open(f'{base}.normal.png') as normal:
        restored = np.array(normal) / 127.5 - 1
    assert np.abs(restored - result.normal)[mask].max() < 1 / 127
    with Image.open(f'{base}.overlay.jpg') as overlay:
        assert overlay.size == (81, 61)


def test_an_image_that_is_called_meta(tmp_path):
    with ResultWriter(tmp_path, ['json']) as writer:
        writer.write_meta(dict(sapiens_mm='0'))
        writer.write(make_result('meta'))
    assert writer.read_meta() == dict(sapiens_mm='0')
    assert json.loads((tmp_path / 'meta_.json').read_text())['image']['file'] == '/data/meta'
    assert writer.is_done(make_result('meta').source)


def test_depth_of_nobody_and_of_a_plane():
    values, near, step = encode_depth(np.zeros((3, 4), np.float32))
    assert (values.any(), near, step) == (False, 0, 0)
    values, near, step = encode_depth(np.full((3, 4), .5, np.float32))
    assert (values == 1).all()
    assert (near, step) == (.5, 0)


def test_a_large_depth_is_encoded_in_bands(monkeypatch):
    rng = np.random.default_rng(0)
    depth = (rng.uniform(-1, 2, (50, 7)) * (rng.random((50, 7)) > .3)).astype(np.float32)
    values, near, step = encode_depth(depth)
    monkeypatch.setattr('sapiens_mm.visualization.maps._BAND', 30)
    np.testing.assert_array_equal(encode_depth(depth)[0], values)
    np.testing.assert_allclose((near + (values - 1.) * step)[depth != 0], depth[depth != 0], atol=step)
    assert not values[depth == 0].any()


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    writer = ResultWriter(tmp_path, ['npz'])
    monkeypatch.setattr(np, 'savez_compressed', lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        writer.write(make_result())
    assert not [path for path in tmp_path.rglob('*') if path.is_file()]
    assert not writer.is_done(make_result().source)


def test_what_is_done(tmp_path):
    result = make_result()
    assert not ResultWriter(tmp_path, ['json']).is_done(result.source)
    with ResultWriter(tmp_path, ['json']) as writer:
        writer.write(result)
    assert ResultWriter(tmp_path, ['json', 'png', 'video']).is_done(result.source)
    assert not ResultWriter(tmp_path, ['json', 'npz']).is_done(result.source)


def test_an_empty_file_is_not_done(tmp_path):
    writer, result = ResultWriter(tmp_path, ['overlay']), make_result()
    writer.write(result)
    assert writer.is_done(result.source)
    (tmp_path / f'{result.name}.overlay.jpg').write_bytes(b'')  # left by a failure of power
    assert not writer.is_done(result.source)


def test_pngs_and_files_of_the_last_frame_that_are_not_there(tmp_path):
    frames = [make_result('clip.mp4', 'video', index) for index in range(2)]
    frames[1].source, image = frames[0].source, make_result()
    with ResultWriter(tmp_path, ['png']) as writer:
        for result in (*frames, image):
            writer.write(result)
    for source, name in ((image.source, 'x/a.jpg'), (frames[0].source, 'clip.mp4.frames/000001')):
        assert writer.is_done(source, ['depth', 'pose-17'])
        assert not ResultWriter(tmp_path, ['npz']).is_done(source)
        (tmp_path / f'{name}.depth.png').unlink()
        assert not writer.is_done(source, ['depth'])
        assert writer.is_done(source, ['normal'])
    (tmp_path / 'clip.mp4.json').write_text('[]')
    assert not writer.is_done(frames[0].source, ['normal'])


@pytest.mark.parametrize('content', ['[1]', '{"models": 5, "protocol": null}', 'no', '{"models": [{}]}',
                                     '{"earlier": 1}'])
def test_a_foreign_meta(tmp_path, content):
    (tmp_path / 'meta.json').write_text(content)
    with pytest.raises(ValueError, match='meta.json'):
        ResultWriter(tmp_path).read_meta()


def test_default_kinds(tmp_path, monkeypatch):
    writer = ResultWriter(tmp_path)
    with writer:
        writer.write(make_result())
    assert sorted(path.name for path in (tmp_path / 'x').iterdir()) == [
        'a.jpg.json', 'a.jpg.overlay.jpg', 'a.jpg.sheet.jpg']
    assert writer.is_done(make_result().source)
    (tmp_path / 'x/a.jpg.sheet.jpg').unlink()
    assert not writer.is_done(make_result().source)
    assert writer.kinds_of(Source('a.mp4', 'a.mp4', 'video')) == {'json', 'video'}
    monkeypatch.setitem(sys.modules, 'av', None)
    with pytest.raises(ValueError, match='pip install av'):
        writer.kinds_of(Source('0', 'camera0', 'camera'))


@pytest.mark.parametrize(('kinds', 'kept'), [
    (['json'], ['pose-17']), (['overlay'], ['depth', 'pose-17']), (['video', 'json'], ['depth', 'pose-17']),
    (['npz'], ['normal', 'depth', 'pose-17']), (['masks'], ['pose-17']), (['sheet'], ['normal', 'depth', 'pose-17'])])
def test_kept_tasks(kinds, kept):
    assert kept_tasks(['normal', 'depth', 'pose-17'], kinds) == kept


def test_meta_differences():
    def meta(sha256='a' * 64, **protocol):
        return dict(models=[dict(tasks=['parts', 'depth'], source='x.pth', sha256=sha256)], boxes_of='none',
                    protocol=dict(flip_test=False, batch_size=4, **protocol))

    assert meta_differences({}, meta()) == ''
    assert meta_differences(meta(), {**meta(batch=2), 'device': 'cpu'}) == ''
    assert meta_differences(meta(), meta('b' * 64)) == (
        'weights of seg aaaaaaaa instead of bbbbbbbb; weights of depth aaaaaaaa instead of bbbbbbbb')
    assert meta_differences(meta(), {**meta(None), 'boxes_of': 'parts'}).endswith(
        'weights of depth aaaaaaaa instead of x.pth; boxes_of none instead of parts')


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


def test_names_for_pose2sim(tmp_path):
    frames = [make_result('x/cam01.mp4', 'video', index) for index in (0, 12)]
    with ResultWriter(tmp_path, ['json'], 'pose2sim') as writer:
        writer.check_names([*(frame.source for frame in frames), Source('/b', 'x/cam01.tar', 'tar')])
        for frame in frames:
            writer.write(frame)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*.json')) == [
        'x/cam01.mp4.json', 'x/cam01_json/cam01_000000.json', 'x/cam01_json/cam01_000012.json']
    with pytest.raises(ValueError, match=r'x/cam01\.mp4.*x/cam01\.avi'):
        writer.check_names([frames[0].source, Source('/b', 'x/cam01.avi', 'video')])
    with pytest.raises(ValueError, match='pose2sim'):
        ResultWriter(tmp_path, ['coco'], 'pose2sim')


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


def test_a_drawing_for_controlnet(tmp_path):
    result = make_result()
    result.keypoints = np.full((1, 17, 2), 30, np.float32)
    result.keypoint_scores = np.ones((1, 17), np.float32)
    result.metainfo['pose'] = dict(keypoint_id2name=dict(enumerate(KEYPOINT_NAMES['coco'])))
    with ResultWriter(tmp_path, ['controlnet']) as writer:
        writer.write(result)
        assert writer.is_done(result.source)
    with Image.open(tmp_path / 'x/a.jpg.controlnet.png') as image:
        assert np.array_equal(np.array(image), result.draw_openpose())
        assert np.array(image)[30, 30].any()


def test_a_result_is_saved_by_itself(tmp_path):
    make_result().save(tmp_path, ['npz', 'masks'])
    assert sorted(path.name for path in tmp_path.rglob('*') if path.is_file()) == ['a.jpg.json', 'a.jpg.npz']
    make_result().save(tmp_path)
    assert (tmp_path / 'x/a.jpg.sheet.jpg').exists()
    make_result('clip.mp4', 'video', 3).save(tmp_path / 'frames', 'json')
    assert [path.name for path in (tmp_path / 'frames').rglob('*.json')] == ['000003.json']
    for kind in ('coco', 'video', 'gif'):
        with pytest.raises(ValueError, match=kind):
            make_result().save(tmp_path, [kind])
