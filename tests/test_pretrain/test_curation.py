"""Tests of the selection of images of people from shards."""
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from sapiens_mm.pretrain.curation import (
    Rules,
    check_names,
    curate_shard,
    merge_reports,
    read_boxes,
    shard_name,
)
from sapiens_mm.pretrain.sources import TarSource

from .conftest import gray_png, write_tar

LARGE, SMALL = [10, 20, 311, 321, .95], [10, 20, 311, 320, .95]  # 301 x 301 and 301 x 300 pixels
UNSURE = [10, 20, 400, 500, .9]
DEEP = '[' * 100_000  # JSON that is nested too deeply
PEOPLE = {'00': [LARGE], '01': [LARGE, SMALL, UNSURE, LARGE], '02': [UNSURE], '03': [SMALL], '04': [], '05': [LARGE]}
RULES = Rules()


def read_tar(path):
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def samples(keys=PEOPLE, scores=None):
    """Image, caption and metadata of samples, like img2dataset's."""
    members = {}
    for key in keys:
        record = dict(key=key, **({'pwatermark': scores[key]} if scores and key in scores else {}))
        members |= {f'{key}.JPG': gray_png(int(key)), f'{key}.txt': key.encode(),
                    f'{key}.json': json.dumps(record).encode()}
    return members


def detect(images, keys, people=PEOPLE):
    assert all(image.dtype == np.uint8 and image.shape == (4, 4, 3) for image in images)
    return [np.array(people[key.rpartition('/')[2]], np.float32).reshape(-1, 5) for key in keys]


def curate(url, out, rules=RULES, detect=detect, **kwargs):
    report = curate_shard(url, out, rules, detect, **kwargs)
    assert report == json.loads((Path(out) / f'{shard_name(url)}.json').read_text())
    return report


# Bad input


@pytest.mark.parametrize('rules', [dict(min_score=1), dict(min_score=float('nan')), dict(min_side=-1),
                                   dict(max_scores=dict(pwatermark=float('nan')))])
def test_rules_out_of_range(rules):
    with pytest.raises(ValueError, match='nan|1|-1'):
        Rules(**rules)


@pytest.mark.parametrize('url', ['folder/', 'x.zip', 'a/report.tar'])
def test_shards_without_a_name(url):
    with pytest.raises(ValueError, match=url):
        shard_name(url)


def test_repeated_shard_names():
    check_names(['a/0.tar', 'a/1.tar'])
    with pytest.raises(ValueError, match=r'0\.tar'):
        check_names(['a/0.tar', 'b/0.tar'])


@pytest.mark.parametrize('line', [DEEP, '\udcff{}', '{', '[]', '{"key": "0"}', '{"key": "0", "boxes": [[1, 2, 3, 4]]}',
                                  '{"key": "0", "boxes": ["a"]}', '{"boxes": []}', '{"key": "1", "boxes": []}',
                                  '{"key": "0", "boxes": [[400, 9, 200, 300, 1]]}',
                                  '{"key": "0", "boxes": [[0, 0, NaN, 9, 1]]}',
                                  '{"key": "0", "boxes": [[0, 0, 9, 9, 97]]}'])
def test_malformed_boxes(tmp_path, line):
    path = tmp_path / 'boxes.jsonl'
    path.write_bytes(('{"key": "1", "boxes": []}\n' + line).encode(errors='surrogateescape'))
    with pytest.raises(ValueError, match='boxes.jsonl, line 2: [^\n]*$'):
        read_boxes(path)


def test_a_damaged_shard_fails_and_is_tried_again(tmp_path):
    url = write_tar(tmp_path / '0.tar', samples())
    whole = Path(url).read_bytes()
    for content in (whole[:len(whole) // 3 + 100], whole[:tarfile.BLOCKSIZE * 2], b'', bytes(1 << 16),
                    whole + bytes(2 << 20)):
        Path(url).write_bytes(content)
        report = curate(url, tmp_path / 'out')
        assert not report['done']
        assert url in report['failed']
        assert os.listdir(tmp_path / 'out') == ['0.json']
    total = merge_reports(tmp_path / 'out')
    assert (total['shards'], total['images'], list(total['failed'])) == (0, 0, ['0'])
    Path(url).write_bytes(whole)
    assert curate(url, tmp_path / 'out')['done']


def test_a_done_shard_of_other_settings_is_refused(tmp_path):
    url = write_tar(tmp_path / '0.tar', samples())
    curate(url, tmp_path / 'out', detector='a')
    before = {path.name: path.read_bytes() for path in (tmp_path / 'out').iterdir()}
    with pytest.raises(ValueError, match='0.json.* min_side 300.0 instead of 200.* detector a instead of b'):
        curate(url, tmp_path / 'out', Rules(min_side=200), detector='b')
    (tmp_path / 'other').mkdir()
    other = write_tar(tmp_path / 'other/0.tar', samples())
    with pytest.raises(ValueError, match='0.json.* shard .*0.tar instead of .*other/0.tar'):
        curate(other, tmp_path / 'out', detector='a')
    assert {path.name: path.read_bytes() for path in (tmp_path / 'out').iterdir()} == before
    curate(write_tar(tmp_path / '1.tar', samples()), tmp_path / 'out')
    with pytest.raises(ValueError, match='1.json.* detector  instead of a'):
        merge_reports(tmp_path / 'out')


def test_folders_with_other_files(tmp_path):
    url = write_tar(tmp_path / '0.tar', samples())
    with pytest.raises(ValueError, match='0.tar'):
        curate(url, tmp_path)
    with pytest.raises(ValueError, match=tmp_path.name):
        merge_reports(tmp_path)
    for content in ('{', '[]', '{"captions": []}', DEEP):
        (tmp_path / 'out').mkdir(exist_ok=True)
        (tmp_path / 'out/0.json').write_text(content)
        with pytest.raises(ValueError, match='0.json'):
            curate(url, tmp_path / 'out')
        with pytest.raises(ValueError, match='0.json'):
            merge_reports(tmp_path / 'out')


# Rules


@pytest.mark.parametrize(('boxes', 'rule', 'persons'), [
    (None, 'missing boxes', 0), ([], 'no person', 0), ([UNSURE], 'low score', 0), ([SMALL], 'small box', 0),
    ([SMALL, UNSURE], 'small box', 0), ([LARGE], None, 1), ([SMALL, LARGE, LARGE], None, 2)])
def test_boxes_that_count(boxes, rule, persons):
    boxes = boxes if boxes is None else np.array(boxes, np.float32).reshape(-1, 5)
    assert RULES.judge_boxes(boxes) == (rule, persons)


@pytest.mark.parametrize(('value', 'rule'), [
    (.8, None), (0, None), (.81, 'text'), (None, 'missing text'), ('.1', 'missing text'), (True, 'missing text'),
    (float('nan'), 'missing text')])
def test_score_columns(value, rule):
    assert Rules(max_scores=dict(text=.8)).judge_scores(dict(text=value).get) == rule


def test_kept_samples_stay_unchanged(tmp_path):
    members = samples()
    members['notes'] = b'belong to no sample'
    url = write_tar(tmp_path / '0.tar', members)
    report = curate(url, tmp_path / 'out', batch_size=4)
    kept = read_tar(tmp_path / 'out/0.tar')
    added = {name: json.loads(kept.pop(name)) for name in list(kept) if name.endswith('persons.json')}
    assert list(kept.items()) == [(name, data) for name, data in samples(['00', '01', '05']).items()]
    assert added['01.persons.json'] == dict(persons=2, boxes=PEOPLE['01'])
    assert (report['images'], report['kept'], report['persons']) == (6, 3, {'1': 2, '2': 1})
    assert {rule: number for rule, number in report['dropped'].items() if number} == {
        'low score': 1, 'small box': 1, 'no person': 1}


def test_curating_again_keeps_the_bytes(tmp_path):
    url = write_tar(tmp_path / '0.tar', samples())
    first = curate(url, tmp_path / 'a')
    again = curate(str(tmp_path / 'a/0.tar'), tmp_path / 'b', batch_size=1)
    assert (again['images'], again['kept']) == (first['kept'], first['kept'])
    assert (tmp_path / 'a/0.tar').read_bytes() == (tmp_path / 'b/0.tar').read_bytes()


def test_unreadable_images_are_counted(tmp_path):
    members = samples(['00', '01', '02'])
    del members['00.JPG']
    members['01.JPG'] = members['01.JPG'][:40]
    report = curate(write_tar(tmp_path / '0.tar', members), tmp_path / 'out')
    assert (report['dropped']['no image'], report['dropped']['unreadable image']) == (1, 1)
    assert report['kept'] == 0
    assert os.listdir(tmp_path / 'out') == ['0.json']  # a tar file without images would stop pretraining


def test_one_key_twice_is_two_samples(tmp_path):
    members = {'00.png': gray_png(1), '01.png': gray_png(2), './00.png': gray_png(3)}
    url = write_tar(tmp_path / '0.tar', members)
    assert curate(url, tmp_path / 'out')['persons'] == {'1': 2, '2': 1}


@pytest.mark.parametrize('kind', ['member', 'parquet', 'jsonl'])
def test_scores_from_a_file(tmp_path, kind):
    scores = {'00': .9, '01': .5, '02': .5, '03': .5, '05': None}
    url = write_tar(tmp_path / '0.tar', samples(scores=scores if kind == 'member' else None))
    rows = [dict(key=key, pwatermark=value, url='x') for key, value in scores.items()]
    if kind == 'parquet':
        pyarrow = pytest.importorskip('pyarrow')
        from pyarrow import parquet
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / '0.parquet')
    elif kind == 'jsonl':
        (tmp_path / '0.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    asked = []

    def spy(images, keys):
        asked.extend(keys)
        return detect(images, keys)

    report = curate(url, tmp_path / 'out', Rules(max_scores=dict(pwatermark=.8)), spy)
    assert asked == ['01', '02', '03']  # detection skips samples that a score drops
    assert (report['dropped']['pwatermark'], report['dropped']['missing pwatermark']) == (1, 2)
    assert report['kept'] == 1


def test_the_samples_own_score_comes_first(tmp_path):
    url = write_tar(tmp_path / '0.tar', samples(['00', '01'], {'00': .1}))
    (tmp_path / '0.jsonl').write_text('{"key": "00", "pwatermark": 1}\n{"key": "01", "pwatermark": 0.2}\n')
    assert curate(url, tmp_path / 'out', Rules(max_scores=dict(pwatermark=.8)))['kept'] == 2


def test_a_column_that_no_sample_has_fails_the_shard(tmp_path):
    url = write_tar(tmp_path / '0.tar', samples())
    report = curate(url, tmp_path / 'out', Rules(max_scores=dict(watermark=.8)))
    assert "'watermark'" in report['failed']
    report = curate(url, tmp_path / 'out', detect=lambda images, keys: [None] * len(keys))
    assert "'boxes'" in report['failed']


@pytest.mark.parametrize(('ending', 'content'), [
    ('jsonl', DEEP.encode()), ('jsonl', b'{'), ('jsonl', b'[1]'), ('jsonl', b'{"url": 1}'), ('parquet', b'none')])
def test_a_damaged_table_of_scores_fails_the_shard(tmp_path, ending, content):
    if ending == 'parquet':
        pytest.importorskip('pyarrow')
    url = write_tar(tmp_path / '0.tar', samples())
    (tmp_path / f'0.{ending}').write_bytes(content)
    failed = curate(url, tmp_path / 'out', Rules(max_scores=dict(text=.8)))['failed']
    assert f'0.{ending}' in failed
    assert '\n' not in failed


def test_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    url = write_tar(tmp_path / '0.tar', samples())
    (tmp_path / '0.parquet').touch()
    with pytest.raises(ImportError, match="'sapiens_mm.pretrain.'"):
        curate(url, tmp_path / 'out', Rules(max_scores=dict(text=.8)))
    assert os.listdir(tmp_path / 'out') == []


def test_boxes_from_a_file(tmp_path):
    url = write_tar(tmp_path / '0.tar', {f'./{name}': data for name, data in samples().items()})
    path = tmp_path / 'boxes.jsonl'
    path.write_text('\n'.join(json.dumps(dict(key=key, boxes=boxes)) for key, boxes in PEOPLE.items() if key != '05'))
    report = curate(url, tmp_path / 'out', detect=read_boxes(path))
    assert report['dropped'] == {'no image': 0, 'unreadable image': 0, 'missing boxes': 1, 'no person': 1,
                                 'low score': 1, 'small box': 1}
    assert report['persons'] == {'1': 1, '2': 1}


# Starting again


def test_finished_shards_are_not_read_again(tmp_path, monkeypatch):
    url = write_tar(tmp_path / '0.tar', samples())
    monkeypatch.chdir(tmp_path)
    first = curate('0.tar', 'out')
    Path(url).unlink()
    assert curate_shard(url, tmp_path / 'out', RULES, detect=None) == first


def test_an_error_of_the_detector_leaves_nothing(tmp_path):
    url = write_tar(tmp_path / '0.tar', samples())

    def broken(images, keys):
        if '02' in keys:
            raise RuntimeError('out of memory')
        return detect(images, keys)

    with pytest.raises(RuntimeError, match='out of memory'):
        curate(url, tmp_path / 'out', detect=broken, batch_size=1)
    assert os.listdir(tmp_path / 'out') == []


def test_killed_within_a_shard(tmp_path):
    """What a killed process leaves does not count, even if samples are on the disk already."""
    url = write_tar(tmp_path / '0.tar', samples())
    code = f"""
import sys, time, numpy as np
from sapiens_mm.pretrain.curation import Rules, curate_shard
def slow(images, keys):
    if '05' in keys:
        print('begun', flush=True)
        time.sleep(60)
    return [np.array([{LARGE}], np.float32) for _ in keys]
curate_shard({url!r}, {str(tmp_path / 'out')!r}, Rules(), slow, batch_size=1)
"""
    process = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b'begun\n'
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert os.listdir(tmp_path / 'out') == ['0.tar.part']
    with pytest.raises(ValueError, match='out'):
        merge_reports(tmp_path / 'out')
    curate(url, tmp_path / 'out')
    curate(url, tmp_path / 'whole')
    assert sorted(os.listdir(tmp_path / 'out')) == ['0.json', '0.tar']
    assert (tmp_path / 'out/0.tar').read_bytes() == (tmp_path / 'whole/0.tar').read_bytes()


def test_killed_between_tar_and_report(tmp_path, monkeypatch):
    url = write_tar(tmp_path / '0.tar', samples())
    with monkeypatch.context() as patch:
        patch.setattr('sapiens_mm.pretrain.curation.shards.write_report', lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            curate(url, tmp_path / 'out')
    assert os.listdir(tmp_path / 'out') == ['0.tar']
    assert curate(url, tmp_path / 'out')['done']


# Totals


def test_totals(tmp_path):
    many = {f'{10 + i}': [LARGE] * (1 + i) for i in range(30)}
    curate(write_tar(tmp_path / '0.tar', samples()), tmp_path / 'out')
    curate(write_tar(tmp_path / '1.tar', samples(many)), tmp_path / 'out',
           detect=lambda images, keys: detect(images, keys, many))
    (tmp_path / '2.tar').write_bytes(b'none')
    curate(str(tmp_path / '2.tar'), tmp_path / 'out')
    total = merge_reports(tmp_path / 'out')
    assert (total['shards'], total['images'], total['kept'], list(total['failed'])) == (2, 36, 33, ['2'])
    assert total['persons'] == {'1': 3, '2': 2, **{str(number): 1 for number in range(3, 31)}}
    assert total['dropped']['no person'] == 1
    assert sum(total['dropped'].values()) == 3
    assert merge_reports(tmp_path / 'out') == total == json.loads((tmp_path / 'out/report.json').read_text())
    assert cv2.imread(str(tmp_path / 'out/report.png')).shape[1] == 1210


def test_postscript_in_a_shard_is_unreadable(postscript, tmp_path):
    url = write_tar(tmp_path / '0.tar', {'00.jpg': postscript, **samples(['05'])})
    assert curate(url, tmp_path / 'out')['dropped']['unreadable image'] == 1


@pytest.mark.parametrize('content', [DEEP.encode(), b'{"a":' * 100_000, b'\xff\xfe', b'9' * 5000, b'[]', b''])
def test_a_sample_whose_json_cannot_be_read_is_dropped_and_counted(tmp_path, content):
    members = {**samples(['00', '05'], {'00': .1, '05': .1}), '00.json': content}
    report = curate(write_tar(tmp_path / '0.tar', members), tmp_path / 'out', Rules(max_scores=dict(pwatermark=.8)))
    assert (report['done'], report['kept'], report['dropped']['missing pwatermark']) == (True, 1, 1)


@pytest.mark.parametrize('name', [
    'pipe:touch ran;.tar', 'pipe:touch ran;{0..3}.tar', '-.tar', '{00..03}.tar', 'a?b.tar', 'gs:.tar', 'a\nb.tar'])
def test_a_file_is_a_file_whatever_its_name(tmp_path, monkeypatch, name):
    (tmp_path / 'shards').mkdir()
    monkeypatch.chdir(tmp_path / 'shards')
    write_tar(tmp_path / 'shards' / name, samples())
    rows = ''.join(json.dumps(dict(key=key, pwatermark=.1)) + '\n' for key in PEOPLE)
    (tmp_path / 'shards' / f'{name[:-4]}.jsonl').write_text(rows)
    for given in ('.', name, [name]):
        url, = TarSource(given).urls
        out = tmp_path / f'out{type(given)}{given == "."}'
        report = curate(url, out, Rules(max_scores=dict(pwatermark=.8)))
        assert (report['done'], report['kept']) == (True, 3)
    assert not (tmp_path / 'shards/ran').exists()


def test_commands_need_a_switch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_tar(tmp_path / '0.tar', samples())
    command = f'pipe:touch ran; cat {path}'
    report = curate(command, tmp_path / 'out')
    assert not report['done']
    assert 'allow_pipes=True' in report['failed']
    assert not (tmp_path / 'ran').exists()
    assert curate(command, tmp_path / 'out', allow_pipes=True)['kept'] == 3
    assert (tmp_path / 'ran').exists()
