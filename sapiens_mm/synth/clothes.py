"""Clothes, hair and accessories, cut from MakeHuman's helper geometry or offset from the skin.

Each piece is drawn as a dictionary of plain numbers (for the manifest) and built on a posed body. A piece that hides
skin says which, so that no skin pokes through cloth.
"""
from functools import cached_property

import numpy as np
from scipy.spatial import ConvexHull

from sapiens_mm.vocabularies.body_parts import PART_IDS

from .body import NUM_VERTICES, Body, PosedBody
from .mesh import Mesh, face_normals, triangles, vertex_normals
from .textures import draw_cloth, sample_cloth

# How far they reach along arm or leg (see Wardrobe).
_SLEEVES = {'none': 0.1, 'short': 0.6, 'half': 0.95, 'long': 1.93}
_LEGS = {'shorts': 0.55, 'knee': 0.95, 'long': 1.9}
_SOCKS = {'ankle': 1.85, 'crew': 1.6, 'knee': 1.12}
_HEM_MARGIN = 0.02  # metres: skin this far inside a hem is hidden


def compact(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Faces renumbered to the vertices that they use, and these vertices."""
    used, renumbered = np.unique(faces, return_inverse=True)
    return renumbered.reshape(faces.shape).astype(np.int32), used


class Cut:
    """The part of a mesh where a value at the vertices is positive, cut smoothly through the triangles on its border.

    Args:
        faces: (F, 3) triangles.
        field: (V,) the value; most precise if it is a distance.

    Attributes:
        faces: (G, 3) int32 triangles between the new vertices.
        a, b, t: New vertex i lies at ``(1 - t[i]) * old[a[i]] + t[i] * old[b[i]]``.
    """

    def __init__(self, faces: np.ndarray, field: np.ndarray):
        inside = field[faces] > 0
        count = inside.sum(axis=1)
        # The vertex that stands alone comes first, without turning the triangle round.
        alone = np.where(count == 1, inside.argmax(axis=1), (~inside).argmax(axis=1))
        turned = np.take_along_axis(faces, (alone[:, None] + np.arange(3)) % 3, axis=1)
        number = len(field)
        p, q, r = turned[count == 1].T
        one = np.stack([p, _edge(p, q, number), _edge(p, r, number)], axis=1)
        p, q, r = turned[count == 2].T
        two = np.concatenate([np.stack([_edge(p, q, number), q, r], axis=1),
                              np.stack([_edge(p, q, number), r, _edge(p, r, number)], axis=1)])
        keys, self.faces = _renumber(np.concatenate([faces[count == 3].astype(np.int64), one, two]))
        whole = keys < number
        edges = keys - number
        self.a = np.where(whole, keys, edges // number)
        self.b = np.where(whole, keys, edges % number)
        start, end = field[self.a], field[self.b]
        self.t = np.where(whole, 0., start / np.where(whole, 1., start - end)).astype(np.float32)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(N, ...) float32 values of the old vertices, at the new ones."""
        t = self.t.reshape(-1, *[1] * (values.ndim - 1))
        return ((1 - t) * values[self.a] + t * values[self.b]).astype(np.float32)


def _edge(p: np.ndarray, q: np.ndarray, number: int) -> np.ndarray:
    """A number for each edge, beyond those of the vertices."""
    return number + np.minimum(p, q).astype(np.int64) * number + np.maximum(p, q)


def _renumber(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    keys, renumbered = np.unique(faces, return_inverse=True)
    return keys, renumbered.reshape(-1, 3).astype(np.int32)


class Wardrobe:
    """What can be worn on a body: measured once on the rest pose, so a hem lies alike on every shape and pose.

    The methods give values by vertex of the base mesh that are positive where a garment is, in metres from its edge on
    the rest pose.
    """

    def __init__(self, body: Body):
        self.body = body
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
        self.left = self.rest[:, 0] > 0

    def _along(self, bones: tuple[str, str, str]) -> np.ndarray:
        """(V,) place along the chain of two bones of the nearer side; beyond its end it goes on evenly."""
        out = np.zeros(NUM_VERTICES, np.float32)
        for side, own in (('L', self.rest[:, 0] > 0), ('R', self.rest[:, 0] <= 0)):
            points = self.rest[own]
            joints = [self.body.rest.bone_heads[f'{bone}.{side}'] for bone in bones]
            places, distances = [], []
            for segment in (0, 1):
                start, direction = joints[segment], joints[segment + 1] - joints[segment]
                t = (points - start) @ direction / (direction @ direction)
                t = np.clip(t, None if segment == 0 else 0, None if segment == 1 else 1)
                places.append(segment + t)
                distances.append(np.linalg.norm(points - start - t[:, None] * direction, axis=1))
            out[own] = np.where(distances[0] < distances[1], *places)
        return out

    def upper(self, sleeve: float, hem: float, neckline: float) -> np.ndarray:
        """A shirt: to a place along the arm, down to a height, out from a distance from the nape of the neck."""
        trunk = np.where(self.is_arm > 0.5, 1., self.z - hem)
        neck = np.linalg.norm(self.rest - self.neck, axis=1) - neckline
        throat = np.minimum(self.neck[2] + 0.07 - self.z, 0.2 * (0.4 - self.body.bone_weights('head')))
        return np.minimum.reduce([trunk, neck, throat, 0.27 * (sleeve - self.arm)])

    def lower(self, length: float, waist: float) -> np.ndarray:
        """Trousers: up to a height, to a place along the leg."""
        return np.minimum.reduce([waist - self.z, 0.4 * (length - self.leg), np.where(self.is_arm > 0.5, -1., 1.)])

    def sock(self, start: float) -> np.ndarray:
        """From a place along the leg to the toes."""
        return 0.4 * (self.leg - start)

    @cached_property
    def scalp(self) -> np.ndarray:
        """Where hair grows: from the forehead down before the ears, around them, to the nape."""
        above, back = self.z - self.eyes[2], self.rest[:, 1] - self.eyes[1]
        line = np.interp(back, [0.0, 0.035, 0.075, 0.10, 0.14, 0.2], [0.075, 0.045, 0.01, 0.0, -0.05, -0.075])
        ear = np.array([np.abs(self.rest[:, 0]) - 0.085, 0.8 * (back - 0.095), 0.55 * (above - 0.0)])
        ears = np.linalg.norm(ear, axis=0) - 0.021
        head = 0.2 * (self.body.bone_weights('head') - 0.5)
        return np.minimum.reduce([above - line, ears, head])

    @cached_property
    def crown(self) -> int:
        """The topmost vertex of the skin."""
        skin = np.unique(self.skin)
        return int(skin[self.z[skin].argmax()])


def sample_outfit(rng: np.random.Generator, wardrobe: Wardrobe) -> dict:
    """Draws what a person wears; not everyone wears everything."""
    outfit = {}
    hip = wardrobe.hip

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
            kind=str(rng.choice(['short', 'long', 'bun'], p=[0.55, 0.3, 0.15])),
            volume=float(rng.uniform(0.008, 0.028)), length=float(rng.uniform(0.1, 0.34)),
            color=_hair_color(rng), fold=int(rng.integers(2**31)))
    if rng.random() < 0.22:
        outfit['hat'] = dict(brim=str(rng.choice(['none', 'visor', 'round'])), **cloth(0.014, 0.02))
    if rng.random() < 0.2:
        outfit['bag'] = dict(
            size=[float(rng.uniform(*limits)) for limits in ((0.24, 0.32), (0.10, 0.16), (0.32, 0.44))],
            **cloth(0.004, 0.006))
    return outfit


def _hair_color(rng: np.random.Generator) -> list[float]:
    """Linear RGB, from black over brown and blond to grey, red hair among them."""
    base = np.array([[0.012, 0.009, 0.008], [0.04, 0.02, 0.012], [0.12, 0.06, 0.03], [0.35, 0.22, 0.1],
                     [0.2, 0.06, 0.02], [0.35, 0.35, 0.34]])
    return (base[rng.choice(6, p=[0.35, 0.25, 0.15, 0.1, 0.05, 0.1])] * rng.uniform(0.7, 1.3)).round(4).tolist()


def dress(wardrobe: Wardrobe, posed: PosedBody, outfit: dict, instance: int) -> tuple[list[Mesh], np.ndarray]:
    """Builds what a person wears.

    Returns:
        The meshes, and (F,) which of the body's skin quads they hide.
    """
    w = wardrobe
    hidden = np.zeros(NUM_VERTICES, bool)
    meshes = []
    normals = vertex_normals(posed.vertices, w.tights)
    if 'socks' in outfit:
        piece = outfit['socks']
        field = w.sock(_SOCKS[piece['start']])
        loose = 0.001 + piece['loose']
        meshes.append(_shell('socks', w, posed, w.tights, field, normals, loose, piece, 'Sock', instance))
        hidden |= field > _HEM_MARGIN
    if 'trousers' in outfit:
        piece = outfit['trousers']
        field = w.lower(_LEGS[piece['legs']], piece['waist'])
        flare = 0.004 + piece['loose'] * np.clip(w.leg, 0, 2) / 2  # wider towards the ankles
        meshes.append(_shell('trousers', w, posed, w.tights, field, normals, flare, piece, 'Lower_Clothing', instance))
        hidden |= field > _HEM_MARGIN
    if 'skirt' in outfit:
        piece = outfit['skirt']
        field = w.z - piece['hem']
        if 'top' in outfit:  # which hangs over the waistband
            field = np.minimum(field, outfit['top']['hem'] + 0.03 - w.z)
        own = vertex_normals(posed.vertices, w.skirt)
        meshes.append(_shell('skirt', w, posed, w.skirt, field, own, 0.008, piece, 'Lower_Clothing', instance))
        # Thighs may show from below, what is above them may not.
        hidden |= (field > 0.1) & (w.z < w.hip) & (w.leg < 0.3) & (w.is_arm < 0.5)
    if 'top' in outfit:
        piece = outfit['top']
        field = w.upper(_SLEEVES[piece['sleeve']], piece['hem'], piece['neckline'])
        loose = _top_looseness(piece)
        meshes.append(_shell('top', w, posed, w.tights, field, normals, loose, piece, 'Upper_Clothing', instance))
        hidden |= field > _HEM_MARGIN
    if 'shoes' in outfit:
        for left in (True, False):
            meshes += _shoe(w, posed, left, outfit['shoes'], instance)
        hidden |= w.sock(outfit['shoes']['height']) > _HEM_MARGIN
    if 'hair' in outfit:
        meshes += _hair(w, posed, outfit['hair'], instance, under_hat='hat' in outfit)
    if 'hat' in outfit:
        meshes += _hat(w, posed, outfit['hat'], instance)
    if 'bag' in outfit:
        meshes += _bag(w, posed, outfit['bag'], outfit.get('top'), normals, instance)
    meshes = [mesh for mesh in meshes if len(mesh.faces)]
    return meshes, hidden[w.body.skin].all(axis=1)


def _shell(name, w, posed, faces, field, normals, loose, piece, part, instance, over=0.) -> Mesh:
    """The part of a mesh where ``field`` is positive, moved out along the normals by ``loose`` metres, with folds.

    ``over`` metres at least, a number or one for each vertex: to lie on another shell of the same mesh.
    """
    cut = Cut(faces, field)
    out = np.maximum(np.asarray(loose, np.float32) * _folds(w.rest, piece['fold']), over)
    vertices, rest = cut(posed.vertices + normals * out[:, None]), cut(w.rest)
    # A pattern lies on the cloth as it lay on the rest pose: 60 cm of cloth to a tile, front and back alike.
    uv = np.stack([rest[:, 0] + 0.3 * rest[:, 1], rest[:, 2]], axis=1) / 0.6
    if part in PART_IDS:
        parts = np.full(len(cut.faces), PART_IDS[part], np.uint8)
    else:
        left = rest[cut.faces, 0].mean(axis=1) > 0
        parts = np.where(left, PART_IDS[f'Left_{part}'], PART_IDS[f'Right_{part}']).astype(np.uint8)
    return Mesh(name, vertices, cut.faces, parts, instance, uv, draw_cloth(piece['cloth']), 0.8,
                vertex_normals(vertices, cut.faces))


def _top_looseness(piece: dict) -> float:
    return 0.012 + piece['loose']


def _folds(points: np.ndarray, seed: int) -> np.ndarray:
    """(V,) a smooth factor of 0.6 to 1.6 over the cloth."""
    rng = np.random.default_rng(seed)
    out = np.zeros(len(points), np.float32)
    for _ in range(4):
        wave = rng.normal(0, 35, 3)
        out += np.sin(points @ wave + rng.uniform(0, 6.28))
    return 1.1 + 0.125 * out


def _shoe(w, posed, left, piece, instance) -> list[Mesh]:
    """Convex hulls of toes, instep and ankle that overlap: closed and as smooth as leather."""
    foot = np.unique(w.tights)
    foot = foot[(w.left[foot] == left) & (w.sock(piece['height'])[foot] > 0)]
    y, z = w.rest[foot, 1], w.z[foot]
    along = (y - y.min()) / (y.max() - y.min())
    low = z < np.quantile(z, 0.75)
    meshes = []
    part = PART_IDS['Left_Shoe' if left else 'Right_Shoe']
    for start, end in ((0., 0.45), (0.25, 0.75), (0.5, 1.)):
        chosen = foot[(along >= start) & (along <= end) & (low | (start == 0.5))]
        points = posed.vertices[chosen].astype(np.float64)
        points += (points - points.mean(axis=0)) * (piece['loose'] / 0.05)
        hull = ConvexHull(points)
        faces, used = compact(hull.simplices)
        outward = (face_normals(points, hull.simplices) * hull.equations[:, :3]).sum(axis=1)
        faces[outward < 0] = faces[outward < 0, ::-1]
        vertices = points[used].astype(np.float32)
        meshes.append(_plain('shoe', vertices, faces, part, instance, piece['cloth']['color'], 0.5))
    return meshes


def _plain(name, vertices, faces, part, instance, albedo, roughness=0.7, uv=None) -> Mesh:
    """A mesh of one part."""
    part = PART_IDS[part] if isinstance(part, str) else part
    albedo = albedo if isinstance(albedo, np.ndarray) else tuple(albedo)
    vertices = np.asarray(vertices, np.float32)
    return Mesh(name, vertices, faces, np.full(len(faces), part, np.uint8), instance, uv, albedo, roughness,
                vertex_normals(vertices, faces))


def _cap(name, w, posed, field, thickness, seed, part, albedo, instance) -> Mesh:
    """The skin where ``field`` (metres) is positive, moved out: thin at the border, whole from 2 cm inside on."""
    cut = Cut(w.skin, field)
    depth = 0.15 + 0.85 * np.clip(field / 0.02, 0, 1)**0.5
    out = thickness * depth * _folds(w.rest, seed)
    vertices = cut(posed.vertices + w.body.skin_normals(posed) * out[:, None].astype(np.float32))
    return _plain(name, vertices, cut.faces, part, instance, albedo, uv=cut(w.rest)[:, :2] / 0.3)


def _head_frame(wardrobe: Wardrobe, posed: PosedBody) -> tuple[np.ndarray, np.ndarray, float]:
    """Centre between the eyes, axes (left, back, up) as rows, and the distance between the eyes."""
    left, right = posed.bone_heads['eye.L'], posed.bone_heads['eye.R']
    across = left - right
    axis = across / np.linalg.norm(across)
    crown = posed.vertices[wardrobe.crown]
    up = crown - posed.bone_heads['head']
    up -= axis * (up @ axis)
    up /= np.linalg.norm(up)
    return (left + right) / 2, np.stack([axis, np.cross(up, axis), up]), float(np.linalg.norm(across))


def _hair(w, posed, piece, instance, under_hat) -> list[Mesh]:
    volume = min(piece['volume'], 0.008) if under_hat else piece['volume']
    meshes = [_cap('hair', w, posed, w.scalp, volume, piece['fold'], 'Hair', piece['color'], instance)]
    if piece['kind'] == 'bun' and not under_hat:
        centre, axes, eyes = _head_frame(w, posed)
        place = centre + np.array([0., 2.55, 0.95]) * eyes @ axes
        meshes.append(_ball(place, 0.6 * eyes, 'Hair', 'bun', instance, piece['color']))
    if piece['kind'] == 'long':
        # The strands of the hair helper that hang behind the ears.
        field = np.minimum(w.rest[:, 1] - w.eyes[1] - 0.085, w.z - w.eyes[2] + piece['length'])
        cut = Cut(triangles(w.body.groups['helper-hair']), field)
        meshes.append(_plain('strands', cut(posed.vertices), cut.faces, 'Hair', instance, piece['color']))
    return meshes


def _ball(centre, radius, part, name, instance, albedo, rings: int = 12) -> Mesh:
    theta, phi = np.meshgrid(np.linspace(0, np.pi, rings), np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False),
                             indexing='ij')
    points = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=-1).reshape(-1, 3)
    return _plain(name, centre + radius * points, _grid(rings, 2 * rings), part, instance, albedo)


def _grid(rows: int, columns: int) -> np.ndarray:
    """Triangles of a grid of vertices whose last column joins the first."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing='ij')
    a, b = i * columns + j, i * columns + (j + 1) % columns
    return triangles(np.stack([a, a + columns, b + columns, b], axis=-1).reshape(-1, 4))


def _hat(w, posed, piece, instance) -> list[Mesh]:
    # Above a plane from the brows, somewhat lower at the back of the head.
    field = np.minimum(w.z - w.eyes[2] + 0.18 * (w.rest[:, 1] - w.eyes[1]) - 0.055,
                       0.2 * (w.body.bone_weights('head') - 0.5))
    albedo = draw_cloth(piece['cloth'])
    cap = _cap('hat', w, posed, field, piece['loose'] + 0.006, piece['fold'], 'Apparel', albedo, instance)
    if piece['brim'] == 'none':
        return [cap]
    centre, axes, _ = _head_frame(w, posed)
    rim = (cap.vertices[(cap.normals @ axes[2]) < 0.35] - centre) @ axes.T
    slope, height = np.polyfit(rim[:, 1], rim[:, 2], 1)
    height = np.quantile(rim[:, 2] - slope * rim[:, 1], 0.2)
    middle, half = (rim.max(axis=0) + rim.min(axis=0)) / 2, (rim.max(axis=0) - rim.min(axis=0)) / 2
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    front = np.clip(-np.sin(angles), 0, 1)**0.5
    out = np.full(48, 1.5) if piece['brim'] == 'round' else 1 + 0.7 * front
    circle = np.stack([np.cos(angles) * half[0], np.sin(angles) * half[1]], axis=1)
    rows = []
    for factor, drop in ((0.92, 0.), (out, -0.008)):
        plane = middle[:2] + circle * np.broadcast_to(factor, 48)[:, None]
        rows.append(np.column_stack([plane, height + slope * plane[:, 1] + drop]))
    vertices = np.concatenate(rows) @ axes + centre
    return [cap, _plain('brim', vertices, _grid(2, 48), 'Apparel', instance, piece['cloth']['color'], 0.8)]


def _bag(w, posed, piece, top, normals, instance) -> list[Mesh]:
    """A rucksack: a rounded box on the back and two straps over the shoulders."""
    heads = posed.bone_heads
    across = heads['upperarm01.L'] - heads['upperarm01.R']
    width = np.linalg.norm(across)
    left = across / width
    up = heads['spine01'] - heads['spine04']
    up = up - left * (up @ left)
    up /= np.linalg.norm(up)
    axes = np.stack([left, np.cross(up, left), up])
    size = np.array(piece['size']) * width / 0.325  # children carry smaller bags
    trunk = np.unique(w.tights)
    trunk = trunk[w.is_arm[trunk] < 0.3]
    middle = (heads['spine01'] + heads['spine03']) / 2
    local = (posed.vertices[trunk] - middle) @ axes.T
    near = (np.abs(local[:, 0]) < size[0] / 2) & (np.abs(local[:, 2]) < size[2] / 2)
    surface = local[near, 1].max() if near.any() else 0.1
    ball = _ball(np.zeros(3), 1., 'Apparel', 'bag', instance, (0., 0., 0.), rings=18)
    # A superellipsoid: a box with round edges.
    shape = np.sign(ball.vertices) * np.abs(ball.vertices)**0.35 * size / 2
    shape[:, 1] += surface + size[1] / 2
    bag = _plain('bag', shape @ axes + middle, ball.faces, 'Apparel', instance, draw_cloth(piece['cloth']),
                 uv=(shape[:, [0, 2]] / 0.4).astype(np.float32))
    # Straps: narrow bands from the shoulder blades over the shoulders to the waist in front.
    band = np.minimum.reduce([0.02 - np.abs(np.abs(w.rest[:, 0]) - 0.105), w.z - w.hip - 0.22,
                              0.2 * (0.4 - w.is_arm)])
    # On the shirt, wherever its folds are.
    over = (_top_looseness(top) * _folds(w.rest, top['fold']) + 0.008) if top else 0.
    straps = _shell('straps', w, posed, w.tights, band, normals, 0.03, piece, 'Apparel', instance, over)
    straps.albedo, straps.uv = tuple(piece['cloth']['color']), None
    return [bag, straps]
