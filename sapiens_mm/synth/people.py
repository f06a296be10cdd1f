"""People with pose, face, clothes and colors, sampled as plain numbers and built as meshes."""
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from ..vocabularies.body_parts import PART_IDS
from .body import Body, PosedBody
from .clothes import Wardrobe, compact, dress, sample_outfit
from .landmarks import BROW_OUTLINES, IRIS_RADIUS, LASH_LINES, PUPIL_RADIUS, interpolate, place_landmarks
from .mesh import Mesh, triangles, vertex_normals
from .poses import PENETRATION_TOLERANCE, penetration, sample_pose
from .textures import draw_eye, draw_skin, line_mask, outline_mask, sample_complexion, skin_masks

_ATTEMPTS = 8
# Probability of each expression, and the ranges of Anny's facial actions in it.
_EXPRESSIONS = (
    (0.30, {}),
    (0.22, {'mouthSmileLeft': (0.4, 1.), 'mouthSmileRight': (0.4, 1.), 'cheekSquintLeft': (0., 0.6)}),
    (0.16, {'jawOpen': (0.25, 0.8), 'mouthLowerDownLeft': (0.2, 0.7), 'mouthLowerDownRight': (0.2, 0.7),
            'mouthUpperUpLeft': (0.2, 0.7), 'mouthUpperUpRight': (0.2, 0.7)}),
    (0.06, {'jawOpen': (0.4, 0.8), 'tongueOut': (0.3, 0.9)}),
    (0.08, {'eyeBlinkLeft': (0.7, 1.), 'eyeBlinkRight': (0.7, 1.)}),
    (0.08, {'mouthFrownLeft': (0.3, 0.9), 'mouthFrownRight': (0.3, 0.9), 'browDownLeft': (0.3, 1.),
            'browDownRight': (0.3, 1.)}),
    (0.06, {'browInnerUp': (0.4, 1.), 'eyeWideLeft': (0.4, 1.), 'eyeWideRight': (0.4, 1.), 'jawOpen': (0.1, 0.4)}),
    (0.04, {'mouthPucker': (0.4, 1.), 'cheekPuff': (0., 0.6)}),
)


@dataclass
class Person:
    """A person: meshes of skin, eyes, mouth, clothes and hair; the posed body; and (N, 3) landmarks in the order of
    :data:`sapiens_mm.synth.landmarks.LANDMARK_NAMES`, NaN where undefined.
    """
    meshes: list[Mesh]
    landmarks: np.ndarray
    body: PosedBody


def sample_person(body: Body, wardrobe: Wardrobe, rng: np.random.Generator,
                  poses: Sequence[str] = ('everyday', )) -> dict:
    """Samples the parameters of :func:`build_person`, again if limbs intersect; ``penetration`` is the depth in m.

    ``poses`` are groups of :data:`sapiens_mm.synth.poses.POSES`.
    """
    phenotypes = dict(
        gender=float(np.clip(rng.choice([0.1, 0.9]) + rng.normal(0, 0.1), 0, 1)), age=float(rng.uniform(0.3, 1.)),
        muscle=float(rng.beta(3, 3)), weight=float(rng.beta(3, 3)), height=float(rng.beta(3, 3)),
        proportions=float(rng.beta(3, 2)), cupsize=float(rng.beta(2, 2)), firmness=float(rng.beta(3, 2)))
    phenotypes.update(zip(('african', 'asian', 'caucasian'), map(float, rng.dirichlet([0.5, 0.5, 0.5]))))
    phenotypes = {key: round(value, 4) for key, value in phenotypes.items()}
    face = _sample_face(rng)
    best = None
    for _ in range(_ATTEMPTS):
        pose = sample_pose(body, rng, groups=poses)
        depth = penetration(body, body.pose(phenotypes, face, pose['rotations']))
        if best is None or depth < best['penetration']:
            best = dict(pose, penetration=round(depth, 4))
        if depth <= PENETRATION_TOLERANCE:
            break
    drawn = dict(phenotypes=phenotypes, face=face, pose=best, outfit=sample_outfit(rng, wardrobe),
                 complexion=sample_complexion(rng))
    if wardrobe.closet:
        # A generator of its own, so that the scenes of a seed stay as they are.
        drawn['outfit'], drawn['assets'] = wardrobe.closet.sample(
            np.random.default_rng(drawn['complexion']['seed']), drawn['outfit'], phenotypes['gender'] < 0.5)
    return drawn


def _sample_face(rng: np.random.Generator) -> dict[str, float]:
    chances = np.array([chance for chance, _ in _EXPRESSIONS])
    actions = _EXPRESSIONS[rng.choice(len(_EXPRESSIONS), p=chances / chances.sum())][1]
    face = {name: round(float(rng.uniform(*limits)), 3) for name, limits in actions.items()}
    # Both eyes look in one direction: `across` to the person's left, `up`.
    across, up = rng.normal(0, 0.25, 2)
    for amount, directions in ((across, ('Out', 'In') if across > 0 else ('In', 'Out')),
                               (up, ('Up', 'Up') if up > 0 else ('Down', 'Down'))):
        if abs(amount) > 0.05:
            for side, direction in zip(('Left', 'Right'), directions):
                face[f'eyeLook{direction}{side}'] = round(float(min(abs(amount), 0.6)), 3)
    return face


def build_person(body: Body, wardrobe: Wardrobe, parameters: dict, rotation: np.ndarray, translation: np.ndarray,
                 instance: int) -> Person:
    """Builds the meshes and landmarks of person ``instance`` (from 1) from :func:`sample_person`.

    Unless its pose turns it, the person looks to -y. The pelvis is at x = y = 0 and the lowest point at z = 0. Then
    the person is rotated by ``rotation`` (3, 3) about the origin and moved by ``translation`` (3,) meters.
    """
    posed = body.pose(parameters['phenotypes'], parameters['face'], parameters['pose']['rotations'])
    if 'turn' in parameters['pose']:
        posed = posed.moved(cv2.Rodrigues(np.array(parameters['pose']['turn']))[0], np.zeros(3))
    pelvis = posed.bone_heads['root']
    ground = np.array([pelvis[0], pelvis[1], posed.vertices[body.skin_vertices, 2].min()])
    posed = posed.moved(np.eye(3), -ground).moved(rotation, translation)
    outfit, complexion = parameters['outfit'], parameters['complexion']
    clothes, hidden = dress(wardrobe, posed, outfit, instance)
    hair = outfit.get('hair', {}).get('color', [0.03, 0.02, 0.015])
    texture = None
    if names := parameters.get('assets'):
        worn, covered = wardrobe.closet.wear(posed, names, instance)
        clothes, hidden = clothes + worn, hidden | covered[body.skin].all(axis=1)
        texture = wardrobe.closet.skin(names)
    if texture is None:
        texture = draw_skin(complexion, _skin_masks(body), hair)
    meshes = [_skin(body, posed, ~hidden, texture, instance)]
    meshes += _eyes(body, posed, complexion, instance) + _mouth(body, posed, instance) + clothes
    landmarks = place_landmarks(posed.vertices, posed.bone_heads, posed.bone_tails)
    return Person(meshes, landmarks, posed)


def _skin(body: Body, posed: PosedBody, shown: np.ndarray, texture: np.ndarray, instance: int) -> Mesh:
    normals = body.skin_normals(posed)
    # One vertex for each pair of a vertex and a texture coordinate: seams have two of them.
    places, ids = body.skin_places
    corners = body.skin[shown].astype(np.int64) * len(places) + ids[shown]
    pairs, corner = np.unique(corners.ravel(), return_inverse=True)
    vertices, places_used = np.divmod(pairs, len(places))
    return Mesh('skin', posed.vertices[vertices], triangles(corner.reshape(-1, 4)), np.tile(body.skin_parts[shown], 2),
                instance, places[places_used], texture, 0.5, normals[vertices], body.part_weights[vertices])


@cache
def _skin_masks(body: Body) -> dict[str, np.ndarray]:
    names = ('lips', 'face', 'fingernails', 'toenails', 'inside-mouth')
    uv = np.zeros((len(body.rest.vertices), 2), np.float32)
    uv[body.skin.ravel()] = body.skin_uv.reshape(-1, 2)
    lashes = [interpolate(uv, line) for line in LASH_LINES]
    return dict(skin_masks({name: body.mask(name) for name in names}),
                brows=outline_mask([interpolate(uv, outline) for outline in BROW_OUTLINES]),
                lashes=line_mask([line[line[:, 0].argsort()] for line in lashes]))


def _group(body: Body, posed: PosedBody, name: str, group: str, part: str, **options) -> tuple[Mesh, np.ndarray]:
    faces, used = compact(triangles(body.groups[group]))
    vertices = posed.vertices[used]
    return Mesh(name, vertices, faces, np.full(len(faces), PART_IDS[part], np.uint8),
                normals=vertex_normals(vertices, faces), **options), used


def _eyes(body: Body, posed: PosedBody, complexion: dict, instance: int) -> list[Mesh]:
    texture = draw_eye(complexion, IRIS_RADIUS, PUPIL_RADIUS)
    meshes = []
    for side, bone in (('l', 'eye.L'), ('r', 'eye.R')):
        mesh, used = _group(body, posed, 'eye', f'helper-{side}-eye', 'Face_Neck', instance=instance, albedo=texture,
                            roughness=0.15)
        rest = body.rest.vertices[used]
        radius = np.linalg.norm(rest - body.rest.bone_heads[bone], axis=1).max()
        # Projected along the view at the pole, where the keypoints are; the hidden back gets the same.
        pole = interpolate(body.rest.vertices, [f'{side}_center_of_iris'])[0]
        mesh.uv = (0.5 + (rest - pole)[:, [0, 2]] / (2 * radius)).astype(np.float32)
        meshes.append(mesh)
    return meshes


def _mouth(body: Body, posed: PosedBody, instance: int) -> list[Mesh]:
    colors = dict(Upper_Teeth=(0.75, 0.70, 0.60), Lower_Teeth=(0.72, 0.67, 0.57), Tongue=(0.42, 0.13, 0.12))
    return [_group(body, posed, part.lower(), f'helper-{part.lower().replace("_", "-")}', part, instance=instance,
                   albedo=color, roughness=0.4)[0] for part, color in colors.items()]
