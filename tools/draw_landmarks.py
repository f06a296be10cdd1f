"""Draws keypoints and their names on a synthetic person, group by group (docs/synthetic_humans.md).

    python tools/draw_landmarks.py                               # all groups, into docs/images/landmarks
    python tools/draw_landmarks.py images --groups left_ear body

Hollow points are occluded by the labels' rules: a joint is visible only through the flesh around it.
"""
import argparse
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from sapiens_mm.synth.body import load_body
from sapiens_mm.synth.camera import frame_box
from sapiens_mm.synth.clothes import Wardrobe
from sapiens_mm.synth.labels import VISIBLE, keypoints
from sapiens_mm.synth.landmarks import LANDMARK_NAMES
from sapiens_mm.synth.people import build_person
from sapiens_mm.synth.render import render

WIDTH, MARGIN = 1080, 265  # pixels: the image, and the columns of names on its sides
STEP = 17  # pixels from one name to the next
COLORS = ((190, 20, 30), (20, 70, 190), (0, 105, 50), (130, 30, 150))


@dataclass
class Group:
    """Keypoints of one image.

    Attributes:
        pattern: Regular expression of their names.
        height: Of the image in pixels.
        azimuth, elevation, roll: Of the camera, see :func:`sapiens_mm.synth.camera.view_rotation`.
        margin: Share of the image around the keypoints.
        face: Facial actions.
    """

    pattern: str
    height: int
    azimuth: float = 0.
    elevation: float = 0.
    roll: float = 0.
    margin: float = 0.1
    face: dict[str, float] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return [name for name in LANDMARK_NAMES if re.fullmatch(self.pattern, name)]


def _of_one_side(side: str) -> dict[str, Group]:
    s, sign = side[0], 1 if side == 'left' else -1
    return {
        f'{side}_eye': Group(f'{s}_.*(lash|eyelid|crease)_line', 440),
        f'{side}_iris': Group(f'{s}_.*_of_(iris|pupil).*', 420, margin=0.14),
        f'{side}_ear': Group(f'{s}_(?!.*(line|iris|pupil|nose|mouth)).*', 560, 80 * sign, margin=0.14),
        f'{side}_hand': Group(f'{side}_(thumb|.*finger|wrist|hand).*', 560, 60 * sign, 25),
        f'{side}_foot': Group(f'{side}_(big_toe|small_toe|heel|ankle)', 360, 115 * sign, 25, margin=0.2),
    }


_OPEN = dict(jawOpen=0.2)
GROUPS = {
    'body': Group('nose|neck|(left|right)_(eye|ear|shoulder|elbow|wrist|hip|knee|ankle|olecranon|cubital_fossa|'
                  'acromion|heel|big_toe|small_toe)', 1040, 0, 12, margin=0.1),
    'face': Group('face-.*|nose|(left|right)_(eye|ear)|.*(nose_root|nose_bridge|glabella|groove|chin)', 560),
    'brows': Group('.*eyebrow|center_of_glabella', 320),
    'nose': Group('.*_(nose|nostril|nose_root|nose_bridge)', 480, 0, -20),
    'outer_lip': Group('.*(outer_lip|cupid_bow|outer_corner_of_mouth)', 380, face=_OPEN),
    'inner_lip': Group('.*inner_(lip|corner_of_mouth)', 380, face=_OPEN),
    **_of_one_side('left'), **_of_one_side('right'),
}

_PLAIN = dict(pattern='plain', second=[0, 0, 0], repeat=1, seed=0)
_OUTFIT = dict(
    top=dict(sleeve='none', hem=0.02, neckline=0.1, cloth=dict(_PLAIN, color=[0.3, 0.3, 0.32]), loose=0.002, fold=0),
    trousers=dict(legs='shorts', waist=0.1, cloth=dict(_PLAIN, color=[0.1, 0.1, 0.12]), loose=0.002, fold=0))
_COMPLEXION = dict(skin=[0.55, 0.4, 0.33], lips=0.5, brows=0.5, eyes=[0.11, 0.19, 0.24], seed=0)
_ARMS = {'upperarm01.L': [0., 0.3, 0.], 'upperarm01.R': [0., -0.3, 0.]}  # lower than at rest


def draw_group(group: Group, scale: float = 1., samples: int = 32):
    """Returns a Pillow image of a group; ``scale`` applies to the photo, not to the names."""
    body = load_body()
    wardrobe = Wardrobe(body)
    outfit = {name: dict(piece) for name, piece in _OUTFIT.items()}
    outfit['top']['hem'] += wardrobe.hip
    outfit['trousers']['waist'] += wardrobe.hip
    parameters = dict(phenotypes={}, face=group.face, pose=dict(rotations=_ARMS), outfit=outfit, complexion=_COMPLEXION)
    person = build_person(body, wardrobe, parameters, np.eye(3), np.zeros(3), 1)
    names = group.names
    rows = [LANDMARK_NAMES.index(name) for name in names]
    size = round(group.height * scale), round((WIDTH - 2 * MARGIN) * scale)
    camera = frame_box(person.landmarks[rows], size, 4., group.margin, group.azimuth, group.elevation, group.roll)
    right, down, forward = camera.rotation
    target = person.landmarks[rows].mean(axis=0)
    lights = [dict(type='constant', radiance=[0.6] * 3),
              dict(type='panel', center=target - 2 * forward - 1.5 * right - 2 * down, target=target, size=[1, 1],
                   radiance=[10.] * 3)]
    buffers = render(person.meshes, camera, lights, samples=samples, key=0.33,
                     backdrop=np.full((*size, 3), 236, np.uint8))
    points = keypoints(person, 1, camera, buffers, person.meshes)[rows]
    # Denoised files are a third of the size.
    return write_names(cv2.fastNlMeansDenoisingColored(buffers.rgb, None, 4, 4, 5, 15), points, names)


def place_names(points: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the places of the names of points (N, 2): (N, ) whether on the right, and (N, ) pixels from the top.

    Names are as high as the points of their side where they do not overlap. The assignment of names to places minimizes
    the total length of the lines, so that none cross.
    """
    from scipy.optimize import linear_sum_assignment
    height, width = size
    right = np.zeros(len(points), bool)
    right[np.lexsort((points[:, 1], points[:, 0]))[(len(points) + 1) // 2:]] = True
    tops = np.zeros(len(points))
    for side in (np.flatnonzero(right), np.flatnonzero(~right)):
        slots = np.sort(points[side, 1])
        for _ in range(500):  # pushes overlapping names apart
            push = np.clip(STEP - np.diff(slots), 0, None) / 2
            slots[:-1] -= push
            slots[1:] += push
            slots = slots.clip(STEP / 2, height - STEP / 2)
        edge = width - MARGIN + 6 if right[side].any() else MARGIN - 6
        lengths = np.hypot(points[side, 0][:, None] - edge, points[side, 1][:, None] - slots)
        chosen, slot = linear_sum_assignment(lengths)
        tops[side[chosen]] = slots[slot]
    return right, tops


def write_names(photo: np.ndarray, points: np.ndarray, names: list[str]):
    """Returns a Pillow image: the photo between two columns of names, with lines from names to points.

    Args:
        photo: (H, W, 3) uint8 RGB.
        points: (N, 3) x, y in the photo's pixels, and visibility.
        names: Their N names.
    """
    from PIL import Image, ImageDraw, ImageFont
    height, width = photo.shape[:2]
    # A long list of names can be higher than the photo.
    full = max(height, STEP * (len(names) // 2 + 2))
    canvas = np.full((full, width + 2 * MARGIN, 3), 255, np.uint8)
    top = (full - height) // 2
    canvas[top:top + height, MARGIN:MARGIN + width] = photo
    image = Image.fromarray(canvas)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    places = points[:, :2] + [MARGIN, top]
    right, tops = place_names(places, image.size[::-1])
    drawn = []
    for side in (False, True):
        rows = np.flatnonzero(right == side)
        drawn += zip(rows[tops[rows].argsort()], COLORS * len(rows))
    for i, color in drawn:
        edge = MARGIN + width + 6 if right[i] else MARGIN - 6
        pen.line([edge, tops[i], *places[i]], color)
        pen.text((edge + (4 if right[i] else -4), tops[i]), names[i], color, font, 'lm' if right[i] else 'rm')
    for i, color in drawn:
        inside, outline = (color, 'white') if points[i, 2] == VISIBLE else ('white', color)
        pen.ellipse([*(places[i] - 3), *(places[i] + 3)], inside, outline)
    return image


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw keypoints on a synthetic person')
    parser.add_argument('out', nargs='?', default='docs/images/landmarks', help='folder (default: %(default)s)')
    parser.add_argument('--groups', nargs='+', choices=GROUPS, default=list(GROUPS), metavar='GROUP',
                        help=f'of {", ".join(GROUPS)} (default: all)')
    parser.add_argument('--scale', type=float, default=1., help='factor of the photo\'s size (default: %(default)s)')
    parser.add_argument('--samples', type=int, default=32, help='light paths per pixel (default: %(default)s)')
    return parser.parse_args(argv)


def main(argv=None) -> None:
    args = parse_args(argv)
    out = Path(args.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in args.groups:
            image = draw_group(GROUPS[name], args.scale, args.samples)
            # Few colors make small files.
            image.quantize(256, dither=0).save(out / f'{name}.png', optimize=True)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f'{type(error).__name__}: {error}')


if __name__ == '__main__':
    main()
