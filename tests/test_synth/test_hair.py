"""Hair: on the head, off the face, as long as its style says, with a ragged outline."""
import numpy as np
import pytest
from scipy.spatial import cKDTree

pytest.importorskip('anny')
pytest.importorskip('mitsuba')

from sapiens_mm.synth.camera import frame_box  # noqa: E402
from sapiens_mm.synth.clothes import dress  # noqa: E402
from sapiens_mm.synth.hair import KINDS, draw_hair, sample_style, scatter  # noqa: E402
from sapiens_mm.synth.people import build_person, sample_person  # noqa: E402
from sapiens_mm.synth.render import label_buffers  # noqa: E402
from sapiens_mm.vocabularies.body_parts import PART_IDS  # noqa: E402

PIECE = dict(kind='short', volume=0.015, length=0.25, color=[0.1, 0.1, 0.1], fold=1, parting=0.03, back=0.5, lift=0.5,
             curl=0.3, fringe=False)


def hair(wardrobe, posed, **changes) -> tuple:
    """The piece's meshes, and all their vertices relative to the middle of the eyes."""
    meshes, _ = dress(wardrobe, posed, dict(hair=dict(PIECE, **changes)), 1)
    eyes = (posed.bone_heads['eye.L'] + posed.bone_heads['eye.R']) / 2
    return meshes, np.concatenate([mesh.vertices for mesh in meshes]) - eyes


@pytest.mark.parametrize('kind', KINDS)
def test_hair_has_unit_normals_and_lies_on_the_head_and_shoulders(body, wardrobe, kind):
    posed = body.pose(rotations={'head': [0.4, 0, 0.3]})
    meshes, _ = hair(wardrobe, posed, kind=kind)
    skin = body.skin_vertices
    normals = body.skin_normals(posed)[skin]
    tree = cKDTree(posed.vertices[skin])
    for mesh in meshes:
        np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-4)
        assert (mesh.parts == PART_IDS['Hair']).all()
        distance, nearest = tree.query(mesh.vertices)
        assert distance.max() < 0.25
        height = ((mesh.vertices - posed.vertices[skin][nearest]) * normals[nearest]).sum(axis=1)
        assert (height < -0.006).mean() < 0.01


def test_styles_end_where_they_say(body, wardrobe):
    low = {kind: np.quantile(hair(wardrobe, body.rest, kind=kind)[1][:, 2], 0.01) for kind in KINDS}
    assert low['long'] < -0.2
    assert -0.2 < low['bob'] < -0.07
    for kind in ('short', 'curly', 'bald_top', 'bun'):
        assert low[kind] > -0.15, kind
    assert low['ponytail'] < -0.15
    shorter = hair(wardrobe, body.rest, kind='long', length=0.1)[1]
    assert np.quantile(shorter[:, 2], 0.01) > low['long'] + 0.1


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('fringe', [False, True])
def test_eyes_and_mouth_stay_free(body, wardrobe, kind, fringe):
    _, points = hair(wardrobe, body.rest, kind=kind, fringe=fringe)
    face = (points[:, 1] < 0.02) & (np.abs(points[:, 0]) < 0.04) & (points[:, 2] < -0.005)
    assert face.mean() < 0.005
    brow = (points[:, 1] < 0.02) & (np.abs(points[:, 0]) < 0.04) & (points[:, 2] < 0.06)
    if not fringe or kind == 'bald_top':
        assert brow.mean() < 0.005
    else:
        assert brow.mean() > 0.006


def test_the_crown_of_a_bald_top_is_bare(body, wardrobe):
    highest = [hair(wardrobe, body.rest, kind=kind)[1][:, 2].max() for kind in ('bald_top', 'short')]
    assert highest[0] < 0.1 < highest[1]


def test_the_outline_is_ragged(body, wardrobe):
    """Longer than that of the cap alone, and without holes in the hair."""
    meshes, _ = hair(wardrobe, body.rest)
    skin = body.skin_vertices
    camera = frame_box(body.rest.vertices[skin][body.bone_weights('head')[skin] > 0.5], (256, 192), 1.6, margin=0.2)

    def outline(some) -> tuple:
        mask = label_buffers(some, camera).part == PART_IDS['Hair']
        return (mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum(), mask.sum()

    (whole, area), (cap, cap_area) = outline(meshes), outline([mesh for mesh in meshes if mesh.name == 'hair'])
    assert whole > 1.3 * cap
    assert area > cap_area


def test_hair_depends_on_its_seed_alone(wardrobe, body):
    first, again, other = (hair(wardrobe, body.rest, kind='long', fold=fold)[1] for fold in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or np.abs(first - other).max() > 0.01


def test_small_heads_have_small_hair(body, wardrobe):
    sizes = [np.ptp(hair(wardrobe, body.pose(dict(age=age)), kind='bob')[1][:, 0]) for age in (0., 0.7)]
    assert sizes[0] < 0.95 * sizes[1]


def test_points_are_spread_by_area():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 9], [3, 0, 9], [0, 1, 9]], float)
    points = scatter(vertices, np.array([[0, 1, 2], [3, 4, 5]]), 4000, np.random.default_rng(0))(vertices)
    upper = points[:, 2] > 5
    assert upper.mean() == pytest.approx(0.75, abs=0.03)
    assert set(np.unique(points[:, 2].round(9))) == {0, 9}
    np.testing.assert_allclose(points[upper].mean(axis=0), [1, 1 / 3, 9], atol=0.05)


def test_a_style_is_plain_numbers_within_its_ranges():
    styles = [sample_style(np.random.default_rng(seed)) for seed in range(50)]
    assert {style['fringe'] for style in styles} == {False, True}
    assert all(-1 <= style['back'] <= 1 and 0 <= style['lift'] <= 1 for style in styles)


def test_roots_are_darker_than_tips():
    texture = draw_hair([0.2, 0.1, 0.05], 3)
    assert texture[0].mean() > texture[-1].mean() + 10
    assert texture.std(axis=1).mean() > 2


def test_a_hat_lies_over_the_hair(body, wardrobe):
    for seed in range(3):
        drawn = sample_person(body, wardrobe, np.random.default_rng(seed))
        drawn['outfit']['hair'] = dict(PIECE, kind='curly')
        cloth = dict(pattern='plain', color=[0.5, 0.1, 0.1], second=[0.1, 0.1, 0.1], repeat=4, seed=1)
        drawn['outfit']['hat'] = dict(brim='none', cloth=cloth, loose=0.014, fold=3)
        person = build_person(body, wardrobe, drawn, np.eye(3), np.zeros(3), 1)
        hat = next(mesh for mesh in person.meshes if mesh.name == 'hat')
        camera = frame_box(hat.vertices, (128, 96), 1.6, elevation=40)
        bare, both = (label_buffers(meshes, camera).part == PART_IDS['Apparel'] for meshes in ([hat], person.meshes))
        assert both.sum() > 0.9 * bare.sum()

