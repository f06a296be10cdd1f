"""Tests of tables, archives and COCO annotations of many images."""
import json
import tarfile
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from sapiens_mm.apis import Result, collect
from sapiens_mm.apis.collect import Ended
from sapiens_mm.apis.frames import Source
from sapiens_mm.apis.result_files import ResultFiles
from sapiens_mm.apis.writer import ResultWriter
from sapiens_mm.formats import coco
from sapiens_mm.vocabularies.body_parts import PART_COLORS, PART_NAMES
from sapiens_mm.vocabularies.keypoints import KEYPOINT_NAMES

parquet = pytest.importorskip('pyarrow.parquet')
NAMES = list(KEYPOINT_NAMES['coco'])


def make_result(name, people=1, kind='image', index=None):
    rng = np.random.default_rng(len(name) + (index or 0))
    boxes = np.column_stack([rng.uniform(0, 20, (people, 2)), rng.uniform(20, 40, (people, 2)), np.full(people, .9)])
    return Result(
        Source(f'/data/{name}', name, kind), np.zeros((41, 61, 3), np.uint8), index, 10., boxes.astype(np.float32),
        None if index is None else np.arange(people) + 5, rng.uniform(0, 40, (people, 17, 2)).astype(np.float32),
        rng.uniform(0, 1, (people, 17)).astype(np.float32), dict(parts=np.ones((41, 61), np.uint8)),
        dict(pose=dict(keypoint_id2name=dict(enumerate(NAMES)), keypoint_name2id={}),
             seg=dict(classes=PART_NAMES, palette=PART_COLORS)))


def video(number, name='clip.mp4'):
    source = Source(f'/data/{name}', name, 'video')
    return [replace(make_result(name, 2, 'video', index), source=source) for index in range(number)]


def read(folder, name=''):
    return [parquet.read_table(folder / f'{table}{name}.parquet').to_pylist() for table in ('people', 'images')]


def write(folder, kinds, results, broken=(), **kwargs):
    with ResultWriter(folder, kinds, **kwargs) as writer:
        for result in results:
            writer.write(result)
        for name in broken:
            writer.mark_broken(Source(f'/data/{name}', name), 'no image')


def test_frames_after_one_that_cannot_be_written_are_in_the_tables(tmp_path, monkeypatch):
    write_to = ResultFiles._write_to

    def fail(path, *values):
        if path.endswith('000001.json'):
            raise OSError(5, 'Input/output error')
        write_to(path, *values)

    monkeypatch.setattr(ResultFiles, '_write_to', staticmethod(fail))
    errors = []
    write(tmp_path, ['parquet'], video(4), on_error=lambda source, error: errors.append(source.name))
    people, images = read(tmp_path)
    assert errors == ['clip.mp4']
    assert sorted(row['frame'] for row in people) == [0, 0, 2, 2, 3, 3]
    assert [(row['frame'], row['error']) for row in images] == [
        (0, None), (2, None), (3, None), (None, 'Input/output error')]


def names_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file())


def test_tables_hold_what_json_does(tmp_path):
    results = [make_result('a b/ü.jpg', 2), make_result('b.jpg', 0), *video(3)]
    write(tmp_path, ['parquet', 'json'], results, ['broken.jpg'])
    people, images = read(tmp_path)
    expected = [(result, person) for result in results for person in range(len(result.boxes))]
    assert len(people) == len(expected) == 8
    for row, (result, person) in zip(people, expected):
        content = json.loads((tmp_path / f'{result.name}.json').read_text())
        instance = content['instances'][person]
        assert (row['image'], row['frame'], row['person']) == (result.source.name, result.index, person)
        assert (row['width'], row['height'], row['time']) == (61, 41, content['image'].get('time'))
        assert row['track_id'] == instance.get('track_id')
        triples = np.float32(instance['keypoints']).reshape(17, 3)
        assert np.array_equal(np.float32(row['keypoints']), triples[:, :2].ravel())
        assert np.array_equal(np.float32(row['keypoint_scores']), triples[:, 2])
        assert np.array_equal(np.float32(row['bbox']), np.float32(instance['bbox']))
    assert {(row['image'], row['frame'], row['people'], row['error']) for row in images} == {
        ('a b/ü.jpg', None, 2, None), ('b.jpg', None, 0, None), *(('clip.mp4', index, 2, None) for index in range(3)),
        ('broken.jpg', None, None, 'no image')}
    assert len(images) == 6
    schema = parquet.read_schema(tmp_path / 'people.parquet')
    assert json.loads(schema.metadata[b'keypoint_names']) == NAMES
    assert [0, 1] in [sorted(link) for link in json.loads(schema.metadata[b'skeleton'])]
    assert schema.field('keypoints').type.list_size == 34
    assert not (tmp_path / '.unfinished').exists()


def test_a_table_alone_leaves_no_file_for_each_image(tmp_path):
    write(tmp_path, ['parquet'], [make_result('a.jpg'), *video(2)])
    assert names_in(tmp_path) == ['clip.mp4.json', 'images.parquet', 'people.parquet']
    writer = ResultWriter(tmp_path, ['parquet'], resume=True)
    assert writer.is_done(Source('', 'a.jpg'))
    assert writer.is_done(Source('', 'clip.mp4', 'video'))
    assert not writer.is_done(Source('', 'b.jpg'))


def test_nobody_at_all(tmp_path):
    write(tmp_path, ['parquet', 'tar', 'coco'], [make_result('a.jpg', 0)])
    people, images = read(tmp_path)
    assert people == []
    assert [row['people'] for row in images] == [0]


def test_only_broken_images(tmp_path):
    write(tmp_path, ['parquet', 'tar', 'coco'], [], ['a.jpg'])
    people, images = read(tmp_path)
    assert people == []
    assert [(row['image'], row['error']) for row in images] == [('a.jpg', 'no image')]
    write(tmp_path, ['parquet', 'tar', 'coco'], [make_result('a.jpg')], resume=True)
    people, images = read(tmp_path)
    assert len(people) == 1
    assert [(row['image'], row['error']) for row in images] == [('a.jpg', None)]


@pytest.mark.parametrize('kinds', [['parquet', 'tar', 'coco'], ['tar'], ['coco', 'parquet']])
@pytest.mark.parametrize('moment', ['staged', 'tables', 'archive', 'lines', 'deleted', 'merged'])
def test_a_killed_run_is_resumed(tmp_path, monkeypatch, kinds, moment):
    """Nothing is lost or doubled, whenever the process ends."""
    first, second = [make_result('a.jpg'), *video(3)], [make_result('b.jpg', 2), make_result('c.jpg')]

    def die(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == 'staged':
            patch.setattr(collect.Collector, 'flush', die)
        elif moment == 'deleted':
            patch.setattr(collect.Collector, '_remove', die)
        elif moment == 'merged':
            patch.setattr(collect, 'remove', lambda path: die() if path.endswith('.people.parquet') else None)
        else:
            after = dict(tables='_write_tables', archive='_write_archive', lines='_note')[moment]
            method = getattr(collect.Collector, after)
            patch.setattr(collect.Collector, after, lambda self, *args: (method(self, *args), self._pending and die()))
        with suppress(KeyboardInterrupt):
            write(tmp_path, kinds, first)
    writer = ResultWriter(tmp_path, kinds, resume=True)
    sources = {result.source.name: result.source for result in first}.values()
    assert all(map(writer.is_done, sources))
    with ResultWriter(tmp_path, kinds, resume=True) as writer:
        writer.ended += [Ended(source) for source in sources if writer.files.is_staged(source)]
        for result in second:
            writer.write(result)
    if 'parquet' in kinds:
        people, images = read(tmp_path)
        assert sorted((row['image'], row['frame'] or 0, row['person']) for row in people) == [
            ('a.jpg', 0, 0), ('b.jpg', 0, 0), ('b.jpg', 0, 1), ('c.jpg', 0, 0),
            *(('clip.mp4', index, person) for index in range(3) for person in range(2))]
        assert len(images) == 6
    if 'tar' in kinds:
        keys = sorted(sample[0] for sample in samples(tmp_path))
        assert keys == ['a', 'b', 'c', *(f'clip.mp4.frames/00000{index}' for index in range(3))]
    if 'coco' in kinds:
        assert len(list(coco.read(tmp_path / 'coco.json'))) == 6
    assert not (tmp_path / '.unfinished').exists()


def samples(folder):
    found = []
    for path in sorted(folder.glob('*.tar')):
        lines = [json.loads(line) for line in path.with_suffix('.jsonl').read_text().splitlines()]
        with tarfile.open(path) as archive:
            members = {member.name: archive.extractfile(member).read() for member in archive}
        for line in lines:
            key = line['key']
            found.append((key, line['image'], {name[len(key):]: data for name, data in members.items()
                                               if name.startswith(f'{key}.')}))
        assert sum(len(sample[2]) for sample in found[-len(lines):]) == len(members)
    return found


def test_an_archive_has_the_files_of_other_kinds(tmp_path):
    pytest.importorskip('webdataset')
    from webdataset.tariterators import group_by_keys, tar_file_iterator
    names = ['a.jpg', 'a.png', 'x/a.jpg', 'v1.2 ü.jpg', '.hidden.jpg', 'nothing', f'{"long" * 30}.jpg']
    write(tmp_path / 'files', ['json', 'png', 'npz'], map(make_result, names))
    write(tmp_path / 'tar', ['json', 'png', 'npz', 'matte', 'tar'], map(make_result, names))
    assert names_in(tmp_path / 'tar') == ['samples-00000.jsonl', 'samples-00000.tar']
    found = samples(tmp_path / 'tar')
    assert [(key, image) for key, image, _ in found] == [
        ('a', 'a.jpg'), ('a_png', 'a.png'), ('x/a', 'x/a.jpg'), ('v1_2 ü', 'v1.2 ü.jpg'), ('_hidden', '.hidden.jpg'),
        ('nothing', 'nothing'), ('long' * 30, f'{"long" * 30}.jpg')]
    for _, image, files in found:
        for suffix in ('.json', '.parts.png', '.npz'):
            assert files[suffix] == (tmp_path / 'files' / f'{image}{suffix}').read_bytes()
        assert '.matte.png' in files
    with open(tmp_path / 'tar/samples-00000.tar', 'rb') as file:
        grouped = list(group_by_keys(dict(member, __url__='') for member in tar_file_iterator(file)))
    assert [sample['__key__'] for sample in grouped] == [key for key, _, _ in found]
    assert set(grouped[0]) >= {'json', 'parts.png', 'npz'}


def test_archives_are_split(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, '_MOST_RESULTS', 2)
    write(tmp_path, ['tar', 'parquet'], [make_result(f'{number}.jpg') for number in range(5)])
    assert len(list(tmp_path.glob('samples-*.tar'))) == 3
    assert [key for key, _, _ in samples(tmp_path)] == list('01234')
    people, _ = read(tmp_path)
    assert [row['image'] for row in people] == [f'{number}.jpg' for number in range(5)]


def test_shards_have_their_own_files(tmp_path):
    (tmp_path / 'images_of_mine.parquet').touch()
    for index in range(2):
        write(tmp_path, ['parquet', 'tar', 'coco'], [make_result(f'{index}.jpg')], shard=(index, 2))
    assert [name for name in names_in(tmp_path) if '00001-of-00002' in name] == [
        f'{name}-00001-of-00002{ending}' for name, ending in (
            ('coco', '.json'), ('coco', '.jsonl'), ('images', '.parquet'), ('people', '.parquet'),
            ('samples', '-00000.jsonl'), ('samples', '-00000.tar'))]
    assert [row['image'] for row in read(tmp_path, '-00001-of-00002')[0]] == ['1.jpg']
    for kwargs in ({}, dict(shard=(0, 2)), dict(shard=(0, 3))):
        with pytest.raises(ValueError, match='resume'):
            ResultWriter(tmp_path, ['parquet'], **kwargs)
        with pytest.raises(ValueError, match='resume'):
            ResultWriter(tmp_path, ['tar'], **kwargs)
    writer = ResultWriter(tmp_path, ['parquet', 'tar', 'coco'], resume=True)  # as one run
    assert all(writer.is_done(Source('', f'{index}.jpg')) for index in range(2))


def test_unfinished_results_of_another_number_of_shards(tmp_path):
    (tmp_path / '.unfinished-00000-of-00002/results').mkdir(parents=True)
    for kwargs in ({}, dict(resume=True), dict(shard=(0, 3))):
        with pytest.raises(ValueError, match='unfinished'):
            ResultWriter(tmp_path, ['parquet'], **kwargs)
    ResultWriter(tmp_path, ['parquet'], shard=(1, 2))
    with pytest.raises(ValueError, match='resume'):
        ResultWriter(tmp_path, ['parquet'], shard=(0, 2))
    ResultWriter(tmp_path, ['json'])


def test_one_keypoint_set(tmp_path):
    write(tmp_path, ['parquet', 'coco'], [make_result('a.jpg')])
    for kind in ('parquet', 'coco'):
        writer = ResultWriter(tmp_path, [kind], resume=True)
        writer.collector.expect(NAMES)
        for names in (None, ['nose']):
            with pytest.raises(ValueError, match='17'):
                writer.collector.expect(names)
    with pytest.raises(ValueError, match='openpose'):
        ResultWriter(tmp_path, ['parquet'], 'openpose')


def test_a_broken_video_and_the_resumed_run(tmp_path):
    for kinds in (['parquet'], ['parquet', 'tar']):
        folder = tmp_path / '-'.join(kinds)
        with ResultWriter(folder, kinds) as writer:
            for result in video(2):
                writer.write(result)
            writer.mark_broken(result.source, 'truncated')
        _, images = read(folder)
        assert [(row['frame'], row['error']) for row in images] == [(0, None), (1, None), (None, 'truncated')]
        assert not ResultWriter(folder, kinds, resume=True).is_done(result.source)
        assert not list(folder.glob('*.tar'))
        write(folder, kinds, video(3), resume=True)
        people, images = read(folder)
        assert [(row['frame'], row['error']) for row in images] == [(0, None), (1, None), (2, None)]
        assert len(people) == 6
        assert 'tar' not in kinds or len(samples(folder)) == 3
        assert not (folder / '.unfinished').exists()


def test_a_full_disk_keeps_what_is_staged(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, 'No space left on device')

    errors = []
    with monkeypatch.context() as patch:
        patch.setattr(collect.tables, 'write_part', full)
        write(tmp_path, ['parquet'], [make_result('a.jpg')], on_error=lambda source, error: errors.append(error.errno))
    assert set(errors) == {28}
    assert not (tmp_path / 'people.parquet').exists()
    assert ResultWriter(tmp_path, ['parquet'], resume=True).files.is_staged(Source('', 'a.jpg'))


def test_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'pyarrow', None)
    with pytest.raises(ValueError, match=r'pip install .*scale'):
        ResultWriter(tmp_path, ['parquet'])
