"""Clothes, hair and accessories, cut from MakeHuman's helper geometry or offset from the skin.

Each piece is sampled as a dictionary of plain numbers and built on a posed body. Skin under cloth is removed, so that
it does not show through.
"""
from functools import cached_property

import numpy as np
from scipy.spatial import ConvexHull

from ..vocabularies.body_parts import PART_IDS
from .body import NUM_VERTICES, Body, PosedBody
from .hair import HANGING, KINDS, LOCKS, TIED, HeadFrame, Surface, draw_hair, grow, grow_tail, sample_style, scatter
from .mesh import Mesh, face_normals, triangles, vertex_normals
from .textures import draw_cloth, sample_cloth

# Ends along arm or leg (see Wardrobe).
_SLEEVES = {'none': 0.1, 'short': 0.6, 'half': 0.95, 'long': 1.93}
_LEGS = {'shorts': 0.55, 'knee': 0.95, 'long': 1.9}
_SOCKS = {'ankle': 1.85, 'crew': 1.6, 'knee': 1.12}
_TUCK = 0.02  # meters: so much closer to the body a skirt's waistband lies under a shirt
_HEM_MARGIN = 0.02  # meters: skin this far inside a hem is hidden


def compact(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns int32 faces renumbered to the vertices that they use, and these vertices."""
    used, renumbered = np.unique(faces, return_inverse=True)
    return renumbered.reshape(faces.shape).astype(np.int32), used


class Cut:
    """The part of a mesh with (F, 3) ``faces`` where ``field`` (V,), ideally a distance, is positive. Its ``faces``
    (G, 3) int32, each a part of the old face ``source[g]``, join new vertices, of which the i-th is
    ``(1 - t[i]) * old[a[i]] + t[i] * old[b[i]]``.
    """

    def __init__(self, faces: np.ndarray, field: np.ndarray):
        inside = field[faces] > 0
        count = inside.sum(axis=1)
        # Rotate the vertex that is alone on its side to the front; the winding stays.
        alone = np.where(count == 1, inside.argmax(axis=1), (~inside).argmax(axis=1))
        turned = np.take_along_axis(faces, (alone[:, None] + np.arange(3)) % 3, axis=1)
        number = len(field)

        def edge(p, q):  # a number for each edge, beyond those of the vertices
            return number + np.minimum(p, q).astype(np.int64) * number + np.maximum(p, q)

        p, q, r = turned[count == 1].T
        one = np.stack([p, edge(p, q), edge(p, r)], axis=1)
        p, q, r = turned[count == 2].T
        two = np.concatenate([np.stack([edge(p, q), q, r], axis=1), np.stack([edge(p, q), r, edge(p, r)], axis=1)])
        self.faces, keys = compact(np.concatenate([faces[count == 3].astype(np.int64), one, two]))
        some = np.flatnonzero(count == 2)
        self.source = np.concatenate([np.flatnonzero(count == 3), np.flatnonzero(count == 1), some, some])
        whole = keys < number
        self.a = np.where(whole, keys, (keys - number) // number)
        self.b = np.where(whole, keys, (keys - number) % number)
        start, end = field[self.a], field[self.b]
        self.t = np.where(whole, 0., start / np.where(whole, 1., start - end)).astype(np.float32)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Interpolates values of the old vertices to (N, ...) float32 at the new ones."""
        t = self.t.reshape(-1, *[1] * (values.ndim - 1))
        return ((1 - t) * values[self.a] + t * values[self.b]).astype(np.float32)


class Wardrobe:
    """Extents of garments: distance of each vertex to the edge in meters (positive inside), in the rest pose; and a
    ``closet`` with garments of other origin, or None.
    """

    def __init__(self, body: Body, closet=None):
        self.body, self.closet = body, closet
        heads, weights = body.rest.bone_heads, body.bone_weights
        self.rest = body.rest.vertices
        self.z = self.rest[:, 2]
        self.is_arm = weights('upperarm', 'lowerarm', 'wrist', 'metacarpal', 'finger')
        self.is_leg = weights('upperleg', 'lowerleg', 'foot', 'toe')
        # Along an arm 0 is the shoulder, 1 the elbow, 2 the wrist; along a leg 0 is the hip, 1 the knee, 2 the ankle.
        arm = self._along(('upperarm01', 'lowerarm01', 'wrist'))
        leg = self._along(('upperleg01', 'lowerleg01', 'foot'))
        self.arm = self.is_arm * arm - (1 - self.is_arm) * 0.3
        self.leg = self.is_leg * leg - (1 - self.is_leg) * 0.3
        self.hip, self.neck = heads['upperleg01.L'][2], heads['neck01']
        self.eyes = (heads['eye.L'] + heads['eye.R']) / 2
        self.tights, self.skirt = (triangles(body.groups[f'helper-{name}']) for name in ('tights', 'skirt'))
        self.skin = triangles(body.skin)

    def _along(self, bones: tuple[str, str, str]) -> np.ndarray:
        """Returns (V,) positions along the chain of two bones on each vertex's side, extrapolated beyond its ends."""
        out = np.zeros(NUM_VERTICES, np.float32)
        for side, here in (('L', self.rest[:, 0] > 0), ('R', self.rest[:, 0] <= 0)):
            points = self.rest[here]
            joints = [self.body.rest.bone_heads[f'{bone}.{side}'] for bone in bones]
            places, distances = [], []
            for segment in (0, 1):
                start, direction = joints[segment], joints[segment + 1] - joints[segment]
                t = (points - start) @ direction / (direction @ direction)
                t = np.clip(t, None if segment == 0 else 0, None if segment == 1 else 1)
                places.append(segment + t)
                distances.append(np.linalg.norm(points - start - t[:, None] * direction, axis=1))
            out[here] = np.where(distances[0] < distances[1], *places)
        return out

    def upper(self, sleeve: float, hem: float, neckline: float) -> np.ndarray:
        """Returns a shirt's extent; ``sleeve``: its end along the arm, ``neckline``: its distance from the nape."""
        trunk = np.where(self.is_arm > 0.5, 1., self.z - hem)
        neck = np.linalg.norm(self.rest - self.neck, axis=1) - neckline
        throat = np.minimum(self.neck[2] + 0.07 - self.z, 0.2 * (0.4 - self.body.bone_weights('head')))
        return np.minimum.reduce([trunk, neck, throat, 0.27 * (sleeve - self.arm)])

    def lower(self, length: float, waist: float) -> np.ndarray:
        return np.minimum.reduce([waist - self.z, 0.4 * (length - self.leg), np.where(self.is_arm > 0.5, -1., 1.)])

    def sock(self, start: float) -> np.ndarray:
        return 0.4 * (self.leg - start)

    @cached_property
    def scalp(self) -> np.ndarray:
        """Returns the hair's extent: from the forehead past the front of the ears and around them to the nape."""
        above, back = self.z - self.eyes[2], self.rest[:, 1] - self.eyes[1]
        line = np.interp(back, [0.0, 0.035, 0.075, 0.10, 0.14, 0.2], [0.075, 0.045, 0.01, 0.0, -0.05, -0.075])
        ear = np.array([np.abs(self.rest[:, 0]) - 0.085, 0.8 * (back - 0.095), 0.55 * (above - 0.0)])
        ears = np.linalg.norm(ear, axis=0) - 0.021
        head = 0.2 * (self.body.bone_weights('head') - 0.5)
        return np.minimum.reduce([above - line, ears, head])

    @cached_property
    def hat(self) -> np.ndarray:
        """Returns a hat's extent: above a plane from the brows to somewhat lower at the back of the head."""
        return np.minimum(self.z - self.eyes[2] + 0.18 * (self.rest[:, 1] - self.eyes[1]) - 0.055,
                          0.2 * (self.body.bone_weights('head') - 0.5))

    @cached_property
    def crown(self) -> int:
        return int(self.body.skin_vertices[self.z[self.body.skin_vertices].argmax()])


def sample_outfit(rng: np.random.Generator, wardrobe: Wardrobe) -> dict:
    """Samples clothes, hair and a bag of a person, each with a probability."""
    outfit, hip = {}, wardrobe.hip

    def cloth(low=0.002, high=0.012):
        return dict(cloth=sample_cloth(rng), loose=float(rng.uniform(low, high)), fold=int(rng.integers(2**31)))

    dress = rng.random() < 0.1
    if dress or rng.random() < 0.92:
        outfit['top'] = dict(
            sleeve=str(rng.choice(list(_SLEEVES), p=[0.15, 0.35, 0.1, 0.4])), hem=float(hip + rng.uniform(-0.05, 0.08)),
            neckline=float(rng.choice([0., rng.uniform(0.075, 0.12)], p=[0.15, 0.85])), **cloth())
    if dress or rng.random() < 0.2:
        outfit['skirt'] = dict(hem=float(rng.uniform(-0.75, -0.25)), **cloth())
        if dress:
            outfit['skirt']['cloth'] = outfit['top']['cloth']
    elif rng.random() < 0.95:
        outfit['trousers'] = dict(
            legs=str(rng.choice(list(_LEGS), p=[0.2, 0.15, 0.65])), waist=float(hip + rng.uniform(0.06, 0.12)),
            **cloth(0.002, 0.014))
    if rng.random() < 0.7:
        outfit['shoes'] = dict(height=float(rng.choice([1.86, 1.94, 1.7])), **cloth(0.006, 0.01))
    if rng.random() < 0.6:
        outfit['socks'] = dict(start=str(rng.choice(list(_SOCKS))), **cloth(0.0015, 0.002))
    if rng.random() < 0.88:
        outfit['hair'] = dict(
            kind=str(rng.choice(list(KINDS), p=list(KINDS.values()))),
            volume=float(rng.uniform(0.008, 0.028)), length=float(rng.uniform(0.1, 0.34)),
            color=_hair_color(rng), fold=int(rng.integers(2**31)))
        # A generator of its own, so that the other pieces of a seed stay as they were.
        outfit['hair'].update(sample_style(np.random.default_rng(outfit['hair']['fold'])))
    if rng.random() < 0.22:
        outfit['hat'] = dict(brim=str(rng.choice(['none', 'visor', 'round'])), **cloth(0.014, 0.02))
    if rng.random() < 0.2:
        outfit['bag'] = dict(
            size=[float(rng.uniform(*limits)) for limits in ((0.24, 0.32), (0.10, 0.16), (0.32, 0.44))],
            **cloth(0.004, 0.006))
    return outfit


def _hair_color(rng: np.random.Generator) -> list[float]:
    """Returns linear RGB: black, brown, blond, red or gray."""
    base = np.array([[0.012, 0.009, 0.008], [0.04, 0.02, 0.012], [0.12, 0.06, 0.03], [0.35, 0.22, 0.1],
                     [0.2, 0.06, 0.02], [0.35, 0.35, 0.34]])
    return (base[rng.choice(6, p=[0.35, 0.25, 0.15, 0.1, 0.05, 0.1])] * rng.uniform(0.7, 1.3)).round(4).tolist()


def dress(wardrobe: Wardrobe, posed: PosedBody, outfit: dict, instance: int) -> tuple[list[Mesh], np.ndarray]:
    """Returns the meshes of an outfit from :func:`sample_outfit`, and (F,) whether they hide each skin quad."""
    fitting = _Fitting(wardrobe, posed, outfit, instance)
    for name in ('socks', 'trousers', 'skirt', 'top', 'shoes', 'hair', 'hat', 'bag'):
        if name in outfit:
            getattr(fitting, name)(outfit[name])
    return [mesh for mesh in fitting.meshes if len(mesh.faces)], fitting.hidden[wardrobe.body.skin].all(axis=1)


class _Fitting:
    """An outfit on a posed body: its methods add meshes of a piece and mark (V,) hidden vertices."""

    def __init__(self, wardrobe: Wardrobe, posed: PosedBody, outfit: dict, instance: int):
        self.wardrobe, self.posed, self.outfit, self.instance = wardrobe, posed, outfit, instance
        self.normals = vertex_normals(posed.vertices, wardrobe.tights)
        self.meshes: list[Mesh] = []
        self.hidden = np.zeros(NUM_VERTICES, bool)

    def socks(self, piece: dict) -> None:
        field = self.wardrobe.sock(_SOCKS[piece['start']])
        self._shell('socks', field, 0.001 + piece['loose'], piece, 'Sock')
        self.hidden |= field > _HEM_MARGIN

    def trousers(self, piece: dict) -> None:
        w = self.wardrobe
        field = w.lower(_LEGS[piece['legs']], piece['waist'])
        flare = 0.004 + piece['loose'] * np.clip(w.leg, 0, 2) / 2  # wider toward the ankles
        self._shell('trousers', field, flare, piece, 'Lower_Clothing')
        self.hidden |= field > _HEM_MARGIN

    def skirt(self, piece: dict) -> None:
        w = self.wardrobe
        field, loose = w.z - piece['hem'], 0.008
        if 'top' in self.outfit:  # which hangs over the waistband
            above = w.z - self.outfit['top']['hem']
            field = np.minimum(field, 0.03 - above)
            if piece['cloth'] != self.outfit['top']['cloth']:  # not a dress
                loose -= _TUCK * np.clip(above / 0.02 + 0.25, 0, 1)
        normals = vertex_normals(self.posed.vertices, w.skirt)
        self._shell('skirt', field, loose, piece, 'Lower_Clothing', -_TUCK, w.skirt, normals)
        # Thighs may be visible from below, the body above them must not be.
        self.hidden |= (field > 0.1) & (w.z < w.hip) & (w.leg < 0.3) & (w.is_arm < 0.5)

    def top(self, piece: dict) -> None:
        field = self.wardrobe.upper(_SLEEVES[piece['sleeve']], piece['hem'], piece['neckline'])
        self._shell('top', field, _top_looseness(piece), piece, 'Upper_Clothing')
        self.hidden |= field > _HEM_MARGIN

    def shoes(self, piece: dict) -> None:
        """Adds shoes: overlapping convex hulls of toes, instep and ankle, closed and smooth."""
        w = self.wardrobe
        field = w.sock(piece['height'])
        feet = np.unique(w.tights)
        feet = feet[field[feet] > 0]
        for side, foot in (('Left', feet[w.rest[feet, 0] > 0]), ('Right', feet[w.rest[feet, 0] <= 0])):
            y, z = w.rest[foot, 1], w.z[foot]
            along = (y - y.min()) / (y.max() - y.min())
            low = z < np.quantile(z, 0.75)
            for start, end in ((0., 0.45), (0.25, 0.75), (0.5, 1.)):
                chosen = foot[(along >= start) & (along <= end) & (low | (start == 0.5))]
                points = self.posed.vertices[chosen].astype(np.float64)
                points += (points - points.mean(axis=0)) * (piece['loose'] / 0.05)
                hull = ConvexHull(points)
                faces, used = compact(hull.simplices)
                outward = (face_normals(points, hull.simplices) * hull.equations[:, :3]).sum(axis=1)
                faces[outward < 0] = faces[outward < 0, ::-1]
                self._plain('shoe', points[used], faces, f'{side}_Shoe', piece['cloth']['color'], 0.5)
        self.hidden |= field > _HEM_MARGIN

    def hair(self, piece: dict) -> None:
        """Adds a thin cap with a ragged border, the locks that grow from it, and a bun or tail."""
        w, color, volume, field = self.wardrobe, piece['color'], piece['volume'], self.wardrobe.scalp
        rng = np.random.default_rng(piece['fold'])
        if 'hat' in self.outfit:
            field, volume = np.minimum(field, 0.01 - w.hat), min(volume, 0.005)
            if piece['kind'] not in HANGING:
                piece = dict(piece, kind='short')
        if piece['kind'] == 'bald_top':
            field = np.minimum(field, 0.06 + rng.normal(0, 0.01, NUM_VERTICES) - (w.z - w.eyes[2]))
        field = field + rng.normal(0, 0.003, NUM_VERTICES)
        self._cap('hair', field - 0.005, 0.4 * volume, piece['fold'], 'Hair', np.array(color) * 0.7)
        normals = w.body.skin_normals(self.posed)
        head, surface = self._head(), self._surface(normals)
        roots = scatter(w.rest, w.skin[(field[w.skin] > 0).all(axis=1)], LOCKS[piece['kind']], rng)
        grown = [grow(roots(self.posed.vertices), roots(normals), head, surface, piece, volume)]
        if piece['kind'] in TIED:
            grown.append(grow_tail(head, surface, piece, rng))
        texture = draw_hair(color, piece['fold'])
        for vertices, normals, faces, uv in grown:
            self._plain('locks', vertices, faces, 'Hair', texture, 0.5, uv, normals)

    def _surface(self, normals: np.ndarray) -> Surface:
        """Returns what hair lies on: the skin above the hips, and the shirt."""
        w = self.wardrobe
        near = w.body.skin_vertices[w.z[w.body.skin_vertices] > w.hip]
        clothes = np.zeros(NUM_VERTICES, np.float32)
        if top := self.outfit.get('top'):
            field = w.upper(_SLEEVES[top['sleeve']], top['hem'], top['neckline'])
            clothes = np.where(field > -0.01, 1.3 * _top_looseness(top), 0)
        return Surface(self.posed.vertices[near], normals[near], clothes[near])

    def hat(self, piece: dict) -> None:
        w = self.wardrobe
        cap = self._cap('hat', w.hat, piece['loose'] + 0.006, piece['fold'], 'Apparel', draw_cloth(piece['cloth']))
        if piece['brim'] == 'none':
            return
        head = self._head()
        center, axes = head.center, head.axes
        rim = (cap.vertices[(cap.normals @ axes[2]) < 0.35] - center) @ axes.T
        slope, height = np.polyfit(rim[:, 1], rim[:, 2], 1)
        height = np.quantile(rim[:, 2] - slope * rim[:, 1], 0.2)
        middle, half = (rim.max(axis=0) + rim.min(axis=0)) / 2, (rim.max(axis=0) - rim.min(axis=0)) / 2
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        front = np.clip(-np.sin(angles), 0, 1)**0.5
        out = np.full(48, 1.5) if piece['brim'] == 'round' else 1 + 0.7 * front
        circle = np.stack([np.cos(angles) * half[0], np.sin(angles) * half[1]], axis=1)
        rows = []
        for factor, drop in ((np.full(48, 0.92), 0.), (out, -0.008)):
            plane = middle[:2] + circle * factor[:, None]
            rows.append(np.column_stack([plane, height + slope * plane[:, 1] + drop]))
        self._plain('brim', np.concatenate(rows) @ axes + center, _grid(2, 48), 'Apparel', piece['cloth']['color'], 0.8)

    def bag(self, piece: dict) -> None:
        """Adds a backpack: a rounded box on the back and two straps over the shoulders."""
        w, heads = self.wardrobe, self.posed.bone_heads
        left = heads['upperarm01.L'] - heads['upperarm01.R']
        width = np.linalg.norm(left)
        left = left / width
        axes = _axes(left, heads['spine01'] - heads['spine04'])
        size = np.array(piece['size']) * width / 0.325  # children carry smaller bags
        trunk = np.unique(w.tights)
        trunk = trunk[w.is_arm[trunk] < 0.3]
        middle = (heads['spine01'] + heads['spine03']) / 2
        local = (self.posed.vertices[trunk] - middle) @ axes.T
        near = (np.abs(local[:, 0]) < size[0] / 2) & (np.abs(local[:, 2]) < size[2] / 2)
        surface = local[near, 1].max() if near.any() else 0.1
        ball, faces = _sphere(np.zeros(3), 1., rings=18)
        # A superellipsoid: a box with round edges.
        shape = np.sign(ball) * np.abs(ball)**0.35 * size / 2
        shape[:, 1] += surface + size[1] / 2
        self._plain('bag', shape @ axes + middle, faces, 'Apparel', draw_cloth(piece['cloth']),
                    uv=(shape[:, [0, 2]] / 0.4).astype(np.float32))
        # Straps: narrow bands from the shoulder blades over the shoulders to the waist in front, on the shirt's folds.
        band = np.minimum.reduce([0.02 - np.abs(np.abs(w.rest[:, 0]) - 0.105), w.z - w.hip - 0.22,
                                  0.2 * (0.4 - w.is_arm)])
        top = self.outfit.get('top')
        over = (_top_looseness(top) * _folds(w.rest, top['fold']) + 0.008) if top else 0.
        straps = self._shell('straps', band, 0.03, piece, 'Apparel', over)
        straps.albedo, straps.uv = tuple(piece['cloth']['color']), None

    def _shell(self, name: str, field, loose, piece: dict, part: str, over=0., faces=None, normals=None) -> Mesh:
        """Adds the part of a mesh with positive ``field``, offset by ``loose``, at least ``over`` meters (or (V,))."""
        rest = self.wardrobe.rest
        cut = Cut(self.wardrobe.tights if faces is None else faces, field)
        out = np.maximum(np.asarray(loose, np.float32) * _folds(rest, piece['fold']), over)
        normals = self.normals if normals is None else normals
        vertices, rest = cut(self.posed.vertices + normals * out[:, None]), cut(rest)
        # A pattern lies on the cloth as on the rest pose: 60 cm of cloth to a tile, front and back alike.
        uv = np.stack([rest[:, 0] + 0.3 * rest[:, 1], rest[:, 2]], axis=1) / 0.6
        left, right = (PART_IDS.get(part) or PART_IDS[f'{side}_{part}'] for side in ('Left', 'Right'))
        parts = np.where(rest[cut.faces, 0].mean(axis=1) > 0, left, right).astype(np.uint8)
        mesh = Mesh(name, vertices, cut.faces, parts, self.instance, uv, draw_cloth(piece['cloth']), 0.8,
                    vertex_normals(vertices, cut.faces))
        self.meshes.append(mesh)
        return mesh

    def _plain(self, name: str, vertices, faces, part: str, albedo, roughness=0.7, uv=None,
               normals=None) -> Mesh:
        vertices = np.asarray(vertices, np.float32)
        normals = vertex_normals(vertices, faces) if normals is None else normals
        mesh = Mesh(name, vertices, faces, np.full(len(faces), PART_IDS[part], np.uint8), self.instance, uv,
                    albedo if np.ndim(albedo) == 3 else tuple(albedo), roughness, normals)
        self.meshes.append(mesh)
        return mesh

    def _cap(self, name: str, field: np.ndarray, thickness: float, seed: int, part: str, albedo) -> Mesh:
        """Adds the skin with positive ``field`` (meters), offset: thin at the border, thick from 2 cm inside."""
        w = self.wardrobe
        cut = Cut(w.skin, field)
        depth = 0.15 + 0.85 * np.clip(field / 0.02, 0, 1)**0.5
        out = thickness * depth * _folds(w.rest, seed)
        vertices = cut(self.posed.vertices + w.body.skin_normals(self.posed) * out[:, None].astype(np.float32))
        return self._plain(name, vertices, cut.faces, part, albedo, uv=cut(w.rest)[:, :2] / 0.3)

    def _head(self) -> HeadFrame:
        heads, rest = self.posed.bone_heads, self.wardrobe.body.rest.bone_heads
        left, right = heads['eye.L'], heads['eye.R']
        across = np.linalg.norm(left - right)
        axes = _axes((left - right) / across, self.posed.vertices[self.wardrobe.crown] - heads['head'])
        return HeadFrame((left + right) / 2, axes, across / np.linalg.norm(rest['eye.L'] - rest['eye.R']))


def _axes(left: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Returns (3, 3) orthonormal rows left, back, up from the unit vector ``left`` and an approximate ``up``."""
    up = up - left * (up @ left)
    up /= np.linalg.norm(up)
    return np.stack([left, np.cross(up, left), up])


def _top_looseness(piece: dict) -> float:
    return 0.012 + piece['loose']


def _folds(points: np.ndarray, seed: int) -> np.ndarray:
    """Returns (V,) factors of 0.6 to 1.6 that vary smoothly over the cloth."""
    rng = np.random.default_rng(seed)
    out = np.zeros(len(points), np.float32)
    for _ in range(4):
        wave = rng.normal(0, 35, 3)
        out += np.sin(points @ wave + rng.uniform(0, 6.28))
    return 1.1 + 0.125 * out


def _sphere(center: np.ndarray, radius: float, rings: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Returns (V, 3) float32 vertices and (F, 3) faces of a sphere."""
    theta, phi = np.meshgrid(np.linspace(0, np.pi, rings), np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False),
                             indexing='ij')
    points = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=-1).reshape(-1, 3)
    return (center + radius * points).astype(np.float32), _grid(rings, 2 * rings)


def _grid(rows: int, columns: int) -> np.ndarray:
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing='ij')
    a, b = i * columns + j, i * columns + (j + 1) % columns
    return triangles(np.stack([a, a + columns, b + columns, b], axis=-1).reshape(-1, 4))
