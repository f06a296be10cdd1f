from pathlib import Path

import pytest

from sapiens_mm.utils.files import parse_json, read_json, replacing


@pytest.mark.parametrize('content', [b'', b'{"a": 1', b'\xff\xfe', b'[' * 200_000])
def test_what_is_no_json_is_refused_with_the_name(tmp_path, content):
    path = tmp_path / 'boxes.json'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='boxes.json'):
        read_json(path)
    with pytest.raises(ValueError):
        parse_json(content)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / 'note'
    path.write_text('old')
    with pytest.raises(ZeroDivisionError), replacing(path) as part:
        Path(part).write_text(f'half {1 / 0}')
    assert path.read_text() == 'old'
    with replacing(path) as part:
        Path(part).write_text('new')
    assert path.read_text() == 'new'
    assert [entry.name for entry in tmp_path.iterdir()] == ['note']
