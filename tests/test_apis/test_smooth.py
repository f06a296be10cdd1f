"""Tests of ``sapiens-mm smooth``."""
import json

import numpy as np
import pytest

from sapiens_mm.apis.smooth import smooth_folder
from sapiens_mm_cli import main

RNG = np.random.default_rng(0)


def write(folder, number, people, **image):
    folder.mkdir(exist_ok=True)
    instances = [dict(category_id=1, bbox=[0, 0, 9, 9], track_id=track, keypoints=list(points))
                 for track, points in people]
    content = dict(image=dict(file='clip.mp4', frame=number, **image), instances=instances)
    (folder / f'{number:06d}.json').write_text(json.dumps(content))


def read(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.iterdir())]


@pytest.fixture
def clip(tmp_path):
    """60 frames of two people who change their order; the first keypoint of one is hidden in frames 30 to 34."""
    for number in range(60):
        points = [[*RNG.normal(100, 3, 2).round(3).tolist(), .1 if point == 0 and 30 <= number < 35 else .9]
                  for point in range(2)]
        people = [(1, sum(points, [])), (2, [7, 7, .9, 8, 8, .9])]
        write(tmp_path / 'clip', number, people[::-1] if number % 2 else people, time=number / 30)
    return tmp_path / 'clip'


def of_track(contents, track):
    return np.array([next(person['keypoints'] for person in content['instances'] if person['track_id'] == track)
                     for content in contents]).reshape(len(contents), -1, 3)


def test_people_are_smoothed_each_on_their_own(clip, tmp_path):
    before = {path.name: path.read_bytes() for path in clip.iterdir()}
    assert smooth_folder(clip, tmp_path / 'out') == (2, 60)
    assert {path.name: path.read_bytes() for path in clip.iterdir()} == before
    old, new = of_track(read(clip), 1), of_track(read(tmp_path / 'out'), 1)
    np.testing.assert_array_equal(new[..., 2], old[..., 2])
    np.testing.assert_array_equal(new[30:35, 0], old[30:35, 0])
    assert new[:, 1, :2].std() < old[:, 1, :2].std() * .8
    np.testing.assert_allclose(of_track(read(tmp_path / 'out'), 2)[..., :2], [[[7, 7], [8, 8]]] * 60, atol=1e-3)
    assert read(tmp_path / 'out')[0]['smoothed'] == dict(filter='butterworth', cutoff=6, order=4, rate=30)


def test_spans_end_where_a_person_is_missing(clip, tmp_path):
    jump = json.loads((clip / '000020.json').read_text())
    jump['instances'] = [person for person in jump['instances'] if person['track_id'] == 2]
    (clip / '000020.json').write_text(json.dumps(jump))
    for number in range(21, 60):
        content = json.loads((clip / f'{number:06d}.json').read_text())
        for person in content['instances']:
            if person['track_id'] == 1:
                person['keypoints'][3] += 1000
        (clip / f'{number:06d}.json').write_text(json.dumps(content))
    smooth_folder(clip, tmp_path / 'out')
    (tmp_path / 'out/000020.json').unlink()
    places = of_track(read(tmp_path / 'out'), 1)[:, 1, 0]
    assert places[:20].max() < 120
    assert places[20:].min() > 1080


def test_openpose_files(tmp_path):
    (tmp_path / 'clip').mkdir()
    for number in range(30):
        points = RNG.normal(50, 3, 2).tolist()
        (tmp_path / f'clip/{number:06d}.json').write_text(json.dumps(dict(version=1.3, people=[dict(
            person_id=[1], pose_keypoints_2d=[*points, 1], face_keypoints_2d=[], pose_keypoints_3d=[])])))
    assert main(['smooth', str(tmp_path / 'clip'), '--out', str(tmp_path / 'out')]) == 2  # no times
    assert main(['smooth', str(tmp_path / 'clip'), '--out', str(tmp_path / 'out'), '--rate', '30']) == 0
    old, new = (np.array([content['people'][0]['pose_keypoints_2d'] for content in read(tmp_path / folder)])
                for folder in ('clip', 'out'))
    assert new[:, 0].std() < old[:, 0].std() * .8
    assert read(tmp_path / 'out')[0]['people'][0]['face_keypoints_2d'] == []


def test_bad_input(clip, tmp_path, capsys):
    def fails(*args):
        assert main(['smooth', str(clip), '--out', str(tmp_path / 'out'), *args]) == 2
        assert not (tmp_path / 'out').exists()
        return capsys.readouterr().err

    assert 'cutoff' in fails('--cutoff', '15')
    assert 'order' in fails('--order', '3')
    assert main(['smooth', str(clip), '--out', str(clip)]) == 2
    write(clip, 60, [(-1, [0, 0, 1])])
    assert '000060.json' in fails()
    (clip / '000060.json').write_text('[]')
    assert '000060.json' in fails()
    (clip / '000060.json').write_text('{')
    assert '000060.json' in fails()
    (clip / '000060.json').rename(clip / 'meta.json')
    assert 'meta.json' in fails()
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='empty'):
        smooth_folder(tmp_path / 'empty', tmp_path / 'out')
