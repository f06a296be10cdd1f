"""Tests of `convert`."""
import json

import cv2
import numpy as np
import pytest

from sapiens_mm.formats import coco, label_studio
from sapiens_mm.formats.labels import keypoint_set, select
from sapiens_mm.vocabularies.keypoints import KEYPOINT_NAMES
from sapiens_mm_cli import main

from ..test_formats.conftest import FIVE, assert_equal, make_labels


def write_results(folder, labels):
    """Writes labels as `run` does."""
    for image in labels:
        instances = [dict(
            category_id=1, bbox=[*person.box[:2].tolist(), *(person.box[2:] - person.box[:2]).tolist()],
            score=person.score, track_id=person.track_id,
            keypoints=np.column_stack([person.keypoints, person.keypoint_scores]).ravel().tolist())
            for person in image.people]
        path = folder / f'{image.file_name}.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dict(
            image=dict(file=image.file_name, width=image.width, height=image.height),
            keypoint_names=image.keypoint_set.names, instances=instances)))
        photo = folder.parent / 'photos' / image.file_name
        photo.parent.mkdir(parents=True, exist_ok=True)
        cv2.imencode(photo.suffix, np.zeros((image.height, image.width, 3), np.uint8))[1].tofile(photo)


@pytest.fixture(params=[17, 133])
def labels(request, tmp_path):
    labels = make_labels(request.param)[::-1]
    for person in labels[1].people:
        person.visible[person.visible == 1] = 2  # results have no hidden keypoints
    write_results(tmp_path / 'results', labels)
    return labels


@pytest.mark.parametrize(('target', 'name'), [
    ('coco', 'pre.json'), ('label-studio', 'tasks.json'), ('cvat', 'cvat.zip'), ('yolo', 'yolo')])
def test_there_and_back(tmp_path, labels, capsys, target, name):
    root = ['--image-root', str(tmp_path / 'photos')] if target == 'yolo' else []
    out, again = tmp_path / 'new' / name, tmp_path / 'again/train.json'
    assert main(['convert', str(tmp_path / 'results'), '--to', target, '--out', str(out), *root]) == 0
    assert '2 people in 2 images' in capsys.readouterr().out
    assert main(['convert', str(out), '--from', target, '--to', 'coco', '--out', str(again), *root]) == 0
    expected = list(select(labels, threshold=.3))
    assert_equal(coco.read(again), expected, scores=target in ('coco', 'label-studio'))


def test_options(tmp_path, capsys):
    labels = make_labels(308)[::-1]
    write_results(tmp_path / 'results', labels)
    args = ['convert', str(tmp_path / 'results'), '--to']
    assert main([*args, 'cvat', '--out', str(tmp_path / 'cvat.zip')]) == 0
    label, = json.loads((tmp_path / 'cvat_labels.json').read_text())
    assert len(label['sublabels']) == 133  # more than 133 keypoints cannot be corrected by hand
    assert main([*args, 'label-studio', '--out', str(tmp_path / 'tasks.json'), '--keypoint-format', 'coco-17',
                 '--keypoint-threshold', '.6', '--min-score', '.8', '--image-root', '/data/local-files/?d=photos']) == 0
    _, image = label_studio.read(tmp_path / 'tasks.json')
    person, = image.people
    assert image.keypoint_set.names == KEYPOINT_NAMES['coco']
    assert (person.keypoint_scores[person.visible > 0] >= .6).all()
    assert '308' not in capsys.readouterr().err


def test_own_keypoints_of_a_config(tmp_path):
    config = tmp_path / 'five.py'
    info = {index: dict(id=index, name=name, swap='') for index, name in enumerate(FIVE)}
    config.write_text(f'metainfo = dict(keypoint_info={info}, skeleton_info={{0: dict(link=("head", "left_hand"))}})')
    write_results(tmp_path / 'results', make_labels(5)[::-1])
    out = tmp_path / 'pre.json'
    args = ['convert', str(tmp_path / 'results'), '--to', 'coco', '--out', str(out), '--keypoints']
    assert main([*args, str(config)]) == 0
    assert next(coco.read(out)).keypoint_set == keypoint_set(FIVE, ((0, 1), ))
    config.write_text('metainfo = dict()')
    assert main([*args, str(config)]) == 1


@pytest.mark.parametrize(('content', 'args', 'value'), [
    ('{"images": [', ['--from', 'coco'], 'in.json'), ('[]', ['--from', 'label-studio', '--keypoint-format', 'coco-17'],
                                                      None),
    ('[]', ['--from', 'yolo'], 'in.json'), ('[]', ['--from', 'cvat'], 'in.json'), ('{}', [], 'in.json')])
def test_bad_input(tmp_path, capsys, content, args, value):
    (tmp_path / 'in.json').write_text(content)
    out = tmp_path / 'out.json'
    code = main(['convert', str(tmp_path / 'in.json'), '--to', 'coco', '--out', str(out), *args])
    err = capsys.readouterr().err
    assert code == (0 if value is None else 1)
    assert out.exists() == (value is None)
    if value:
        assert err.startswith('sapiens-mm: ')
        assert value in err


def test_folders_of_images(tmp_path, labels, capsys):
    args = ['convert', str(tmp_path / 'results'), '--image-root', 'nowhere', '--out', str(tmp_path / 'out'), '--to']
    assert main([*args, 'yolo']) == 1
    assert "--image-root: got 'nowhere'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as info:
        main([*args, 'cvat'])
    assert info.value.code == 2
    assert '--image-root' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_keypoints_that_cannot_be_converted_and_a_full_disk(tmp_path, labels, capsys, monkeypatch):
    out = tmp_path / 'out.json'
    args = ['convert', str(tmp_path / 'results'), '--to', 'coco', '--out', str(out)]
    if len(labels[0].keypoint_set.names) == 17:
        assert main([*args, '--keypoint-format', 'wholebody-133']) == 1
        assert '17 keypoints' in capsys.readouterr().err

    def full(self, image):
        raise OSError(28, 'No space left on device', str(out))
    monkeypatch.setattr(coco.AnnotationLines, 'append', full)
    out.write_text('before')
    assert main(args) == 1
    assert 'No space left' in capsys.readouterr().err
    assert out.read_text() == 'before'
    assert not list(tmp_path.glob('out.json.*'))
