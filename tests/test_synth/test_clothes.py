"""Clothes: exact cuts, every piece on extreme bodies, no skin through cloth, sides."""
import cv2
import numpy as np
import pytest
from scipy.spatial import cKDTree

pytest.importorskip('anny')
pytest.importorskip('mitsuba')

from sapiens_mm.synth.camera import frame_box  # noqa: E402
from sapiens_mm.synth.clothes import Cut, compact, dress, sample_outfit  # noqa: E402
from sapiens_mm.synth.hair import KINDS  # noqa: E402
from sapiens_mm.synth.mesh import face_normals  # noqa: E402
from sapiens_mm.synth.people import build_person, sample_person  # noqa: E402
from sapiens_mm.synth.render import label_buffers  # noqa: E402
from sapiens_mm.vocabularies.body_parts import PART_IDS  # noqa: E402

CLOTH = dict(pattern='plain', color=[0.5, 0.1, 0.1], second=[0.1, 0.1, 0.1], repeat=4, seed=1)
PIECE = dict(cloth=CLOTH, loose=0.006, fold=3)
HAIR = dict(volume=0.02, length=0.3, color=[0.1, 0.1, 0.1], fold=1, parting=0., back=0.5, lift=0.5, curl=0.3,
            fringe=True)
OUTFITS = {
    'shirt': dict(top=dict(sleeve='long', hem=-0.02, neckline=0.09, **PIECE)),
    'vest': dict(top=dict(sleeve='none', hem=0.0, neckline=0.1, **PIECE)),
    'trousers': dict(trousers=dict(legs='long', waist=0.1, **PIECE)),
    'shorts': dict(trousers=dict(legs='shorts', waist=0.1, **PIECE)),
    'skirt': dict(skirt=dict(hem=-0.5, **PIECE)),
    'socks': dict(socks=dict(start='crew', **PIECE)),
    'shoes': dict(shoes=dict(height=1.86, **PIECE)),
    **{f'{kind} hair': dict(hair=dict(HAIR, kind=kind)) for kind in KINDS},
    'hat': dict(hat=dict(brim='round', **PIECE)),
    'cap': dict(hat=dict(brim='visor', **PIECE)),
    'bag': dict(bag=dict(size=[0.28, 0.13, 0.4], **PIECE)),
}
BODIES = dict(
    child=dict(age=0.3, height=0.1, weight=0.2), heavy=dict(age=0.7, weight=1., muscle=0.2, height=0.9, cupsize=1.),
    thin=dict(age=0.9, weight=0., muscle=0., height=0.9))


def outfit_of(name: str, wardrobe) -> dict:
    """Hems and waists are heights of the rest pose, given here from the hip on."""
    outfit = {piece: dict(values) for piece, values in OUTFITS[name].items()}
    for piece, key in (('top', 'hem'), ('trousers', 'waist')):
        if piece in outfit:
            outfit[piece][key] += wardrobe.hip
    return outfit


def area(vertices, faces) -> float:
    return float(np.linalg.norm(face_normals(vertices, faces), axis=1).sum() / 2)


@pytest.fixture(scope='module')
def sheet():
    """``(vertices, faces)`` of the unit square, 7 x 7 cells."""
    x, y = np.meshgrid(np.linspace(0, 1, 8), np.linspace(0, 1, 8))
    vertices = np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], axis=1)
    i = np.arange(64).reshape(8, 8)
    a, b, c, d = i[:-1, :-1].ravel(), i[:-1, 1:].ravel(), i[1:, 1:].ravel(), i[1:, :-1].ravel()
    return vertices, np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


@pytest.mark.parametrize(('normal', 'offset', 'expected'), [
    ((1, 0), 0.4, 0.6), ((-1, 0), -0.4, 0.4), ((0, 1), 0.43, 0.57), ((1, 1), 0.5, 1 - 0.125), ((-1, -1), -0.3, 0.045)])
def test_a_cut_along_a_line_has_its_exact_area_and_ends_there(sheet, normal, offset, expected):
    vertices, faces = sheet
    field = vertices[:, :2] @ normal - offset
    cut = Cut(faces, field)
    new = cut(vertices)
    assert area(new, cut.faces) == pytest.approx(expected, abs=1e-6)
    assert (new[:, :2] @ normal - offset).min() > -1e-6
    # Every triangle keeps its side up.
    assert (face_normals(new, cut.faces)[:, 2] > -1e-9).all()


def test_a_cut_interpolates_values_of_vertices(sheet):
    vertices, faces = sheet
    cut = Cut(faces, vertices[:, 0] - 0.4)
    linear = 3 * vertices[:, 0] - 2 * vertices[:, 1] + 1
    new = cut(vertices)
    np.testing.assert_allclose(cut(linear), 3 * new[:, 0] - 2 * new[:, 1] + 1, atol=1e-6)


def test_neighbors_share_the_vertices_of_a_cut(sheet):
    vertices, faces = sheet
    cut = Cut(faces, vertices[:, 0] - 0.4)
    new = cut(vertices)
    assert len(np.unique(new.round(6), axis=0)) == len(new)
    edges, count = np.unique(np.sort(cut.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0,
                             return_counts=True)
    border = new[edges[count == 1]]
    # Edges with one triangle lie on the outline, none inside.
    sides = [np.abs(border[:, :, axis] - value).max(axis=1) < 1e-6 for axis, value in
             ((0, 0.4), (0, 1), (1, 0), (1, 1))]
    assert np.any(sides, axis=0).all()


@pytest.mark.parametrize(('value', 'count'), [(1., 98), (-1., 0)])
def test_a_cut_may_keep_all_or_nothing(sheet, value, count):
    vertices, faces = sheet
    cut = Cut(faces, np.full(len(vertices), value))
    assert len(cut.faces) == count
    assert area(cut(vertices), cut.faces) == pytest.approx(max(value, 0), abs=1e-6)


def test_compact_keeps_the_triangles(sheet):
    vertices, faces = sheet
    few, used = compact(faces[50:60])
    np.testing.assert_array_equal(used[few], faces[50:60])
    assert set(used) == set(faces[50:60].ravel())


@pytest.fixture(scope='module')
def bodies(body) -> dict:
    pose = {f'upperarm01.{side}': [0, sign * 0.4, 0] for side, sign in (('L', 1), ('R', -1))}
    return {name: body.pose(phenotypes, rotations=pose) for name, phenotypes in BODIES.items()}


@pytest.mark.parametrize('name', OUTFITS)
def test_every_piece_builds_on_extreme_bodies(body, wardrobe, bodies, name):
    for kind, posed in bodies.items():
        meshes, hidden = dress(wardrobe, posed, outfit_of(name, wardrobe), 1)
        assert meshes, kind
        assert hidden.shape == (len(body.skin), )
        skin = posed.vertices[body.skin_vertices]
        for mesh in meshes:
            assert np.isfinite(mesh.vertices).all()
            assert mesh.instance == 1
            assert not (mesh.parts == 0).any()
            used = mesh.vertices[np.unique(mesh.faces)]
            # Close to the body.
            assert ((used > skin.min(axis=0) - 0.45) & (used < skin.max(axis=0) + 0.45)).all()


def test_socks_and_shoes_are_on_their_sides(wardrobe, bodies):
    for posed in bodies.values():
        meshes, _ = dress(wardrobe, posed, outfit_of('socks', wardrobe) | outfit_of('shoes', wardrobe), 1)
        centers = np.concatenate([mesh.vertices[mesh.faces].mean(axis=1) for mesh in meshes])
        parts = np.concatenate([mesh.parts for mesh in meshes])
        to_left, to_right = (np.linalg.norm(centers - posed.bone_heads[f'foot.{side}'], axis=1) for side in 'LR')
        for kind in ('Sock', 'Shoe'):
            left, right = (parts == PART_IDS[f'{side}_{kind}'] for side in ('Left', 'Right'))
            assert min(left.sum(), right.sum()) > 50
            assert (to_left < to_right + 0.02)[left].mean() > 0.98
            assert (to_right < to_left + 0.02)[right].mean() > 0.98


def part_map(body, wardrobe, phenotypes, outfit, azimuth=0.):
    drawn = sample_person(body, wardrobe, np.random.default_rng(3))
    pose = {f'upperarm01.{side}': [0, sign * 0.4, 0] for side, sign in (('L', 1), ('R', -1))}
    drawn.update(phenotypes=phenotypes, face={}, outfit=outfit, pose=dict(kind='standing', rotations=pose))
    person = build_person(body, wardrobe, drawn, np.eye(3), np.zeros(3), 1)
    camera = frame_box(person.body.vertices[body.skin_vertices], (256, 192), 1.5, margin=0.03, azimuth=azimuth)
    return label_buffers(person.meshes, camera).part


@pytest.mark.parametrize('azimuth', [0, 180])
@pytest.mark.parametrize('kind', BODIES)
def test_no_skin_shows_through_a_shirt_and_trousers(body, wardrobe, kind, azimuth):
    part = part_map(body, wardrobe, BODIES[kind], outfit_of('shirt', wardrobe) | outfit_of('trousers', wardrobe),
                    azimuth)
    cloth = np.isin(part, [PART_IDS['Upper_Clothing'], PART_IDS['Lower_Clothing']]).astype(np.uint8)
    assert cloth.mean() > 0.05
    # Islands: pixels without cloth that do not touch the outside, head, hands or feet.
    count, islands = cv2.connectedComponents(1 - cloth, connectivity=8)
    outside = set(np.unique(np.concatenate([islands[0], islands[-1], islands[:, 0], islands[:, -1]])))
    inner = [island for island in range(1, count) if island not in outside
             and not np.isin(part[islands == island], [0, PART_IDS['Face_Neck']]).any()]
    assert sum((islands == island).sum() for island in inner) <= 0.003 * cloth.sum()
    for name in ('Upper_Arm', 'Upper_Leg'):
        for side in ('Left', 'Right'):
            assert (part == PART_IDS[f'{side}_{name}']).sum() <= 3


def test_hidden_skin_lies_under_the_cloth(body, wardrobe, bodies):
    for posed in bodies.values():
        meshes, hidden = dress(wardrobe, posed, outfit_of('shirt', wardrobe), 1)
        assert 0.05 < hidden.mean() < 0.6
        (top, ) = meshes
        centers = posed.vertices[body.skin[hidden]].mean(axis=1)
        assert cKDTree(top.vertices).query(centers)[0].max() < 0.08


def test_a_hem_lies_where_the_outfit_says(wardrobe, body):
    for hem in (-0.03, 0.06):
        meshes, _ = dress(wardrobe, body.rest, dict(top=dict(
            OUTFITS['shirt']['top'], sleeve='none', hem=wardrobe.hip + hem)), 1)
        assert meshes[0].vertices[:, 2].min() == pytest.approx(wardrobe.hip + hem, abs=0.01)


def test_nobody_wears_everything(wardrobe):
    rng = np.random.default_rng(0)
    outfits = [sample_outfit(rng, wardrobe) for _ in range(100)]
    for piece in ('top', 'trousers', 'skirt', 'shoes', 'socks', 'hair', 'hat', 'bag'):
        assert 0 < sum(piece in outfit for outfit in outfits) < 100, piece
    for outfit in outfits:
        assert not {'trousers', 'skirt'} <= set(outfit)
    for piece, key, kinds in (('top', 'sleeve', 4), ('trousers', 'legs', 3), ('hair', 'kind', len(KINDS)),
                              ('hat', 'brim', 3)):
        assert len({outfit[piece][key] for outfit in outfits if piece in outfit}) == kinds


def test_an_empty_outfit_hides_nothing(wardrobe, bodies):
    meshes, hidden = dress(wardrobe, bodies['child'], {}, 1)
    assert meshes == []
    assert not hidden.any()


def test_straps_lie_on_the_shirt_wherever_it_has_folds(body, wardrobe):
    camera = frame_box(body.rest.vertices[body.skin_vertices], (256, 192), 1.5)
    for fold in range(4):
        outfit = dict(outfit_of('shirt', wardrobe), **OUTFITS['bag'])
        outfit['top'].update(loose=0.012, fold=fold)
        meshes = {mesh.name: mesh for mesh in dress(wardrobe, body.rest, outfit, 1)[0]}
        strap, apparel = label_buffers([meshes['straps']], camera), PART_IDS['Apparel']
        # Their visible fronts.
        front = (strap.part == apparel) & (strap.depth < np.median(strap.depth[strap.part == apparel]) + 0.05)
        assert front.sum() > 100
        both = label_buffers([meshes['straps'], meshes['top']], camera)
        assert (both.part[front] == apparel).mean() > 0.99, fold


@pytest.mark.parametrize('fold', range(3))
def test_a_waistband_stays_under_the_shirt(body, wardrobe, fold, monkeypatch):
    """In the rest pose, where hems are heights."""
    hem = wardrobe.hip
    outfit = dict(top=dict(sleeve='short', hem=hem, neckline=0.1, cloth=CLOTH, loose=0.0, fold=fold),
                  skirt=dict(hem=-0.5, cloth=dict(CLOTH, color=[0.1, 0.1, 0.5]), loose=0.0, fold=fold + 10))

    def shown() -> int:
        meshes, _ = dress(wardrobe, body.rest, outfit, 1)
        count = 0
        for azimuth in (0, 90, 180, 270):
            camera = frame_box(body.rest.vertices[body.skin_vertices], (400, 300), 2.0, azimuth=azimuth)
            buffers = label_buffers(meshes, camera)
            rows, columns = np.nonzero(buffers.part == PART_IDS['Lower_Clothing'])
            points = camera.rays(np.stack([columns, rows], 1)) * buffers.depth[rows, columns, None]
            heights = ((points - camera.translation) @ camera.rotation)[:, 2]
            count += (heights > hem + 0.004).sum()
        return int(count)

    assert shown() == 0
    monkeypatch.setattr('sapiens_mm.synth.clothes._TUCK', 0.0)
    assert shown() > 0
