"""Tests of input discovery: files, folders, patterns, videos."""
import pytest
from PIL import Image

from sapiens_mm.apis.sources import InputError, Source, file_source, find_sources, frames_of


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (30, 40)).save(path)
    return path


@pytest.mark.parametrize('entry', ['nowhere.jpg', '.', '*.jpg', 'https://example.org/a.jpg', 'HTTP://a.org/a.jpg'])
def test_invalid_inputs(tmp_path, monkeypatch, entry):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        find_sources([entry])
    assert entry in str(error.value)


def test_errors_of_single_inputs_can_be_handled(tmp_path):
    save(tmp_path / 'photos/a.png')
    (tmp_path / 'empty').mkdir()
    errors = []
    inputs = ['nowhere.jpg', tmp_path / 'empty', tmp_path / 'photos', tmp_path / '*.gif', 'http://h/a.jpg']
    source, = find_sources(inputs, on_error=errors.append)
    assert source.name == 'a.png'
    assert len(errors) == 4


@pytest.mark.parametrize('path', ['missing.png', '0', '*.png', '.', 'link.png', ''])
def test_a_file_source_is_no_other_input(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / 'a.png')
    (tmp_path / 'link.png').symlink_to(tmp_path / 'a.png')
    with pytest.raises(InputError):
        file_source(path)
    assert file_source('a.png') == Source(str(tmp_path / 'a.png'), 'a.png')


def test_an_unreadable_file_does_not_stop_the_others(tmp_path):
    for name in ('a.png', 'c.png'):
        save(tmp_path / name)
    (tmp_path / 'b.png').write_text('no')
    errors = []
    frames = list(frames_of(find_sources([tmp_path]), lambda source, error: errors.append((source.name, str(error)))))
    assert [frame.source.name for frame in frames] == ['a.png', 'c.png']
    assert [name for name, _ in errors] == ['b.png']
    with pytest.raises(InputError, match='b.png'):
        list(frames_of(find_sources([tmp_path])))


def test_names_mirror_the_folders(tmp_path):
    for name in ('x/a.png', 'x/sub/a.png', 'y/a.png', 'y/a.jpg'):
        save(tmp_path / name)
    (tmp_path / 'y/notes.txt').write_text('')
    names = [source.name for source in find_sources([tmp_path / 'x'])]
    assert names == ['a.png', 'sub/a.png']
    names = [source.name for source in find_sources([tmp_path / 'x', tmp_path / 'y'])]
    assert names == ['x/a.png', 'x/sub/a.png', 'y/a.jpg', 'y/a.png']
    names = [source.name for source in find_sources([tmp_path / 'y/a.png', str(tmp_path / '*/a.png')])]
    assert sorted(names) == ['x/a.png', 'y/a.png']
    assert [(s.kind, s.name) for s in find_sources(['0', 'https://a.org/b/../c.mp4?d=1'], allow_urls=True)] == [
        ('camera', 'camera0'), ('video', 'a.org/b/35520a95_c.mp4')]


def test_urls_that_differ_in_their_query():
    first, second = find_sources(['http://h/p?id=1', 'http://h/p?id=2', 'http://h/p?id=1'], allow_urls=True)
    assert (first.path, second.path) == ('http://h/p?id=1', 'http://h/p?id=2')
    assert first.name != second.name


@pytest.mark.parametrize(('inputs', 'out'), [('photos', 'photos'), ('photos', '.'), ('.', 'out'), ('**/*.png', 'out')])
def test_results_in_the_output_folder_are_skipped(tmp_path, monkeypatch, inputs, out):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / 'photos/a.png')
    for suffix in ('overlay.jpg', 'parts.png', 'depth.png', 'normal.png', 'sheet.jpg'):
        save(tmp_path / out / f'a.png.{suffix}')
    assert [source.path.rpartition('/')[2] for source in find_sources([inputs], without=out)] == ['a.png']


def test_results_of_any_run_are_skipped(tmp_path):
    for name in ('photos/a.png', 'photos/b.sheet.jpg', 'photos/o1/a.png.overlay.jpg', 'photos/o1/sub/a.png.sheet.jpg',
                 'photos/o1/mine.png'):
        save(tmp_path / name)
    (tmp_path / 'photos/o1/meta.json').write_text('{"sapiens_mm": "0.1.0"}')
    (tmp_path / 'photos/meta.json').write_text('["sapiens_mm"]')
    for inputs in (tmp_path / 'photos', tmp_path / 'photos/**/*.*g'):
        names = [source.path.rpartition('/')[2] for source in find_sources([inputs], without=tmp_path / 'o2')]
        assert names == ['a.png', 'b.sheet.jpg', 'mine.png']


def test_links_to_folders_are_followed_without_circles(tmp_path):
    save(tmp_path / 'photos/z/a.png')
    save(tmp_path / 'elsewhere/b.png')
    (tmp_path / 'photos/a').symlink_to(tmp_path / 'photos/z')
    (tmp_path / 'photos/link').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'elsewhere/back').symlink_to(tmp_path / 'photos')
    assert [source.name for source in find_sources([tmp_path / 'photos'])] == ['link/b.png', 'z/a.png']
    assert [source.name for source in find_sources([tmp_path / 'photos/a'])] == ['a.png']


def test_kinds_of_unknown_suffixes_are_found_by_content(tmp_path, write_video):
    names = {'clip': 'video', 'clip.dat': 'video', 'photo': 'image', 'notes.txt': 'image', 'clip.jpg': 'image',
             'clip.TS': 'video', 'clip.mxf': 'video'}
    for name in names:
        (tmp_path / name).write_text('This is no image.')
        if name.startswith('clip'):
            (tmp_path / name).write_bytes(write_video(tmp_path / 'whole.mp4').read_bytes())
    save(tmp_path / 'photo.png').rename(tmp_path / 'photo')
    assert {source.name: source.kind for source in find_sources([tmp_path / name for name in names])} == names
    assert len(list(frames_of(find_sources([tmp_path / 'clip'])))) == 5
    # The path of an address is none of this machine.
    addresses = [f'{scheme}://{tmp_path}/clip' for scheme in ('https', 'memory')]
    assert {source.kind for source in find_sources(addresses, allow_urls=True)} == {'image'}
    assert [source.name for source in find_sources([tmp_path])] == ['clip.jpg', 'clip.mxf', 'whole.mp4']
    with pytest.raises(InputError, match='clip.jpg: .*video'):
        list(frames_of(find_sources([tmp_path / 'clip.jpg'])))
