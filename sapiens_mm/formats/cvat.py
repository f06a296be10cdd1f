"""CVAT's "COCO Keypoints 1.0" and the definition of its skeleton label."""
import json
import os
import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from ..utils.files import parse_json, read_json, replacing
from ..utils.text import some
from ..vocabularies.keypoints import KEYPOINT_NAMES, TARGETS, get_parts
from . import coco
from .labels import HALF_PIXEL, KeypointSet, Labels, keypoint_set, naming

_FILE = 'annotations/person_keypoints_default.json'
# Where the keypoints of a new skeleton are: a person who faces the viewer, in percent of a square.
_POSE = dict(nose=(50, 10), left_eye=(53, 8), right_eye=(47, 8), left_ear=(56, 9), right_ear=(44, 9), neck=(50, 18),
             left_shoulder=(60, 21), right_shoulder=(40, 21), left_elbow=(65, 34), right_elbow=(35, 34),
             left_wrist=(68, 46), right_wrist=(32, 46), mid_hip=(50, 50), left_hip=(56, 50), right_hip=(44, 50),
             left_knee=(57, 70), right_knee=(43, 70), left_ankle=(58, 90), right_ankle=(42, 90),
             left_heel=(57, 92), right_heel=(43, 92), left_big_toe=(59, 96), right_big_toe=(41, 96),
             left_small_toe=(63, 95), right_small_toe=(37, 95))
#: Skeletons with ``split``; feet are of the body. The attribute joins those of a person again.
_SKELETONS = ('body', 'face', 'left_hand', 'right_hand')
_PERSON = dict(name='person', mutable=False, input_type='number', default_value='0', values=['0', '999', '1'])
_FINGERS = ('thumb', 'forefinger', 'middle_finger', 'ring_finger', 'pinky_finger')


def write(labels: Iterable[Labels], path: str | os.PathLike, split: bool = False) -> list[Path]:
    """Writes annotations as a zip (or JSON, by the suffix) and the labels, ``<stem>_labels.json``; returns the files.

    With ``split`` body, face and hands of 133 or 308 keypoints are skeletons of their own, with the number of the
    person as an attribute. Raises a ValueError for labels without keypoints, or other keypoint sets.
    """
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
        skeletons = _split(keypoints) if split else {'person': range(len(keypoints.names))}
        if split:
            content = _split_annotations(read_json(file), skeletons)
            file.write_text(json.dumps(content, ensure_ascii=False), encoding='utf-8')
        with replacing(path) as part:
            if path.suffix == '.json':
                os.replace(file, part)
            else:
                with zipfile.ZipFile(part, 'w', zipfile.ZIP_DEFLATED) as archive:
                    archive.write(file, _FILE)
    label = path.with_name(f'{path.stem}_labels.json')
    with replacing(label) as part:
        Path(part).write_text(json.dumps([
            skeleton_label(_subset(keypoints, indices), name, [_PERSON] if split else [])
            for name, indices in skeletons.items()], indent=1), encoding='utf-8')
    return [path, label]


def read(path: str | os.PathLike, keypoints: KeypointSet | None = None) -> Iterator[Labels]:
    """Yields the images of an export as zip or JSON, with keypoints by their names; errors as :func:`coco.read`.

    Skeletons of body, face and hands are joined by the person's number, else to the body whose box overlaps theirs.
    """
    if not zipfile.is_zipfile(path):
        content = _joined(read_json(path), os.fspath(path))
        yield from (_moved(image, -HALF_PIXEL) for image in coco.parse(content, os.fspath(path), keypoints))
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
            yield from (_moved(image, -HALF_PIXEL) for image in coco.parse(_joined(content, where), where, keypoints))


def _split(keypoints: KeypointSet) -> dict[str, list[int]]:
    """Returns the indices of the keypoints of each skeleton."""
    number = next((number for number in TARGETS if KEYPOINT_NAMES[number] == keypoints.names), 'coco')
    part_of = {name: part for part, names in get_parts(number).items() for name in names}
    if not part_of:
        raise ValueError(f'--split-parts: got {len(keypoints.names)} keypoints ({some(keypoints.names, 3)}), expected '
                         'the 133 or 308; leave it out')
    skeletons: dict[str, list[int]] = {name: [] for name in _SKELETONS}
    for index, name in enumerate(keypoints.names):
        skeletons[part_of[name] if part_of[name] in skeletons else 'body'].append(index)
    return skeletons


def _subset(keypoints: KeypointSet, indices: Iterable[int]) -> KeypointSet:
    place = {index: position for position, index in enumerate(indices)}
    return keypoint_set(tuple(keypoints.names[index] for index in place), tuple(
        (place[a], place[b]) for a, b in keypoints.links if a in place and b in place))


def _split_annotations(content: dict, skeletons: dict[str, list[int]]) -> dict:
    """Splits the annotations of people in COCO's file into one for each skeleton that is seen."""
    category, = content['categories']
    whole = coco.category_set(category)
    categories, annotations, numbers = [], [], Counter()
    for number, (name, indices) in enumerate(skeletons.items(), 1):
        part = _subset(whole, indices)
        categories.append(dict(id=number, name=name, supercategory='person', keypoints=list(part.names),
                               skeleton=[[a + 1, b + 1] for a, b in part.links]))
    for entry in content['annotations']:
        numbers[entry['image_id']] += 1
        points = np.reshape(entry['keypoints'], (-1, 3))
        for number, (name, indices) in enumerate(skeletons.items(), 1):
            part = points[indices]
            shown = part[part[:, 2] > 0, :2]
            if name != 'body':
                if not len(shown):
                    continue
                low, high = shown.min(0), shown.max(0)
                entry = dict(image_id=entry['image_id'], iscrowd=0, bbox=[*low.tolist(), *(high - low).tolist()],
                             area=float(np.prod(high - low)))
            annotations.append({**entry, 'id': len(annotations) + 1, 'category_id': number, 'num_keypoints': len(shown),
                                'keypoints': [value for x, y, visible in part.tolist()
                                              for value in (x, y, int(visible))],
                                'attributes': {'person': numbers[entry['image_id']]}})
            annotations[-1].pop('keypoint_scores', None)  # CVAT has no scores
    return dict(content, annotations=annotations, categories=categories)


def _joined(content: Any, where: str) -> Any:
    """Joins skeletons of body, face and hands to people; other content is returned as it is."""
    categories = content.get('categories') if isinstance(content, dict) else None
    if not isinstance(categories, list) or not {'body', 'face'} <= {
            entry.get('name') for entry in categories if isinstance(entry, dict)}:
        return content
    with naming(where, 'skeletons of body, face and hands; export it again'):
        categories = {entry['id']: entry for entry in categories if entry['name'] in _SKELETONS}
        start, names = {}, []
        for number, entry in categories.items():
            start[number] = 3 * len(names)
            names += entry['keypoints']
        people: dict[tuple, dict] = {}
        entries = [entry for entry in content['annotations'] if entry['category_id'] in categories]
        entries.sort(key=lambda entry: categories[entry['category_id']]['name'] != 'body')
        bodies: dict[Any, list[dict]] = {}
        for entry in entries:
            if categories[entry['category_id']]['name'] == 'body':
                bodies.setdefault(entry['image_id'], []).append(entry)
            key = _person_of(entry, bodies.get(entry['image_id'], []))
            person = people.setdefault(key, {**entry, 'category_id': 1, 'keypoints': [0] * (3 * len(names))})
            place = start[entry['category_id']]
            if any(person['keypoints'][place + 2:place + len(entry['keypoints']):3]):
                raise ValueError(f'annotation {entry["id"]}: got the {categories[entry["category_id"]]["name"]} of '
                                 f'person {key[1]} in image {key[0]} again, expected it once; correct the attribute '
                                 'person')
            person['keypoints'][place:place + len(entry['keypoints'])] = entry['keypoints']
        return dict(content, annotations=list(people.values()), categories=[
            dict(id=1, name='person', supercategory='person', keypoints=names)])


def _person_of(entry: dict, bodies: list[dict]) -> tuple:
    """Returns the image and the person of a skeleton: its attribute, else the one of the image's bodies whose box
    overlaps its box most.
    """
    number = int(float((entry.get('attributes') or {}).get('person') or 0))  # 0 is what a new skeleton has
    if number:
        return entry['image_id'], number
    x0, y0, width, height = entry['bbox']

    def overlap(body: dict) -> float:
        bx, by, body_width, body_height = body['bbox']
        sides = (min(x0 + width, bx + body_width) - max(x0, bx), min(y0 + height, by + body_height) - max(y0, by))
        return max(sides[0], 0) * max(sides[1], 0)

    nearest = max(bodies, key=overlap, default=entry)
    if any(body is entry for body in bodies) or not overlap(nearest) or nearest is entry:
        return entry['image_id'], f'of annotation {entry["id"]}'
    return _person_of(nearest, bodies)


def skeleton_label(keypoints: KeypointSet, name: str = 'person', attributes: Iterable[dict] = ()) -> dict:
    """Returns the label for "Raw" in CVAT's constructor of labels, with a drawing of the skeleton."""
    places = _places(keypoints.names)
    svg = [f'<line x1="{places[a][0]}" y1="{places[a][1]}" x2="{places[b][0]}" y2="{places[b][1]}" data-type="edge" '
           f'data-node-from="{a + 1}" data-node-to="{b + 1}"></line>' for a, b in keypoints.links]
    svg += [f'<circle r="0.75" cx="{x}" cy="{y}" data-type="element node" data-element-id="{number}" '
            f'data-node-id="{number}" data-label-name={quoteattr(name)}></circle>'
            for number, (name, (x, y)) in enumerate(zip(keypoints.names, places), 1)]
    return dict(name=name, type='skeleton', attributes=list(attributes), svg=''.join(svg), sublabels=[
        dict(name=point, type='points', attributes=[]) for point in keypoints.names])


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
