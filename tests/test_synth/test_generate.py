"""Sets on disk: determinism, shards, continuation, settings, and what goes wrong."""
import errno
import json
import os
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('anny')
pytest.importorskip('mitsuba')

from sapiens_mm.synth import generate as module  # noqa: E402
from sapiens_mm.synth import writer  # noqa: E402
from sapiens_mm.synth.generate import Settings, collect, generate, make_sample, write_sample  # noqa: E402
from sapiens_mm.synth.people import build_person  # noqa: E402
from sapiens_mm.synth.scenery import Assets  # noqa: E402

TINY = Settings(size=(64, 48), samples=1, seed=7)  # the tiny_set's


def run(folder, num=4, settings=TINY, **options) -> list:
    return sorted(index for index, _ in generate(folder, num, settings, **options))


def test_a_set_has_every_file_of_its_layout(tiny_set):
    names = {f'{i:06d}' for i in range(4)}
    for kind, suffix in (('images', '.png'), ('masks', '.png'), ('instances', '.png'), ('parts', '.png'),
                         ('depth', '.npy'), ('normal', '.npy'), ('samples', '.json')):
        files = list((tiny_set / kind).iterdir())
        assert {path.stem for path in files} == names
        assert {path.suffix for path in files} == {suffix}
    assert {path.name for path in (tiny_set / 'annotations').iterdir()} == {
        'person_keypoints.json', 'coco_wholebody.json', 'goliath.json'}
    depth, normal = np.load(tiny_set / 'depth/000000.npy'), np.load(tiny_set / 'normal/000000.npy')
    assert (depth.dtype, depth.shape, normal.dtype, normal.shape) == (np.float32, (64, 48), np.float32, (64, 48, 3))


def test_images_differ_from_one_another_and_from_those_of_another_seed(tiny_set, tmp_path, body, wardrobe, digests):
    images = [value for name, value in digests(tiny_set).items() if name.startswith('images')]
    assert len(set(images)) == 4
    sample = make_sample(0, Settings(size=(64, 48), samples=1, seed=8), body, wardrobe, Assets.find(None, None))
    write_sample(sample, 0, tmp_path, TINY)
    assert digests(tmp_path)['images/000000.png'] not in images


@pytest.mark.slow
def test_two_workers_make_the_same_bytes_as_one(tiny_set, tmp_path, digests):
    assert run(tmp_path, workers=2) == [0, 1, 2, 3]
    assert digests(tmp_path) == digests(tiny_set)


def test_shards_by_different_numbers_of_workers_are_together_the_whole_set(tiny_set, tmp_path, digests):
    assert run(tmp_path, shard=(0, 2), workers=2) == [0, 2]
    assert len(list((tmp_path / 'samples').iterdir())) == 2
    assert run(tmp_path, shard=(1, 2)) == [1, 3]
    assert digests(tmp_path) == digests(tiny_set)


def test_a_sample_depends_on_its_seed_and_number_alone(tiny_set, body, wardrobe):
    """Made in this process, out of order; its other threads may change the last bits."""
    assets = Assets.find(None, None)
    for index in (3, 1):
        sample = make_sample(index, TINY, body, wardrobe, assets)
        content = json.loads((tiny_set / f'samples/{index:06d}.json').read_text())
        for mine, theirs in zip(sample.parameters['people'], content['parameters']['people'], strict=True):
            assert mine['pose']['kind'] == theirs['pose']['kind']
            for name in ('phenotypes', 'face', 'complexion', 'yaw', 'position'):
                assert mine[name] == theirs[name]
        depth = np.load(tiny_set / f'depth/{index:06d}.npy')
        assert np.isclose(sample.buffers.person_depth(), depth, rtol=1e-4).mean() > 0.995


@pytest.mark.slow
def test_what_is_missing_or_half_written_is_made_and_the_rest_left_alone(tiny_set, tmp_path, digests):
    shutil.copytree(tiny_set, tmp_path / 'set')
    (tmp_path / 'set/samples/000002.json').unlink()
    (tmp_path / 'set/depth/000002.npy').write_bytes(b'half')
    (tmp_path / 'set/images' / f'000002.png{writer.TEMPORARY}1').write_bytes(b'half')
    before = (tmp_path / 'set/images/000001.png').stat().st_mtime_ns
    assert run(tmp_path / 'set') == [2]
    assert (tmp_path / 'set/images/000001.png').stat().st_mtime_ns == before
    assert digests(tmp_path / 'set') == digests(tiny_set)


def test_a_shard_removes_its_own_half_written_files_only(tiny_set, tmp_path):
    shutil.copytree(tiny_set, tmp_path / 'set')
    mine, other = (tmp_path / 'set/images' / f'{name}.png{writer.TEMPORARY}1' for name in ('000002', '000001'))
    for path in (mine, other):
        path.write_bytes(b'half')
    assert run(tmp_path / 'set', shard=(0, 2)) == []
    assert not mine.exists()
    assert other.exists()


def test_a_finished_set_is_left_as_it_is(tiny_set, tmp_path, digests):
    shutil.copytree(tiny_set, tmp_path / 'set')
    assert run(tmp_path / 'set') == []
    assert digests(tmp_path / 'set') == digests(tiny_set)


def test_collect_writes_the_annotations_anew(tiny_set, tmp_path, digests):
    shutil.copytree(tiny_set, tmp_path / 'set')
    shutil.rmtree(tmp_path / 'set/annotations')
    assert collect(tmp_path / 'set') == 4
    assert digests(tmp_path / 'set') == digests(tiny_set)


def test_ids_of_annotations_are_unique(fresh_set):
    content = json.loads((fresh_set / 'annotations/goliath.json').read_text())
    ids = [annotation['id'] for annotation in content['annotations']]
    assert len(set(ids)) == len(ids) > 8


def rebuild(content: dict, body, wardrobe) -> list:
    """The people of a manifest, each turned and placed as it says."""
    people = []
    for number, parameters in enumerate(content['parameters']['people'], 1):
        angle = np.radians(parameters['yaw'])
        rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        people.append(build_person(body, wardrobe, parameters, rotation, np.array(parameters['position']), number))
    return people


def test_projected_landmarks_of_rebuilt_people_match_the_labels(fresh_set, body, wardrobe):
    """What a sample's JSON holds is enough to build its people; their landmarks fall where the labels are."""
    from sapiens_mm.synth.camera import Camera
    compared = 0
    for path in sorted((fresh_set / 'samples').iterdir()):
        content = json.loads(path.read_text())
        people = rebuild(content, body, wardrobe)
        for annotation in content['annotations']:
            points = np.array(annotation['landmarks'])
            uv, _ = Camera.from_dict(content['camera']).project(people[annotation['instance'] - 1].landmarks)
            there = points[:, 2] > 0
            assert np.linalg.norm(uv[there] - points[there, :2], axis=1).max(initial=0) < 0.5
            compared += there.sum()
    assert compared > 1500


def test_rebuilt_people_fill_the_recorded_masks(fresh_set, body, wardrobe):
    from PIL import Image

    from sapiens_mm.synth.camera import Camera
    from sapiens_mm.synth.render import label_buffers
    for name in ('000002', '000006'):  # nobody sits there: no seat hides anybody
        content = json.loads((fresh_set / f'samples/{name}.json').read_text())
        meshes = [mesh for person in rebuild(content, body, wardrobe) for mesh in person.meshes]
        part = label_buffers(meshes, Camera.from_dict(content['camera'])).part
        recorded = np.asarray(Image.open(fresh_set / f'parts/{name}.png'))
        person = recorded > 0  # furniture may hide more
        assert (part[person] == recorded[person]).mean() > 0.98


def test_no_camera_looks_from_under_the_ground(body):
    """Here the ground lies a metre above the feet, so that most would."""
    floor = float(body.rest.vertices[body.skin_vertices, 2].min()) + 1
    for seed in range(5):
        camera, view = module._draw_camera(
            np.random.default_rng(seed), 'full_body', body, [SimpleNamespace(body=body.rest)], (48, 64), floor)
        assert camera.centre[2] >= floor + 0.1
        assert view['elevation'] < 40


def test_framings_show_what_they_say(fresh_set):
    seen = set()
    for path in sorted((fresh_set / 'samples').iterdir()):
        content = json.loads(path.read_text())
        first = [annotation for annotation in content['annotations'] if annotation['instance'] == 1]
        points = np.array(first[0]['landmarks'])
        framing = content['parameters']['framing']
        seen.add(framing)
        face, ankles = points[70:308, 2] > 0, points[[13, 14], 2] > 0
        assert face.mean() > 0.9
        if framing == 'full_body':
            assert ankles.all()
        else:
            assert not ankles.any()
    assert seen == {'full_body', 'upper_body', 'face'}


def test_only_the_tasks_that_are_asked_for_are_written(tmp_path, body, wardrobe):
    settings = Settings(size=(64, 48), samples=1, tasks=('pose', 'depth'), framings=('face', ), max_persons=1)
    sample = make_sample(0, settings, body, wardrobe, Assets.find(None, None))
    write_sample(sample, 0, tmp_path, settings)
    assert {path.name for path in tmp_path.iterdir()} == {'images', 'masks', 'instances', 'depth', 'samples'}
    assert sample.parameters['framing'] == 'face'
    assert len(sample.people) == 1


def test_a_folder_of_other_settings_is_refused_and_named(tiny_set, tmp_path, digests):
    shutil.copytree(tiny_set, tmp_path / 'set')
    with pytest.raises(ValueError, match=r'holds a set made with seed 7 instead of 8: give another folder'):
        run(tmp_path / 'set', settings=Settings(size=(64, 48), samples=1, seed=8))
    assert digests(tmp_path / 'set') == digests(tiny_set)
    settings = tmp_path / 'set/settings.json'
    settings.write_text(settings.read_text()[:-9])
    with pytest.raises(ValueError, match=r'set/settings\.json cannot be read as JSON .*: give another folder'):
        run(tmp_path / 'set')
    settings.unlink()
    with pytest.raises(ValueError, match='no settings.json'):
        run(tmp_path / 'set')


def test_a_broken_sample_is_named(tiny_set, tmp_path):
    shutil.copytree(tiny_set, tmp_path / 'set')
    (tmp_path / 'set/samples/000002.json').write_text('{')
    with pytest.raises(ValueError, match=r'samples/000002\.json cannot be read as JSON .*: remove it'):
        run(tmp_path / 'set')


@pytest.mark.parametrize(('options', 'message'), [
    (dict(size=(0, 64)), '--size'), (dict(size=(64, 9000)), '--size'), (dict(samples=0), '--samples'),
    (dict(max_persons=-1), '--max-persons'), (dict(max_persons=5), '--max-persons'), (dict(seed=-1), '--seed'),
    (dict(tasks=()), '--tasks'), (dict(tasks=('colour', )), 'colour'), (dict(framings=('feet', )), '--framing')])
def test_settings_out_of_range_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        Settings(**options)


@pytest.mark.parametrize('options', [dict(num=0), dict(workers=0), dict(shard=(2, 2)), dict(shard=(-1, 2)),
                                     dict(shard=(0, 0))])
def test_numbers_out_of_range_leave_no_folder(tmp_path, options):
    with pytest.raises(ValueError, match=r'--num and --workers|--shard'):
        run(tmp_path / 'set', **options)
    assert not (tmp_path / 'set').exists()


def test_an_unreadable_background_is_named_before_anything_is_written(tmp_path):
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos/broken.jpg').write_bytes(b'no picture')
    with pytest.raises(ValueError, match=r'broken\.jpg'):
        run(tmp_path / 'set', settings=Settings(size=(64, 48), samples=1, backgrounds=str(tmp_path / 'photos')))
    assert not (tmp_path / 'set').exists()


def test_a_full_disk_leaves_nothing_half_written_and_the_sample_can_be_made_again(
        tmp_path, body, wardrobe, digests, monkeypatch):
    sample = make_sample(1, TINY, body, wardrobe, Assets.find(None, None))
    write_sample(sample, 1, tmp_path / 'whole', TINY)
    left = [4]  # files that still fit
    fsync = os.fsync

    def full(file):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(file)

    monkeypatch.setattr(writer.os, 'fsync', full)
    with pytest.raises(OSError, match='the disk is full') as caught:
        write_sample(sample, 1, tmp_path / 'full', TINY)
    assert '\n' not in str(caught.value)
    written = digests(tmp_path / 'full')
    assert len(written) == 4
    assert not any('samples' in name or writer.TEMPORARY in name for name in written)
    monkeypatch.undo()
    write_sample(sample, 1, tmp_path / 'full', TINY)
    assert digests(tmp_path / 'full') == digests(tmp_path / 'whole')


def test_without_mitsuba_nothing_is_begun(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'mitsuba', None)
    with pytest.raises(ImportError, match=r"pip install 'sapiens_mm\[synth\]'") as caught:
        run(tmp_path / 'set')
    assert '\n' not in str(caught.value)
    assert not (tmp_path / 'set').exists()


@pytest.mark.slow
def test_the_error_of_a_worker_reaches_the_caller(tmp_path):
    (tmp_path / 'set').mkdir()
    (tmp_path / 'set/images').write_text('a file where a folder should be')
    with pytest.raises(OSError, match='images'):
        run(tmp_path / 'set', num=1)
    assert not list((tmp_path / 'set').rglob(f'*{writer.TEMPORARY}*'))


def _die(*_):
    os._exit(1)


@pytest.mark.slow
def test_a_worker_that_dies_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(module, '_make_worker', _die)
    with pytest.raises(ChildProcessError):
        list(generate(tmp_path / 'set', 1, TINY))


def test_places_without_people(body, wardrobe):
    sample = make_sample(3, Settings(seed=4, size=(64, 48), samples=1, max_persons=0), body, wardrobe,
                         Assets.find(None, None))
    assert not sample.buffers.person.any()
    assert sample.annotations == []
    assert sample.parameters['people'] == []
    assert {mesh.instance for mesh in sample.meshes} <= {0}
    assert np.ptp(sample.buffers.rgb) > 30
