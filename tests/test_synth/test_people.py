"""People drawn as plain numbers and built as meshes."""
import json

import numpy as np
import pytest

pytest.importorskip('anny')

from sapiens_mm.synth.landmarks import LANDMARK_NAMES  # noqa: E402
from sapiens_mm.synth.people import build_person, sample_person  # noqa: E402
from sapiens_mm.synth.scene import check_meshes  # noqa: E402
from sapiens_mm.vocabularies.body_parts import PART_IDS, PART_NAMES  # noqa: E402

TURN = np.array([[0., -1, 0], [1, 0, 0], [0, 0, 1]])


@pytest.fixture(scope='module')
def drawn(body, wardrobe) -> dict:
    return sample_person(body, wardrobe, np.random.default_rng(1))


@pytest.fixture(scope='module')
def bare(body, wardrobe, drawn):
    return build_person(body, wardrobe, dict(drawn, outfit={}), np.eye(3), np.zeros(3), 3)


def test_parameters_survive_json_and_build_the_same_person(body, wardrobe, drawn):
    again = json.loads(json.dumps(drawn))
    assert again == drawn
    first, second = (build_person(body, wardrobe, parameters, TURN, np.array([1., 2, 0]), 1)
                     for parameters in (drawn, again))
    np.testing.assert_array_equal(first.landmarks, second.landmarks)
    assert len(first.meshes) == len(second.meshes)
    for a, b in zip(first.meshes, second.meshes):
        np.testing.assert_array_equal(a.vertices, b.vertices)
        np.testing.assert_array_equal(a.albedo, b.albedo)


def test_the_same_seed_draws_the_same_person_and_another_one_does_not(body, wardrobe, drawn):
    assert sample_person(body, wardrobe, np.random.default_rng(1)) == drawn
    assert sample_person(body, wardrobe, np.random.default_rng(2)) != drawn


def test_turning_and_placing_moves_meshes_and_landmarks_alike(body, wardrobe, drawn, bare):
    place = np.array([1., -2, 0.5])
    moved = build_person(body, wardrobe, dict(drawn, outfit={}), TURN, place, 3)
    assert moved.body.vertices[body.skin_vertices, 2].min() == pytest.approx(0.5, abs=1e-4)
    np.testing.assert_allclose(moved.body.bone_heads['root'][:2], place[:2], atol=1e-4)
    np.testing.assert_allclose(moved.landmarks, bare.landmarks @ TURN.T + place, atol=1e-4)
    for a, b in zip(bare.meshes, moved.meshes):
        np.testing.assert_allclose(b.vertices, a.vertices @ TURN.T + place, atol=1e-4)


def test_meshes_are_whole(body, wardrobe):
    for seed in range(4):
        parameters = sample_person(body, wardrobe, np.random.default_rng([8, seed]))
        for mesh in build_person(body, wardrobe, parameters, np.eye(3), np.zeros(3), 2).meshes:
            check_meshes([mesh])
            assert 1 <= mesh.parts.min() <= mesh.parts.max() < len(PART_NAMES)
            assert mesh.instance == 2
            used = np.unique(mesh.faces)
            np.testing.assert_allclose(np.linalg.norm(mesh.normals[used], axis=1), 1, atol=1e-3)


def test_landmarks_of_the_surface_lie_on_the_skin_or_the_eyes(bare):
    from scipy.spatial import cKDTree
    surface = cKDTree(np.concatenate([mesh.vertices for mesh in bare.meshes if mesh.name in ('skin', 'eye')]))
    for name in ('nose', 'left_big_toe', 'right_heel', 'tip_of_chin', 'l_center_of_pupil', 'r_tip_of_ear_lobe'):
        assert surface.query(bare.landmarks[LANDMARK_NAMES.index(name)])[0] < 0.006, name


def test_teeth_and_tongue_lie_behind_the_lips(body, bare):
    parts = np.concatenate([mesh.parts for mesh in bare.meshes])
    for part in ('Upper_Teeth', 'Lower_Teeth', 'Tongue', 'Upper_Lip', 'Lower_Lip', 'Torso', 'Left_Hand'):
        assert (parts == PART_IDS[part]).any(), part
    teeth = [mesh.vertices.mean(axis=0) for mesh in bare.meshes if mesh.name == 'upper_teeth'][0]
    tip, back = bare.landmarks[LANDMARK_NAMES.index('nose')], bare.body.bone_heads['head']
    ahead = (tip - back) / np.linalg.norm(tip - back)
    assert (teeth - tip) @ ahead < 0


def test_bare_people_wear_nothing(bare):
    assert {mesh.name for mesh in bare.meshes} == {'skin', 'eye', 'upper_teeth', 'lower_teeth', 'tongue'}
    bare_parts = {PART_NAMES[part] for mesh in bare.meshes for part in np.unique(mesh.parts)}
    assert not bare_parts & {'Upper_Clothing', 'Lower_Clothing', 'Apparel', 'Hair', 'Left_Shoe', 'Left_Sock'}


def test_complexion_and_irises_show_in_the_textures(body, wardrobe, drawn):
    def textures(**complexion):
        person = build_person(body, wardrobe, dict(
            drawn, outfit={}, complexion=dict(drawn['complexion'], **complexion)), np.eye(3), np.zeros(3), 1)
        mean = {mesh.name: np.mean(mesh.albedo) for mesh in person.meshes}
        return mean['skin'], mean['eye']

    light, dark = textures(skin=[0.75, 0.52, 0.42]), textures(skin=[0.09, 0.045, 0.027])
    assert light[0] > dark[0] + 50
    assert light[1] == dark[1]
    assert textures(eyes=[0.2, 0.24, 0.26])[1] != textures(eyes=[0.04, 0.02, 0.01])[1]


@pytest.fixture(scope='module')
def crowd(body, wardrobe) -> list:
    return [sample_person(body, wardrobe, np.random.default_rng([9, seed])) for seed in range(12)]


def test_people_vary(crowd):
    genders, ages = (np.array([person['phenotypes'][name] for person in crowd]) for name in ('gender', 'age'))
    assert genders.min() < 0.4
    assert genders.max() > 0.6
    assert np.ptp(ages) > 0.3
    assert len({person['pose']['kind'] for person in crowd}) > 2
    assert len({json.dumps(person['face']) for person in crowd}) > 6
    for person in crowd:
        values = np.array([person['phenotypes'][race] for race in ('african', 'asian', 'caucasian')])
        assert values.sum() == pytest.approx(1, abs=1e-3)
        assert all(0 <= value <= 1 for value in person['face'].values())


def test_eyes_look_in_one_direction(crowd):
    """Where one eye looks out, the other looks in."""
    compared = 0
    for face in (person['face'] for person in crowd):
        for a, b in (('eyeLookOutLeft', 'eyeLookInRight'), ('eyeLookInLeft', 'eyeLookOutRight'),
                     ('eyeLookUpLeft', 'eyeLookUpRight'), ('eyeLookDownLeft', 'eyeLookDownRight')):
            assert face.get(a) == face.get(b)
            compared += a in face
    assert compared > 5
