"""MakeHuman's assets on people: they follow the body, and their labels are those of their garments."""
import shutil

import numpy as np
import pytest

pytest.importorskip('anny')
pytest.importorskip('mitsuba')

from sapiens_mm.synth.assets import Assets  # noqa: E402
from sapiens_mm.synth.camera import frame_box  # noqa: E402
from sapiens_mm.synth.closet import Closet, _without_holes  # noqa: E402
from sapiens_mm.synth.clothes import Wardrobe  # noqa: E402
from sapiens_mm.synth.makehuman_files import AssetFiles  # noqa: E402
from sapiens_mm.synth.mesh import face_normals  # noqa: E402
from sapiens_mm.synth.people import build_person, sample_person  # noqa: E402
from sapiens_mm.synth.poses import sample_pose  # noqa: E402
from sapiens_mm.synth.render import label_buffers  # noqa: E402
from sapiens_mm.vocabularies.body_parts import PART_IDS  # noqa: E402

SUIT, HAT, HAIR, SKIN = 'clothes/suit/suit', 'clothes/hat/hat', 'hair/short/short', 'skins/female/female'


@pytest.fixture(scope='module')
def closet(body, makehuman) -> Closet:
    return Closet(body, AssetFiles.read(makehuman))


def test_parts_follow_from_where_a_garment_lies(closet):
    pieces = closet.pieces
    assert {name: piece.kind for name, piece in pieces.items()} == {SUIT: 'clothes', HAT: 'hat', HAIR: 'hair'}
    assert pieces[SUIT].parts_worn == {'Upper_Clothing', 'Lower_Clothing'}
    heights = [pieces[SUIT].asset.vertices[pieces[SUIT].asset.faces[pieces[SUIT].parts == PART_IDS[part]], 2]
               for part in ('Upper_Clothing', 'Lower_Clothing')]
    assert heights[0].min() > heights[1].max()
    assert pieces[HAT].parts_worn == {'Apparel'}


def test_a_vertex_on_the_body_follows_it_in_every_shape_and_pose(body, closet):
    """The suit's vertices are vertices of the base mesh."""
    rotations = sample_pose(body, np.random.default_rng(3), 'walking')['rotations']
    posed = body.pose(dict(weight=0.9, height=0.8), rotations=rotations)
    turn = np.array([[0., -1, 0], [1, 0, 0], [0, 0, 1]])
    for one in (body.rest, posed, posed.moved(turn, np.array([1., 2, 3]))):
        mesh = closet.pieces[SUIT].mesh(one, 2)
        used = np.unique(closet.pieces[SUIT].asset.corners)
        assert mesh.instance == 2
        np.testing.assert_allclose(sorted(map(tuple, mesh.vertices.round(3))),
                                   sorted(map(tuple, one.vertices[used].round(3))), atol=2e-3)


def test_transparent_texels_are_cut_out_of_the_mesh(body, closet):
    piece = closet.pieces[HAT]
    mesh = piece.mesh(body.rest, 1)
    assert mesh.uv[:, 0].min() > 0.42
    assert mesh.albedo.shape == (16, 16, 3)
    whole = np.linalg.norm(face_normals(piece.asset.vertices, piece.asset.faces), axis=1).sum()
    assert np.linalg.norm(face_normals(mesh.vertices, mesh.faces), axis=1).sum() < 0.7 * whole
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-3)


def test_a_cut_keeps_parts_and_half_of_a_half_transparent_square():
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1.]]) * 0.999
    alpha = np.zeros((64, 64), np.uint8)
    alpha[32:] = 255  # the lower half
    faces, parts, new, steps = _without_holes(np.array([[0, 1, 2], [0, 2, 3]]), np.array([5, 9]), uv, alpha)
    points = np.column_stack([uv, np.zeros(4)])
    for step in steps:
        points = step(points)
    np.testing.assert_allclose(points[:, :2], new, atol=1e-6)
    areas = np.linalg.norm(face_normals(points, faces), axis=1) / 2
    assert areas.sum() == pytest.approx(0.5, abs=0.13)
    assert areas[parts == 5].sum() > areas[parts == 9].sum() > 0
    assert new[:, 1].max() < 0.65


def test_people_wear_assets_instead_of_what_they_replace(body, closet):
    wardrobe = Wardrobe(body, closet)
    plain = Wardrobe(body)
    chosen = []
    for seed in range(12):
        drawn, before = (sample_person(body, one, np.random.default_rng(seed)) for one in (wardrobe, plain))
        names = drawn['assets']
        chosen += [*names['pieces'], names['skin']]
        assert 'assets' not in before
        for key in ('phenotypes', 'face', 'pose', 'complexion'):
            assert drawn[key] == before[key]
        gone = set(before['outfit']) - set(drawn['outfit'])
        if SUIT in names['pieces']:
            assert not {'top', 'trousers', 'skirt'} & set(drawn['outfit'])
        if HAIR in names['pieces']:
            assert 'hair' in gone
        assert names['skin'] is None or before['phenotypes']['gender'] >= 0.5
    assert {SUIT, HAIR, SKIN} <= set(chosen)
    assert chosen.count(HAIR) < 12


def test_labels_show_the_suit_and_the_texture_of_the_skin(body, closet):
    wardrobe = Wardrobe(body, closet)
    drawn = sample_person(body, wardrobe, np.random.default_rng(0))
    drawn.update(outfit={}, phenotypes={}, face={}, pose=dict(kind='standing', rotations={}),
                 assets=dict(pieces=[SUIT], skin=SKIN))
    person = build_person(body, wardrobe, drawn, np.eye(3), np.zeros(3), 1)
    skin = person.meshes[0]
    assert skin.albedo[..., 1].min() > 150
    assert skin.albedo[..., 0].max() < 50
    deleted = closet.pieces[SUIT].asset.deleted
    assert len(skin.faces) == 2 * (~np.isin(body.skin, deleted).all(axis=1)).sum()
    camera = frame_box(person.body.vertices[body.skin_vertices], (128, 96), 1.6)
    shown = set(np.unique(label_buffers(person.meshes, camera).part))
    assert {PART_IDS['Upper_Clothing'], PART_IDS['Lower_Clothing']} <= shown


def test_assets_count_in_the_settings_wherever_their_folder_is(makehuman, tmp_path):
    shutil.copytree(makehuman, tmp_path / 'moved')
    first, moved = (Assets.find(makehuman=folder).fingerprints for folder in (makehuman, tmp_path / 'moved'))
    assert first == moved
    assert first['assets'].startswith('12 files')
    (tmp_path / 'moved/skins/female/female.mhmat').write_text('diffuseTexture ../green.png\n\n\n')
    assert Assets.find(makehuman=tmp_path / 'moved').fingerprints != first
