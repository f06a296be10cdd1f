"""MakeHuman's clothes, hair, eyebrows and skins on a posed body."""
from functools import cached_property, lru_cache
from pathlib import Path

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..vocabularies.body_parts import PART_IDS
from .assets import read_photo
from .body import Body, PosedBody
from .clothes import Cut
from .makehuman_files import Asset, AssetFiles
from .mesh import Mesh, subdivide, vertex_normals

#: Pixels to which larger textures are reduced.
TEXTURE = 1024
# Rounds in which triangles with transparent texels are divided by four, before they are cut where opacity is a half.
_DIVISIONS, _MAX_FACES = 2, 60_000
_REPLACES = dict(Upper_Clothing=('top', ), Lower_Clothing=('trousers', 'skirt'), Left_Shoe=('shoes', 'socks'),
                 Left_Sock=('socks', ), Hair=('hair', ))
# Probability that a person wears one, if there are any; hair, hat and shoes only where the outfit has them.
_CHANCES = dict(clothes=0.8, shoes=0.8, hat=0.6, hair=0.7, skins=0.8)


class Closet:
    """Pieces of assets that fit a body model."""

    def __init__(self, body: Body, files: AssetFiles):
        self.body, self.skins = body, files.skins
        self.pieces = {name: Piece(body, asset, kind) for kind, assets in files.assets.items()
                       for name, asset in assets.items()}

    def sample(self, rng: np.random.Generator, outfit: dict, male: bool) -> tuple[dict, dict]:
        """Returns the outfit without what assets replace, and names: ``pieces`` and ``skin`` (or None)."""
        outfit, chosen = dict(outfit), []
        for kind in ('clothes', 'shoes', 'hat', 'hair'):
            named = [name for name, piece in self.pieces.items() if piece.kind == kind and piece.suits(male)]
            draw = rng.random(2)
            if named and draw[0] < _CHANCES[kind] and (kind == 'clothes' or kind in outfit):
                chosen.append(named[int(draw[1] * len(named))])
                for part in self.pieces[chosen[-1]].parts_worn:
                    for piece in _REPLACES.get(part, ()):
                        outfit.pop(piece, None)
                if kind == 'hat':
                    outfit.pop('hat')
                if kind == 'clothes':
                    outfit.pop('bag', None)  # its straps lie on the drawn shirt
        skins = [name for name in self.skins if _suits(set(name.replace('/', '_').split('_')), male)]
        brows = [name for name, piece in self.pieces.items() if piece.kind == 'eyebrows']
        draw, skin = rng.random(3), None
        if skins and draw[0] < _CHANCES['skins']:
            skin = skins[int(draw[1] * len(skins))]
            chosen += [brows[int(draw[2] * len(brows))]] if brows else []
        return outfit, dict(pieces=chosen, skin=skin)

    def wear(self, posed: PosedBody, names: dict, instance: int) -> tuple[list[Mesh], np.ndarray]:
        """Returns the meshes of pieces, and (19158,) whether they hide each vertex of the body."""
        hidden = np.zeros(len(posed.vertices), bool)
        for name in names['pieces']:
            hidden[self.pieces[name].asset.deleted] = True
        return [self.pieces[name].mesh(posed, instance) for name in names['pieces']], hidden

    def skin(self, names: dict) -> np.ndarray | None:
        """Returns the chosen skin's texture (h, w, 3) of sRGB bytes."""
        return None if names['skin'] is None else _texture(self.skins[names['skin']].texture)[..., :3]


class Piece:
    """An asset with the part of each face; ``kind``: clothes, shoes, hat, hair or eyebrows."""

    def __init__(self, body: Body, asset: Asset, folder: str):
        self.body, self.asset = body, asset
        if folder == 'clothes':
            self.parts = _parts(body, asset)
            names = self.parts_worn
            self.kind = ('clothes' if names & {'Upper_Clothing', 'Lower_Clothing'} else
                         'shoes' if names & {'Left_Shoe', 'Right_Shoe', 'Left_Sock', 'Right_Sock'} else 'hat')
        else:
            self.kind = folder
            self.parts = np.full(len(asset.faces), PART_IDS['Hair' if folder == 'hair' else 'Face_Neck'], np.uint8)

    @property
    def parts_worn(self) -> set[str]:
        return {name for name, number in PART_IDS.items() if number in self.parts}

    def suits(self, male: bool) -> bool:
        return _suits(self.asset.tags, male)

    @cached_property
    def weights(self) -> np.ndarray:
        return self.body.skin_weights(self.asset.corners, self.asset.weights).astype(np.float32)

    @cached_property
    def refined(self) -> tuple:
        """Returns faces, parts and texture coordinates without transparent texels, and a function that interpolates
        values (V, ...) of the asset's vertices at theirs.
        """
        asset = self.asset
        # One vertex for each pair of a vertex and a texture coordinate.
        keys, corner = np.unique(asset.faces * len(asset.uv) + asset.face_uv, return_inverse=True)
        at, uv = np.divmod(keys, len(asset.uv))
        faces, parts, uv = corner.reshape(-1, 3), self.parts, asset.uv[uv]
        steps = [lambda values: values[at]]
        if asset.material.transparent and asset.material.texture:
            alpha = _texture(asset.material.texture)
            if alpha.shape[2] == 4 and alpha[..., 3].min() < 128:
                faces, parts, uv, more = _without_holes(faces, parts, uv, alpha[..., 3])
                steps += more

        def interpolate(values: np.ndarray) -> np.ndarray:
            for step in steps:
                values = step(values)
            return values

        return faces.astype(np.int32), parts, uv.astype(np.float32), interpolate

    def mesh(self, posed: PosedBody, instance: int) -> Mesh:
        """Returns the piece, fitted to the body in the rest pose and then moved by its bones."""
        rest = self.asset.fit(posed.unposed)
        moves = (self.weights @ posed.transforms.reshape(-1, 16).astype(np.float32)).reshape(-1, 4, 4)
        vertices = np.einsum('nij,nj->ni', moves[:, :3, :3], rest) + moves[:, :3, 3]
        normals = vertex_normals(vertices, self.asset.faces)
        faces, parts, uv, interpolate = self.refined
        material = self.asset.material
        normals = interpolate(normals)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
        albedo = material.color if material.texture is None else _texture(material.texture)[..., :3]
        return Mesh(self.kind, interpolate(vertices).astype(np.float32), faces, parts, instance,
                    uv, albedo, 0.6 if self.kind in ('hair', 'shoes') else 0.8, normals.astype(np.float32))


def _suits(words: set | frozenset, male: bool) -> bool:
    return not {'female' if male else 'male'} & set(words)


def _parts(body: Body, asset: Asset) -> np.ndarray:
    """Returns the class of each face: that of its connected component, by where it lies on the body at rest."""
    pairs = asset.faces[:, [0, 1, 1, 2]].reshape(-1, 2).T
    count = len(asset.vertices)
    number, labels = connected_components(coo_array((np.ones(pairs.shape[1]), pairs), (count, count)), directed=False)
    rest, heads = asset.fit(body.rest.vertices), body.rest.bone_heads
    neck, hip, knee = (heads[bone][2] for bone in ('neck01', 'upperleg01.L', 'lowerleg01.L'))
    hand = 0.5 * abs(heads['wrist.L'][0]) + 0.5 * abs(heads['lowerarm01.L'][0])
    out = np.zeros(len(asset.faces), np.uint8)
    for component in range(number):
        faces = labels[asset.faces[:, 0]] == component
        if not faces.any():
            continue
        points = rest[np.unique(asset.faces[faces])]
        low, high = points[:, 2].min(), points[:, 2].max()
        if low > neck:
            name = 'Apparel'
        elif high < knee or asset.tags & {'shoes', 'boots'}:
            left = rest[asset.faces[faces]].mean(axis=1)[:, 0] > 0
            kind = 'Sock' if asset.tags & {'sock', 'socks'} else 'Shoe'
            out[faces] = np.where(left, PART_IDS[f'Left_{kind}'], PART_IDS[f'Right_{kind}'])
            continue
        elif np.abs(points[:, 0]).min() > hand:
            name = 'Apparel'  # gloves and watches
        else:
            name = 'Upper_Clothing' if high > (hip + neck) / 2 else 'Lower_Clothing'
        out[faces] = PART_IDS[name]
    return out


def _without_holes(faces: np.ndarray, parts: np.ndarray, uv: np.ndarray, alpha: np.ndarray) -> tuple:
    """Divides triangles and cuts them where opacity (h, w) is a half, so that labels end where the image does."""
    steps = []
    for _ in range(_DIVISIONS):
        if 4 * len(faces) > _MAX_FACES:
            break
        faces, a, b = subdivide(faces)
        steps.append(lambda values, a=a, b=b: np.concatenate([values, (values[a] + values[b]) / 2]))
        uv, parts = steps[-1](uv), np.tile(parts, 4)
    h, w = alpha.shape
    x, y = uv[:, 0] % 1 * w, (1 - uv[:, 1] % 1) * h
    opacity = alpha[np.clip(y, 0, h - 1).astype(int), np.clip(x, 0, w - 1).astype(int)]
    cut = Cut(faces, opacity / 255 - 0.5)
    return cut.faces, parts[cut.source], cut(uv), [*steps, cut]


@lru_cache(maxsize=64)
def _texture(path: Path) -> np.ndarray:
    """Reads a texture as (h, w, 3 or 4) sRGB bytes, with opacity as the fourth channel."""
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 4:
        image = read_photo(path)[..., ::-1]
    scale = TEXTURE / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image[..., [2, 1, 0, 3][:image.shape[2]]])
