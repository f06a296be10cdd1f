"""Tests of tar files as streams; test_pretrain/test_sources.py has those of connections."""
import io
import tarfile

import pytest

from sapiens_mm.utils.tar_files import SourceError, expand, is_local, open_url, tar_members

pytest.importorskip('webdataset')


def write_tar(path, members):
    with tarfile.open(path, 'w') as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return str(path)


@pytest.mark.parametrize('content', [None, b'', b'no tar', bytes(10240), 'cut'])
def test_damaged_files(tmp_path, content):
    path = write_tar(tmp_path / 'a.tar', {'a.png': bytes(3000), 'b.png': b'b'})
    if content is None:
        (tmp_path / 'a.tar').unlink()
    else:
        (tmp_path / 'a.tar').write_bytes((tmp_path / 'a.tar').read_bytes()[:2000] if content == 'cut' else content)
    with pytest.raises(SourceError, match=r'a\.tar'):
        list(tar_members(path))


@pytest.mark.parametrize('url', ['pipe:touch ran', 'gs://bucket/a.tar'])
def test_commands_are_not_run(tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    assert not is_local(url)
    for read in (open_url, lambda url: list(tar_members(url))):
        with pytest.raises(SourceError, match=url):
            read(url)
    assert not list(tmp_path.iterdir())


def test_members_that_are_selected(tmp_path):
    members = {'a.png': b'1', 'x/ü b.txt': b'', 'b.png': bytes(2000)}
    path = write_tar(tmp_path / 'a.tar', members)
    assert dict(tar_members(path)) == members
    assert [name for name, _ in tar_members(path, select=lambda name: name.endswith('.png'))] == ['a.png', 'b.png']
    opened = []
    data = (tmp_path / 'a.tar').read_bytes()
    list(tar_members('store://a.tar', open_stream=lambda url: opened.append(url) or io.BytesIO(data)))
    assert opened == ['store://a.tar']


def test_braces_and_folders(tmp_path):
    paths = [write_tar(tmp_path / f'{i}.tar', {'a.png': b'1'}) for i in range(2)]
    odd = write_tar(tmp_path / '{0..1}.tar', {'a.png': b'1'})
    assert expand(odd) == [odd]
    assert expand(str(tmp_path)) == [*paths, odd]
    (tmp_path / '{0..1}.tar').unlink()
    assert expand(odd) == paths
