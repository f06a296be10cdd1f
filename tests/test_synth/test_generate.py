"""Sets on disk: bad settings, determinism, shards and continuation."""
import json
import shutil
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('anny')
pytest.importorskip('mitsuba')

from sapiens_mm.synth import generate as module  # noqa: E402
from sapiens_mm.synth.assets import Assets  # noqa: E402
from sapiens_mm.synth.camera import Camera  # noqa: E402
from sapiens_mm.synth.generate import Settings, collect, generate, make_sample, write_sample  # noqa: E402
from sapiens_mm.synth.mesh import rotation_z  # noqa: E402
from sapiens_mm.synth.people import build_person  # noqa: E402
from sapiens_mm.synth.render import label_buffers  # noqa: E402
from sapiens_mm.synth.writer import TEMPORARY  # noqa: E402

from .conftest import workers_in_this_process  # noqa: E402

TINY = Settings(size=(64, 48), samples=1, seed=7)  # the tiny_set's


def run(folder, num=4, settings=TINY, **options) -> list:
    return sorted(index for index, _ in generate(folder, num, settings, **options))


@pytest.fixture
def copied(tiny_set, tmp_path):
    """A copy of the tiny set."""
    return shutil.copytree(tiny_set, tmp_path / 'set')


@pytest.mark.parametrize(('options', 'value'), [
    (dict(size=(0, 64)), r'--size.*\(0, 64\)'), (dict(size=(64, 9000)), r'--size.*\(64, 9000\)'),
    (dict(samples=0), '--samples.*0'), (dict(max_persons=-1), '--max-persons.*-1'),
    (dict(max_persons=5), '--max-persons.*5'), (dict(seed=-1), '--seed.*-1'), (dict(tasks=()), '--tasks.*none'),
    (dict(tasks=('color', )), 'color'), (dict(framings=('feet', )), '--framing.*feet'),
    (dict(poses=('flying', )), '--poses.*flying')])
def test_settings_out_of_range_are_refused_by_name(options, value):
    with pytest.raises(ValueError, match=value):
        Settings(**options)


@pytest.mark.parametrize(('options', 'value'), [
    (dict(num=0), '--num.*0'), (dict(workers=0), '--workers.*0'), (dict(shard=(2, 2)), '--shard.*2/2'),
    (dict(shard=(-1, 2)), '--shard.*-1/2'), (dict(shard=(0, 0)), '--shard.*0/0')])
def test_numbers_out_of_range_leave_no_folder(tmp_path, options, value):
    with pytest.raises(ValueError, match=value):
        run(tmp_path / 'set', **options)
    assert not (tmp_path / 'set').exists()


def test_an_unreadable_background_is_named_before_anything_is_written(tmp_path):
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos/broken.jpg').write_bytes(b'no image')
    with pytest.raises(ValueError, match=r'broken\.jpg'):
        run(tmp_path / 'set', settings=replace(TINY, backgrounds=str(tmp_path / 'photos')))
    assert not (tmp_path / 'set').exists()


@pytest.mark.parametrize('missing', ['mitsuba', 'mitsuba_oidn'])
def test_without_the_renderer_or_the_denoiser_nothing_is_begun(tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"pip install 'sapiens_mm\[synth\]'") as caught:
        run(tmp_path / 'set')
    assert '\n' not in str(caught.value)
    assert not (tmp_path / 'set').exists()


def test_a_folder_of_other_settings_is_refused_and_named(copied, tiny_set, digests):
    with pytest.raises(ValueError, match='seed 7 instead of 8'):
        run(copied, settings=replace(TINY, seed=8))
    assert digests(copied) == digests(tiny_set)
    settings = copied / 'settings.json'
    settings.write_text(settings.read_text()[:-9])
    with pytest.raises(ValueError, match=r'set/settings\.json'):
        run(copied)
    settings.unlink()
    with pytest.raises(ValueError, match=r'settings\.json'):
        run(copied)


def test_a_set_made_before_the_denoiser_is_continued_without_it(copied):
    settings = copied / 'settings.json'
    content = json.loads(settings.read_text())
    del content['denoise']
    settings.write_text(json.dumps(content))
    with pytest.raises(ValueError, match='denoise False instead of True'):
        run(copied)
    assert run(copied, settings=replace(TINY, denoise=False)) == []


def test_a_set_made_before_poses_could_be_chosen_is_continued_with_everyday_ones(copied):
    settings = copied / 'settings.json'
    content = json.loads(settings.read_text())
    del content['poses']
    settings.write_text(json.dumps(content))
    with pytest.raises(ValueError, match='everyday.*athletic'):
        run(copied, settings=replace(TINY, poses=('athletic', )))
    assert run(copied) == []


def test_a_broken_sample_is_named(copied):
    (copied / 'samples/000002.json').write_text('{')
    with pytest.raises(ValueError, match=r'samples/000002\.json'):
        run(copied)


def test_the_error_of_a_worker_reaches_the_caller(tmp_path, body):
    (tmp_path / 'set').mkdir()
    (tmp_path / 'set/images').write_text('a file in place of a folder')
    with pytest.raises(OSError, match='images'), workers_in_this_process():
        run(tmp_path / 'set', num=1)
    assert not list((tmp_path / 'set').rglob(f'*{TEMPORARY}*'))


def test_a_dead_worker_leaves_no_incomplete_file(copied, monkeypatch):
    (copied / 'samples/000002.json').unlink()

    def die(make, items, workers):
        (copied / f'depth/000002.npy{TEMPORARY}1').write_bytes(b'half')
        raise ChildProcessError('a worker died')

    monkeypatch.setattr(module, 'run_in_processes', die)
    with pytest.raises(ChildProcessError, match='a worker died.*same command'):
        run(copied)
    assert not list(copied.rglob(f'*{TEMPORARY}*'))


def test_a_set_has_every_file_of_its_layout(tiny_set):
    for kind, suffix in (('images', '.png'), ('masks', '.png'), ('instances', '.png'), ('parts', '.png'),
                         ('depth', '.npy'), ('normal', '.npy'), ('samples', '.json')):
        assert {path.name for path in (tiny_set / kind).iterdir()} == {f'{i:06d}{suffix}' for i in range(4)}
    assert {path.name for path in (tiny_set / 'annotations').iterdir()} == {
        'person_keypoints.json', 'coco_wholebody.json', 'goliath.json'}
    depth, normal = np.load(tiny_set / 'depth/000000.npy'), np.load(tiny_set / 'normal/000000.npy')
    assert (depth.dtype, depth.shape, normal.dtype, normal.shape) == (np.float32, (64, 48), np.float32, (64, 48, 3))


def test_what_is_missing_or_incomplete_is_made_to_the_same_bytes(tiny_set, copied, digests):
    """By two workers instead of one, in a shard."""
    for name in ('000000', '000002'):
        (copied / f'samples/{name}.json').unlink()
    (copied / 'depth/000002.npy').write_bytes(b'half')
    mine, other = (copied / f'images/{name}.png{TEMPORARY}1' for name in ('000002', '000001'))
    for path in (mine, other):
        path.write_bytes(b'half')
    before = (copied / 'images/000001.png').stat().st_mtime_ns
    assert run(copied, shard=(0, 2), workers=2) == [0, 2]
    assert (copied / 'images/000001.png').stat().st_mtime_ns == before
    assert other.exists()  # another shard's
    other.unlink()
    assert digests(copied) == digests(tiny_set)


def test_shards_are_together_the_whole_set(tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'run_in_processes', lambda make, items, workers: [(index, {}) for index in items])
    assert [run(tmp_path, num=5, shard=(i, 2)) for i in range(2)] == [[0, 2, 4], [1, 3]]


def test_a_finished_set_stays_also_with_a_former_name_of_a_task(tiny_set, copied, digests):
    settings = copied / 'settings.json'
    settings.write_text(settings.read_text().replace('"seg"', '"parts"'))
    before = digests(copied)
    assert run(copied, settings=replace(TINY, tasks=('pose', 'parts', 'depth', 'normal'))) == []
    assert digests(copied) == before
    shutil.rmtree(copied / 'annotations')
    assert collect(copied) == 4
    assert digests(copied) == before


def test_a_sample_depends_on_its_seed_and_number_alone(tiny_set, tmp_path, body, wardrobe, digests):
    """Made in this process, out of order; its other threads may change the last bits."""
    images = [value for name, value in digests(tiny_set).items() if name.startswith('images')]
    assert len(set(images)) == 4
    for index in (3, 1):
        sample = make_sample(index, TINY, body, wardrobe, Assets())
        content = json.loads((tiny_set / f'samples/{index:06d}.json').read_text())
        for mine, theirs in zip(sample.parameters['people'], content['parameters']['people'], strict=True):
            assert mine['pose']['kind'] == theirs['pose']['kind']
            for name in ('phenotypes', 'face', 'complexion', 'yaw', 'position'):
                assert mine[name] == theirs[name]
        depth = np.load(tiny_set / f'depth/{index:06d}.npy')
        assert np.isclose(sample.buffers.person_depth(), depth, rtol=1e-4).mean() > 0.995
    # Another seed gives another image.
    write_sample(make_sample(0, replace(TINY, seed=8), body, wardrobe, Assets()), 0, tmp_path, TINY)
    assert digests(tmp_path)['images/000000.png'] not in images


def test_ids_of_annotations_are_unique(fresh_set):
    content = json.loads((fresh_set / 'annotations/goliath.json').read_text())
    ids = [annotation['id'] for annotation in content['annotations']]
    assert len(set(ids)) == len(ids) > 8


def test_the_parameters_of_a_sample_rebuild_its_people(fresh_set, body, wardrobe):
    """Their landmarks fall on the labels, and their masks are the recorded ones."""
    compared = 0
    for path in sorted((fresh_set / 'samples').iterdir()):
        content = json.loads(path.read_text())
        camera = Camera.from_dict(content['camera'])
        people = [build_person(body, wardrobe, person, rotation_z(np.radians(person['yaw'])),
                               np.array(person['position']), number)
                  for number, person in enumerate(content['parameters']['people'], 1)]
        for annotation in content['annotations']:
            points = np.array(annotation['landmarks'])
            uv, _ = camera.project(people[annotation['instance'] - 1].landmarks)
            labeled = points[:, 2] > 0
            assert np.linalg.norm(uv[labeled] - points[labeled, :2], axis=1).max(initial=0) < 0.5
            compared += labeled.sum()
        if path.stem in ('000002', '000006'):  # nobody sits: no seat hides anybody
            part = label_buffers([mesh for person in people for mesh in person.meshes], camera).part
            recorded = np.asarray(Image.open(fresh_set / f'parts/{path.stem}.png'))
            assert (part == recorded)[recorded > 0].mean() > 0.98  # furniture may hide more
    assert compared > 1500


def test_no_camera_touches_a_person(body):
    """Nor one who stands beside the face that it frames."""
    other = body.rest.moved(np.eye(3), np.array([0.3, -0.3, 0.0]))
    for seed in range(5):
        camera, view = module._draw_camera(np.random.default_rng(seed), 'face', body, [
            SimpleNamespace(body=body.rest), SimpleNamespace(body=other)], (48, 64), -1.0)
        local = camera.transform(np.concatenate([posed.vertices[body.skin_vertices] for posed in (body.rest, other)]))
        assert np.linalg.norm(local[local[:, 2] > 0], axis=1).min() >= module._NEAREST_CAMERA
        assert view['focal'] < 20


def test_no_camera_looks_from_under_the_ground(body):
    """Here the ground lies a meter above the feet, so that most would."""
    floor = float(body.rest.vertices[body.skin_vertices, 2].min()) + 1
    for seed in range(5):
        camera, view = module._draw_camera(
            np.random.default_rng(seed), 'full_body', body, [SimpleNamespace(body=body.rest)], (48, 64), floor)
        assert camera.center[2] >= floor + 0.1
        assert view['elevation'] < 40


def test_framings_show_what_their_names_say(fresh_set):
    framings = set()
    for path in sorted((fresh_set / 'samples').iterdir()):
        content = json.loads(path.read_text())
        first = next(annotation for annotation in content['annotations'] if annotation['instance'] == 1)
        points = np.array(first['landmarks'])
        framing = content['parameters']['framing']
        framings.add(framing)
        assert (points[70:308, 2] > 0).mean() > 0.9  # the face
        assert set(points[[13, 14], 2] > 0) == {framing == 'full_body'}  # the ankles
    assert framings == {'full_body', 'upper_body', 'face'}


def test_only_the_requested_labels_are_written(tmp_path, body, wardrobe):
    settings = replace(TINY, tasks=('pose', 'depth'), framings=('face', ), max_persons=1)
    sample = make_sample(0, settings, body, wardrobe, Assets())
    write_sample(sample, 0, tmp_path, settings)
    assert {path.name for path in tmp_path.iterdir()} == {'images', 'masks', 'instances', 'depth', 'samples'}
    assert sample.parameters['framing'] == 'face'
    assert len(sample.people) == 1


def test_places_without_people(body, wardrobe):
    sample = make_sample(3, replace(TINY, seed=4, max_persons=0), body, wardrobe, Assets())
    assert not sample.buffers.person.any()
    assert sample.annotations == sample.parameters['people'] == []
    assert {mesh.instance for mesh in sample.meshes} <= {0}
    assert np.ptp(sample.buffers.rgb) > 30
