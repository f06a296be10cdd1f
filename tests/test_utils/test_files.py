"""Tests of JSON reading and atomic file replacement."""
from pathlib import Path

import pytest

from sapiens_mm.utils.files import parse_json, read_json, replacing


@pytest.mark.parametrize('content', [b'', b'{"a": 1', b'\xff\xfe', b'[' * 200_000])
def test_invalid_json_is_refused_with_the_name(tmp_path, content):
    path = tmp_path / 'boxes.json'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='boxes.json'):
        read_json(path)
    with pytest.raises(ValueError):
        parse_json(content)


@pytest.mark.parametrize('options', [{}, dict(unique=True), dict(flush=False)])
def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, options):
    path = tmp_path / 'note.txt'
    path.write_text('old')
    (tmp_path / 'note.txt.part').mkdir()  # left by a writer of folders that was killed
    with pytest.raises(ZeroDivisionError), replacing(path, **options) as part:
        Path(part).write_text(f'half {1 / 0}')
    assert path.read_text() == 'old'
    with replacing(path, **options) as part:
        Path(part).write_text('new')
    assert path.read_text() == 'new'
    left = {'note.txt', 'note.txt.part'} if 'unique' in options else {'note.txt'}
    assert {entry.name for entry in tmp_path.iterdir()} == left


def test_a_folder_is_replaced_with_all_its_content(tmp_path):
    folder = tmp_path / 'iter_1.pth'
    for name in 'a', 'b':
        with replacing(folder) as part:
            Path(part, 'deep').mkdir(parents=True)
            Path(part, 'deep', name).write_text(name)
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob('*'))] == [
        'iter_1.pth', 'iter_1.pth/deep', 'iter_1.pth/deep/b']


@pytest.mark.parametrize('flush', [True, False])
def test_content_is_flushed_unless_told_otherwise(tmp_path, monkeypatch, flush):
    flushed = []
    monkeypatch.setattr('os.fsync', flushed.append)
    with replacing(tmp_path / 'folder', flush=flush) as part:
        Path(part).mkdir()
        for name in 'a', 'b':
            Path(part, name).write_text(name)
    assert len(flushed) == 2 * flush


def test_temporary_names(tmp_path):
    path = tmp_path / 'a.tar.npz'
    with replacing(path) as part:
        assert Path(part).name == 'a.tar.npz.part'
        Path(part).write_text('')
    with replacing(path, unique=True) as first, replacing(path, unique=True) as second:
        assert first != second
        for part in first, second:
            assert Path(part).name.startswith('a.tar.npz.part-')
            Path(part).write_text('')
