"""Files of a set."""
import errno
import json
import os

import cv2
import numpy as np
import pytest
from PIL import Image

from sapiens_mm.synth.camera import Camera
from sapiens_mm.synth.render import Buffers
from sapiens_mm.synth.writer import (
    TEMPORARY,
    clean,
    read_json,
    write_array,
    write_bytes,
    write_files,
    write_image,
    write_json,
    write_parts,
)
from sapiens_mm.vocabularies.body_parts import PART_COLORS


@pytest.mark.parametrize('content', [b'', b'{"a": 1', b'\xff{}', b'[1]'])
def test_broken_json_is_named_with_a_remedy(tmp_path, content):
    path = tmp_path / 'a.json'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'a\.json.*remove it') as info:
        read_json(path, 'remove it')
    assert '\n' not in str(info.value)
    write_json(path, dict(a=1))
    assert read_json(path, 'remove it') == dict(a=1)


def test_not_a_number_is_no_json(tmp_path):
    with pytest.raises(ValueError, match='JSON'):
        write_json(tmp_path / 'a.json', float('nan'))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / 'a.bin'
    write_bytes(path, b'old')

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', full)
    for target in (path, tmp_path / 'deep/b.bin'):
        with pytest.raises(OSError, match='full') as info:
            write_bytes(target, b'new')
        assert (info.value.errno, info.value.filename) == (errno.ENOSPC, str(target))
    assert path.read_bytes() == b'old'
    assert [p for p in tmp_path.rglob('*') if p.is_file()] == [path]


def test_an_error_names_the_file_rather_than_its_temporary_name(tmp_path):
    (tmp_path / 'set').write_text('a file in place of a folder')
    with pytest.raises(OSError) as info:
        write_bytes(tmp_path / 'set/a.bin', b'new')
    assert info.value.filename == str(tmp_path / 'set/a.bin')


def test_images_and_arrays_come_back(tmp_path):
    rng = np.random.default_rng(0)
    image, array = rng.integers(0, 256, (5, 4, 3), dtype=np.uint8), rng.random((5, 4), np.float32)
    write_image(tmp_path / 'new/a.png', image)
    write_array(tmp_path / 'new/a.npy', array)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'new/a.png'))[..., ::-1], image)
    np.testing.assert_array_equal(np.load(tmp_path / 'new/a.npy'), array)


def test_parts_are_indices_with_their_colors(tmp_path):
    parts = np.array([[0, 27, 255]], np.uint8)
    write_parts(tmp_path / 'a.png', parts)
    image = Image.open(tmp_path / 'a.png')
    np.testing.assert_array_equal(np.asarray(image), parts)
    np.testing.assert_array_equal(np.asarray(image.convert('RGB')),
                                  [[PART_COLORS[0], PART_COLORS[27], (255, 255, 255)]])


def test_a_samples_files_hold_the_persons_alone_and_the_requested_labels(tmp_path):
    instance = np.uint8([[0, 2]])
    depth, normal = np.float32([[5, 3]]), np.zeros((1, 2, 3), np.float32)
    normal[..., 2] = 1
    buffers = Buffers(None, None, depth, normal, instance, 7 * instance, instance - 1, instance - 1)
    camera = Camera(np.eye(3), np.eye(3), np.zeros(3), 1, 2)
    image = np.zeros((1, 2, 3), np.uint8)
    write_files(tmp_path, 'a', image, buffers, camera, ('depth', 'normal'), 'cameras', dict(more=1), instances=False)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*.*')} == {
        'images/a.png', 'masks/a.png', 'depth/a.npy', 'normal/a.npy', 'cameras/a.json'}
    np.testing.assert_array_equal(np.load(tmp_path / 'depth/a.npy'), [[0, 3]])
    np.testing.assert_array_equal(np.load(tmp_path / 'normal/a.npy'), [[[0, 0, 0], [0, 0, 1]]])
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'masks/a.png'), cv2.IMREAD_UNCHANGED), [[0, 255]])
    content = json.loads((tmp_path / 'cameras/a.json').read_text())
    assert (content['more'], set(content)) == (1, {'more', 'camera', 'normals', 'depth'})
    write_files(tmp_path, 'a', image, buffers, camera, ('pose', 'parts'), 'samples', {})  # parts: the alias of seg
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'instances/a.png'), cv2.IMREAD_UNCHANGED), [[0, 2]])
    assert (tmp_path / 'parts/a.png').exists()



def test_clean_removes_incomplete_files_only(tmp_path):
    for name in ('a.png', f'a.png{TEMPORARY}12', f'b.png{TEMPORARY}12'):
        (tmp_path / name).touch()
    clean(tmp_path, lambda name: name == 'a')
    assert {path.name for path in tmp_path.iterdir()} == {'a.png', f'b.png{TEMPORARY}12'}
    clean(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['a.png']
