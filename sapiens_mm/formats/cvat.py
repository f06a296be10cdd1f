"""CVAT's "COCO Keypoints 1.0" and the definition of its skeleton label."""
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np

from ..utils.files import parse_json, replacing
from . import coco
from .labels import HALF_PIXEL, KeypointSet, Labels

_FILE = 'annotations/person_keypoints_default.json'
# Where the keypoints of a new skeleton are: a person who faces the viewer, in percent of a square.
_POSE = dict(nose=(50, 10), left_eye=(53, 8), right_eye=(47, 8), left_ear=(56, 9), right_ear=(44, 9), neck=(50, 18),
             left_shoulder=(60, 21), right_shoulder=(40, 21), left_elbow=(65, 34), right_elbow=(35, 34),
             left_wrist=(68, 46), right_wrist=(32, 46), mid_hip=(50, 50), left_hip=(56, 50), right_hip=(44, 50),
             left_knee=(57, 70), right_knee=(43, 70), left_ankle=(58, 90), right_ankle=(42, 90),
             left_heel=(57, 92), right_heel=(43, 92), left_big_toe=(59, 96), right_big_toe=(41, 96),
             left_small_toe=(63, 95), right_small_toe=(37, 95))
_FINGERS = ('thumb', 'forefinger', 'middle_finger', 'ring_finger', 'pinky_finger')


def write(labels: Iterable[Labels], path: str | os.PathLike) -> list[Path]:
    """Writes annotations as a zip (or JSON, by the suffix) and the label, ``<stem>_labels.json``; returns the files."""
    path, keypoints = Path(path), None

    def shifted() -> Iterator[Labels]:
        nonlocal keypoints
        for image in labels:
            keypoints = keypoints or image.keypoint_set
            image.parts = None  # the format has no masks
            yield _moved(image, HALF_PIXEL)

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        file, = coco.write(shifted(), Path(folder) / 'annotations.json')
        if keypoints is None:
            raise ValueError('labels: got no keypoints, expected a keypoint set for the skeleton')
        with replacing(path) as part:
            if path.suffix == '.json':
                os.replace(file, part)
            else:
                with zipfile.ZipFile(part, 'w', zipfile.ZIP_DEFLATED) as archive:
                    archive.write(file, _FILE)
    label = path.with_name(f'{path.stem}_labels.json')
    with replacing(label) as part:
        Path(part).write_text(json.dumps([skeleton_label(keypoints)], indent=1), encoding='utf-8')
    return [path, label]


def read(path: str | os.PathLike, keypoints: KeypointSet | None = None) -> Iterator[Labels]:
    """Yields the images of an export as zip or JSON, with keypoints by their names; errors as :func:`coco.read`."""
    if not zipfile.is_zipfile(path):
        yield from (_moved(image, -HALF_PIXEL) for image in coco.read(path, keypoints))
        return
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if re.search(r'annotations/[^/]*\.json$', name)]
        if not names:
            raise ValueError(f'{path}: got no annotations/*.json, expected an export as COCO Keypoints 1.0; export it '
                             'again')
        for name in names:
            where = f'{path}/{name}'
            try:
                content = parse_json(archive.read(name))
            except (ValueError, zipfile.BadZipFile) as error:
                raise ValueError(f'{where}: got damaged JSON ({error}), expected complete JSON; export it again'
                                 ) from error
            yield from (_moved(image, -HALF_PIXEL) for image in coco.parse(content, where, keypoints))


def skeleton_label(keypoints: KeypointSet) -> dict:
    """Returns the label for "Raw" in CVAT's constructor of labels, with a drawing of the skeleton."""
    places = _places(keypoints.names)
    svg = [f'<line x1="{places[a][0]}" y1="{places[a][1]}" x2="{places[b][0]}" y2="{places[b][1]}" data-type="edge" '
           f'data-node-from="{a + 1}" data-node-to="{b + 1}"></line>' for a, b in keypoints.links]
    svg += [f'<circle r="0.75" cx="{x}" cy="{y}" data-type="element node" data-element-id="{number}" '
            f'data-node-id="{number}" data-label-name={quoteattr(name)}></circle>'
            for number, (name, (x, y)) in enumerate(zip(keypoints.names, places), 1)]
    return dict(name='person', type='skeleton', attributes=[], svg=''.join(svg), sublabels=[
        dict(name=name, type='points', attributes=[]) for name in keypoints.names])


def _places(names: tuple[str, ...]) -> list[tuple[float, float]]:
    """Returns x, y from 0 to 100: known points on a body, fingers below the wrists, others in rows beside it."""
    others, places = [name for name in names if name not in _POSE], []
    for name in names:
        finger = re.match(rf'(left|right)_({"|".join(_FINGERS)})(\d|_third_joint)', name)
        if name in _POSE:
            places.append(_POSE[name])
        elif finger:
            x, y = _POSE[f'{finger[1]}_wrist']
            joint, side = int(finger[3]) if finger[3].isdigit() else 1, 1 if finger[1] == 'left' else -1
            places.append((x + side * (2.5 * _FINGERS.index(finger[2]) - 3), y + 2 + 2 * joint))
        else:
            row, column = divmod(others.index(name), 12)
            places.append((3 + 2.5 * column, round(3 + 94 * row / max(1, len(others) // 12), 2)))
    return places


def _moved(image: Labels, pixels: float) -> Labels:
    for person in image.people:
        if person.keypoints is not None:
            person.keypoints = np.where(person.visible[:, None] > 0, person.keypoints + pixels, 0)
    return image
