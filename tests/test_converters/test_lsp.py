"""LSPET, LSP and PARSE as COCO files."""
import json

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from sapiens_mm.converters import convert_lsp
from sapiens_mm.converters import lsp as module
from sapiens_mm.vocabularies.coco import COCO_NAMES

from .conftest import files_of, stop_after, write_photo


@pytest.fixture(autouse=True)
def _small_splits(monkeypatch):
    monkeypatch.setattr(module, 'TRAINING', dict(lsp=3, parse=2))


def annotations(out, name):
    return json.loads((out / f'annotations/{name}.json').read_text())


def point(annotation, name):
    return annotation['keypoints'][3 * COCO_NAMES.index(name):][:3]


@pytest.mark.parametrize(('variable', 'array'), [
    ('points', np.ones((14, 3, 12))), ('joints', np.ones((12, 14, 3))), ('joints', np.ones((14, 2, 12))),
    ('joints', np.ones((14, 36))), ('joints', np.array([['im00001.jpg']], object)),
    ('joints', np.full((14, 3, 12), 2.)), ('joints', np.full((14, 3, 12), np.nan)), ('joints', np.zeros((14, 3, 12)))])
def test_other_labels(lspet, tmp_path, variable, array):
    savemat(lspet / 'joints.mat', {variable: array})
    with pytest.raises(ValueError, match='lspet/joints.mat'):
        convert_lsp([lspet], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('size', [0, 100, -20])
def test_damaged_labels(lspet, tmp_path, size):
    path = lspet / 'joints.mat'
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match='lspet/joints.mat'):
        convert_lsp([lspet], tmp_path / 'out')


def test_missing_labels_and_images(lspet, tmp_path):
    (lspet / 'images/im00007.jpg').unlink()
    with pytest.raises(FileNotFoundError, match='im00007'):
        convert_lsp([lspet], tmp_path / 'out')
    write_photo(lspet / 'images/im00007.jpg')
    write_photo(lspet / 'images/im00013.jpg')
    with pytest.raises(ValueError, match='im00013'):
        convert_lsp([lspet], tmp_path / 'out')
    (lspet / 'joints.mat').unlink()
    with pytest.raises(FileNotFoundError, match=r'joints\.mat'):
        convert_lsp([lspet], tmp_path / 'out')


def test_images_of_another_size(lsp, tmp_path):
    write_photo(lsp / 'images/im0004.jpg', (6, 4))
    with pytest.raises(ValueError, match=r'im0004\.jpg'):
        convert_lsp([lsp], tmp_path / 'out')
    write_photo(lsp / 'images/im0004.jpg')
    assert convert_lsp([lsp], tmp_path / 'out') == dict(lsp_train=3, lsp_test=2)
    assert [image['width'] for image in annotations(tmp_path / 'out', 'lsp_test')['images']] == [40, 40]


def test_a_part_of_the_training_images(lsp, tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'TRAINING', dict(lsp=5))
    with pytest.raises(ValueError, match='got 5 images of lsp'):
        convert_lsp([lsp], tmp_path / 'out')


def test_the_same_set_twice(lspet, tmp_path):
    with pytest.raises(ValueError, match='lspet, lspet'):
        convert_lsp([lspet, lspet], tmp_path / 'out')


def test_a_truncated_image(lsp, tmp_path):
    path = lsp / 'images/im0004.jpg'
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r'im0004\.jpg'):
        convert_lsp([lsp], tmp_path / 'out')
    assert not list((tmp_path / 'out').rglob('*.json*'))[1:]  # but for the settings
    write_photo(path)
    assert convert_lsp([lsp], tmp_path / 'out') == dict(lsp_train=3, lsp_test=2)


def test_a_folder_with_other_files(lsp, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/mine.txt').touch()
    with pytest.raises(ValueError, match='out'):
        convert_lsp([lsp], tmp_path / 'out')
    assert list((tmp_path / 'out').iterdir()) == [tmp_path / 'out/mine.txt']


def test_counts_and_images(lspet, lsp, parse, tmp_path):
    counts = convert_lsp([parse, lspet, lsp], tmp_path / 'out')
    assert counts == dict(lspet_train=10, lspet_val=1, lsp_train=3, lsp_test=2, parse_train=2, parse_test=1)
    ids, images = [], []
    for name, count in counts.items():
        content = annotations(tmp_path / 'out', name)
        assert len(content['images']) == len(content['annotations']) == count
        for image in content['images']:
            assert (image['width'], image['height']) == (40, 60)
            assert (tmp_path / 'out/images' / image['file_name']).is_file()
        ids += [image['id'] for image in content['images']]
        images += [image['file_name'] for image in content['images']]
    assert len(set(ids)) == len(set(images)) == sum(counts.values())
    assert 'lspet/im00002.jpg' not in images  # five joints
    assert (tmp_path / 'out/images/lsp/im0002.jpg').read_bytes() == (lsp / 'images/im0002.jpg').read_bytes()


def test_keypoints_and_boxes(lspet, lsp, tmp_path):
    convert_lsp([lspet, lsp], tmp_path / 'out')
    first = annotations(tmp_path / 'out', 'lsp_train')['annotations'][0]
    assert point(first, 'right_ankle')[2] == 1
    for name in ('nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear'):
        assert point(first, name) == [0, 0, 0]
    assert first['num_keypoints'] == 12
    joints = loadmat(lsp / 'joints.mat')['joints']
    assert point(first, 'left_shoulder')[:2] == pytest.approx(joints[:2, 9, 0], abs=1e-3)
    low, high = joints[:2, :, 0].min(1), joints[:2, :, 0].max(1)
    margin = 0.15 * (high - low).max()
    low, high = np.maximum(low - margin, 0), np.minimum(high + margin, (40, 60))
    assert first['bbox'] == pytest.approx([*low, *(high - low)], abs=1e-3)
    assert first['area'] == pytest.approx(0.53 * np.prod(high - low), rel=1e-3)

    third = annotations(tmp_path / 'out', 'lspet_train')['annotations'][1]
    assert third['image_id'] == 3
    assert point(third, 'left_ankle') == [0, 0, 0]
    assert point(third, 'right_ankle')[2] == 2
    assert third['num_keypoints'] == 11
    assert third['bbox'][3] < 60


def test_an_interrupted_run_continues(lsp, parse, tmp_path):
    out = tmp_path / 'out'
    with pytest.raises(KeyboardInterrupt):
        convert_lsp([lsp], out, stop_after(3))
    before = files_of(out)
    assert set(before) == {'settings.json', *(f'images/lsp/im000{i}.jpg' for i in (1, 2, 3))}
    (out / 'images/lsp/im0004.jpg.part').write_bytes(b'half')  # of a killed process
    convert_lsp([lsp], out)
    after = files_of(out)
    assert before.items() <= after.items()
    convert_lsp([parse], out)
    assert {name: content for name, content in files_of(out).items() if 'parse' not in name} == after
    whole = tmp_path / 'whole'
    convert_lsp([lsp, parse], whole)
    assert {name: content for name, (content, _) in files_of(out).items()} == {
        name: content for name, (content, _) in files_of(whole).items()}
