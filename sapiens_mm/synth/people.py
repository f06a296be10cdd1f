"""Whole people: a body with a pose, a face, clothes and colours, drawn as plain numbers and built as meshes."""
from dataclasses import dataclass
from functools import cache

import numpy as np

from sapiens_mm.vocabularies.body_parts import PART_IDS

from .body import Body, PosedBody
from .clothes import Wardrobe, compact, dress, sample_outfit
from .landmarks import BROW_OUTLINES, IRIS_RADIUS, PUPIL_RADIUS, interpolate, place_landmarks
from .mesh import Mesh, triangles, vertex_normals
from .poses import PENETRATION_TOLERANCE, penetration, sample_pose
from .textures import draw_eye, draw_skin, outline_mask, sample_complexion, skin_masks

_ATTEMPTS = 8
# What faces do, and how often: actions of Anny and the range of their strength.
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
    """A person in the world.

    Attributes:
        meshes: Skin, eyes, mouth, clothes and hair.
        landmarks: (N, 3) in the order of :data:`sapiens_mm.synth.landmarks.LANDMARK_NAMES`, NaN where undefined.
        body: The posed body.
    """

    meshes: list[Mesh]
    landmarks: np.ndarray
    body: PosedBody


def sample_person(body: Body, wardrobe: Wardrobe, rng: np.random.Generator) -> dict:
    """Draws a person: everything that :func:`build_person` needs, as plain numbers.

    Poses in which a limb goes deeper than :data:`PENETRATION_TOLERANCE` into the body are drawn again; after some
    attempts the least deep one is taken, and ``penetration`` tells its depth in metres.
    """
    phenotypes = dict(
        gender=float(np.clip(rng.choice([0.1, 0.9]) + rng.normal(0, 0.1), 0, 1)), age=float(rng.uniform(0.3, 1.)),
        muscle=float(rng.beta(3, 3)), weight=float(rng.beta(3, 3)), height=float(rng.beta(3, 3)),
        proportions=float(rng.beta(3, 2)), cupsize=float(rng.beta(2, 2)), firmness=float(rng.beta(3, 2)))
    races = rng.dirichlet([0.5, 0.5, 0.5])
    phenotypes.update(african=float(races[0]), asian=float(races[1]), caucasian=float(races[2]))
    phenotypes = {key: round(value, 4) for key, value in phenotypes.items()}
    face = _sample_face(rng)
    best = None
    for _ in range(_ATTEMPTS):
        pose = sample_pose(body, rng)
        depth = penetration(body, body.pose(phenotypes, face, pose['rotations']))
        if best is None or depth < best['penetration']:
            best = dict(pose, penetration=round(depth, 4))
        if depth <= PENETRATION_TOLERANCE:
            break
    return dict(phenotypes=phenotypes, face=face, pose=best, outfit=sample_outfit(rng, wardrobe),
                complexion=sample_complexion(rng))


def _sample_face(rng: np.random.Generator) -> dict[str, float]:
    chances = np.array([chance for chance, _ in _EXPRESSIONS])
    actions = _EXPRESSIONS[rng.choice(len(_EXPRESSIONS), p=chances / chances.sum())][1]
    face = {name: round(float(rng.uniform(*limits)), 3) for name, limits in actions.items()}
    # Where the eyes look.
    across, along = rng.normal(0, 0.25, 2)
    face.update(_look('Out', 'In', across) if abs(across) > 0.05 else {})
    if abs(along) > 0.05:
        for side in ('Left', 'Right'):
            face[f'eyeLook{"Up" if along > 0 else "Down"}{side}'] = round(float(min(abs(along), 0.6)), 3)
    return face


def _look(out: str, into: str, amount: float) -> dict[str, float]:
    """Both eyes to the person's left where ``amount`` is positive."""
    left, right = (out, into) if amount > 0 else (into, out)
    strength = round(float(min(abs(amount), 0.6)), 3)
    return {f'eyeLook{left}Left': strength, f'eyeLook{right}Right': strength}


def build_person(body: Body, wardrobe: Wardrobe, parameters: dict, rotation: np.ndarray, translation: np.ndarray,
                 instance: int) -> Person:
    """Builds a drawn person.

    Args:
        body: The body model.
        wardrobe: Its wardrobe.
        parameters: From :func:`sample_person`.
        rotation: (3, 3), about the origin; the unrotated person looks to -y.
        translation: (3,) metres; at 0 the pelvis stands at x = y = 0 and the lowest point of the body on z = 0.
        instance: Number of the person in the scene, from 1.
    """
    posed = body.pose(parameters['phenotypes'], parameters['face'], parameters['pose']['rotations'])
    pelvis = posed.bone_heads['root']
    ground = np.array([pelvis[0], pelvis[1], posed.vertices[body.skin_vertices, 2].min()])
    posed = posed.moved(np.eye(3), -ground).moved(rotation, translation)
    outfit, complexion = parameters['outfit'], parameters['complexion']
    clothes, hidden = dress(wardrobe, posed, outfit, instance)
    hair = outfit.get('hair', {}).get('color', [0.03, 0.02, 0.015])
    meshes = [_skin(body, posed, ~hidden, draw_skin(complexion, _skin_masks(body), hair), instance)]
    meshes += _eyes(body, posed, complexion, instance) + _mouth(body, posed, instance) + clothes
    landmarks = place_landmarks(posed.vertices, posed.bone_heads, posed.bone_tails)
    return Person(meshes, landmarks, posed)


def _skin(body: Body, posed: PosedBody, shown: np.ndarray, texture: np.ndarray, instance: int) -> Mesh:
    normals = body.skin_normals(posed)
    # One vertex for each pair of a vertex and a place in the texture: seams have two of them.
    num_places = len(body.skin_places[0])
    corners = body.skin[shown].astype(np.int64) * num_places + body.skin_places[1][shown]
    pairs, corner = np.unique(corners.ravel(), return_inverse=True)
    faces = triangles(corner.reshape(-1, 4))
    parts = body.skin_parts[shown]
    vertices, places = np.divmod(pairs, num_places)
    return Mesh('skin', posed.vertices[vertices], faces, np.concatenate([parts, parts]), instance,
                body.skin_places[0][places], texture, 0.5, normals[vertices])


@cache
def _skin_masks(body: Body) -> dict[str, np.ndarray]:
    """What :func:`draw_skin` tints: MakeHuman's masks and the brows, which lie on their keypoints."""
    names = ('lips', 'face', 'fingernails', 'toenails', 'inside-mouth')
    uv = np.zeros((len(body.rest.vertices), 2), np.float32)
    uv[body.skin.ravel()] = body.skin_uv.reshape(-1, 2)
    return dict(skin_masks({name: body.mask(name) for name in names}),
                brows=outline_mask([interpolate(uv, outline) for outline in BROW_OUTLINES]))


def _eyes(body: Body, posed: PosedBody, complexion: dict, instance: int) -> list[Mesh]:
    texture = draw_eye(complexion, IRIS_RADIUS, PUPIL_RADIUS)
    meshes = []
    for side, bone in (('l', 'eye.L'), ('r', 'eye.R')):
        faces, used = compact(triangles(body.groups[f'helper-{side}-eye']))
        radius = np.linalg.norm(body.rest.vertices[used] - body.rest.bone_heads[bone], axis=1).max()
        # Seen from before the pole, where the keypoints are; the back of the ball, which nobody sees, gets the same.
        pole = interpolate(body.rest.vertices, [f'{side}_center_of_iris'])[0]
        uv = 0.5 + (body.rest.vertices[used] - pole)[:, [0, 2]] / (2 * radius)
        vertices = posed.vertices[used]
        meshes.append(Mesh('eye', vertices, faces, np.full(len(faces), PART_IDS['Face_Neck'], np.uint8), instance,
                           uv.astype(np.float32), texture, 0.15, vertex_normals(vertices, faces)))
    return meshes


def _mouth(body: Body, posed: PosedBody, instance: int) -> list[Mesh]:
    meshes = []
    for group, part, color in (('helper-upper-teeth', 'Upper_Teeth', (0.75, 0.70, 0.60)),
                               ('helper-lower-teeth', 'Lower_Teeth', (0.72, 0.67, 0.57)),
                               ('helper-tongue', 'Tongue', (0.42, 0.13, 0.12))):
        faces, used = compact(triangles(body.groups[group]))
        vertices = posed.vertices[used]
        meshes.append(Mesh(part.lower(), vertices, faces, np.full(len(faces), PART_IDS[part], np.uint8), instance, None,
                           color, 0.4, vertex_normals(vertices, faces)))
    return meshes
