"""Tests of the files of a result."""
import json
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from sapiens_mm.apis.frames import Source
from sapiens_mm.apis.result_files import encode_depth, kept_tasks
from sapiens_mm.apis.space import Space
from sapiens_mm.apis.writer import ResultWriter
from sapiens_mm.vocabularies.body_parts import PART_COLORS, PART_NAMES
from sapiens_mm.vocabularies.keypoints import KEYPOINT_NAMES

from .conftest import make_result

ALL = ('json', 'npz', 'png', 'overlay', 'sheet')


def test_invalid_arguments(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match='gif'):
        ResultWriter(tmp_path, ['json', 'gif'])
    with pytest.raises(ValueError, match='h36m'):
        ResultWriter(tmp_path, ['json'], 'h36m')
    with pytest.raises(ValueError, match='vulkan'):
        ResultWriter(tmp_path, ['png'], normal_convention='vulkan')
    monkeypatch.setitem(sys.modules, 'trimesh', None)
    for kind in ('ply', 'glb'):
        with pytest.raises(ValueError, match=r'sapiens_mm\[mesh\]'):
            ResultWriter(tmp_path, [kind])
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


@pytest.mark.parametrize(('convention', 'green'), [('opengl', 1), ('directx', -1)])
def test_normals_of_8_and_16_bits_in_both_conventions(convention, green, tmp_path):
    result = make_result()
    with ResultWriter(tmp_path, ['png', 'normal16'], normal_convention=convention) as writer:
        writer.write(result)
    mask = (result.normal != 0).any(axis=-1)
    for name, levels in (('normal', 127.5), ('normal16', 32767.5)):
        path = tmp_path / f'x/a.jpg.{name}.png'
        values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]
        np.testing.assert_allclose((values / levels - 1)[mask], result.normal[mask] * [1, green, 1], atol=1 / levels)
        assert not values[~mask].any()
        with Image.open(path) as image:
            assert image.text['convention'] == convention


def test_a_matte_shows_people_only(tmp_path):
    result = make_result()
    with ResultWriter(tmp_path, ['matte']) as writer:
        writer.write(result)
    with Image.open(tmp_path / 'x/a.jpg.matte.png') as matte:
        assert matte.mode == 'RGBA'
        white = Image.new('RGBA', matte.size, 'white')
        white.alpha_composite(matte)
    expected = np.where((result.parts != 0)[..., None], result.image, 255)
    np.testing.assert_array_equal(np.asarray(white)[..., :3], expected)


def test_points_and_meshes_of_an_image(tmp_path):
    trimesh = pytest.importorskip('trimesh')
    result, space = make_result(), Space(fov=40, depth_range=(1, 2))
    with ResultWriter(tmp_path, ['ply', 'glb'], space=space) as writer:
        writer.write(result)
        assert writer.is_done(result.source)
    (tmp_path / 'x/a.jpg.ply').unlink()
    assert not writer.is_done(result.source)
    scene = trimesh.load_scene(tmp_path / 'x/a.jpg.glb', process=False)
    expected = result.mesh(fov=40, depth_range=(1, 2))
    assert scene.metadata == expected.metadata
    for name, mesh in expected.geometry.items():
        np.testing.assert_array_equal(scene.geometry[name].faces, mesh.faces)


def test_kinds_without_their_maps_are_left_out(tmp_path):
    result = make_result()
    result.maps = {}
    with ResultWriter(tmp_path, ['ply', 'glb', 'matte', 'normal16']) as writer:
        writer.write(result)
    assert [path.name for path in tmp_path.rglob('*') if path.is_file()] == ['a.jpg.json']


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


def test_default_kinds(tmp_path, monkeypatch):
    writer = ResultWriter(tmp_path)
    with writer:
        writer.write(make_result())
    assert sorted(path.name for path in (tmp_path / 'x').iterdir()) == [
        'a.jpg.json', 'a.jpg.overlay.jpg', 'a.jpg.sheet.jpg']
    assert writer.is_done(make_result().source)
    (tmp_path / 'x/a.jpg.sheet.jpg').unlink()
    assert not writer.is_done(make_result().source)
    assert writer.files.kinds_of(Source('a.mp4', 'a.mp4', 'video')) == {'json', 'video'}
    monkeypatch.setitem(sys.modules, 'av', None)
    with pytest.raises(ValueError, match='pip install av'):
        writer.files.kinds_of(Source('0', 'camera0', 'camera'))


@pytest.mark.parametrize(('kinds', 'kept'), [
    (['json'], ['pose-17']), (['overlay'], ['depth', 'pose-17']), (['video', 'json'], ['depth', 'pose-17']),
    (['npz'], ['normal', 'depth', 'pose-17']), (['masks'], ['pose-17']), (['sheet'], ['normal', 'depth', 'pose-17'])])
def test_kept_tasks(kinds, kept):
    assert kept_tasks(['normal', 'depth', 'pose-17'], kinds) == kept


def test_names_for_pose2sim(tmp_path):
    frames = [make_result('x/cam01.mp4', 'video', index) for index in (0, 12)]
    with ResultWriter(tmp_path, ['json'], 'pose2sim') as writer:
        writer.files.check_names([*(frame.source for frame in frames), Source('/b', 'x/cam01.tar', 'tar')])
        for frame in frames:
            writer.write(frame)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*.json')) == [
        'x/cam01.mp4.json', 'x/cam01_json/cam01_000000.json', 'x/cam01_json/cam01_000012.json']
    with pytest.raises(ValueError, match=r'x/cam01\.mp4.*x/cam01\.avi'):
        writer.files.check_names([frames[0].source, Source('/b', 'x/cam01.avi', 'video')])
    with pytest.raises(ValueError, match='pose2sim'):
        ResultWriter(tmp_path, ['coco'], 'pose2sim')


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
