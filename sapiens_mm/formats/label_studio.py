"""Label Studio's tasks: keypoints under their boxes, brushes of body parts, and the labeling config."""
import json
import os
import re
import warnings
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import quoteattr

import numpy as np

from ..utils.files import read_json, replacing
from ..utils.text import count, some
from ..vocabularies.body_parts import PART_NAMES
from ..vocabularies.keypoints import KEYPOINT_NAMES
from .labels import (
    HALF_PIXEL,
    KeypointSet,
    Labels,
    Person,
    image_size,
    keypoint_set,
    known_set,
    labeled,
    naming,
    of_one_set,
)
from .rle import decode_brush, encode_brush

_KINDS = ('keypointlabels', 'rectanglelabels', 'brushlabels')
_HIDDEN = 'hidden'  # text of keypoints that are labeled, but not visible


def write(labels: Iterable[Labels], path: str | os.PathLike, image_root: str = '',
          model: str = 'sapiens_mm') -> list[Path]:
    """Writes tasks and the labeling config, ``<stem>.xml``; returns the files.

    Args:
        image_root: What precedes file names in the URLs of images, such as ``/data/local-files/?d=photos``.
        model: ``model_version`` of the predictions.
    """
    path, keypoints, parts = Path(path), None, ()
    with replacing(path) as part, open(part, 'w', encoding='utf-8') as file:
        file.write('[')
        for index, image in enumerate(of_one_set(labels)):
            file.write((',\n' if index else '\n') + json.dumps(_task(image, image_root, model), ensure_ascii=False))
            keypoints, parts = keypoints or image.keypoint_set, parts or image.part_names
        file.write('\n]\n')
    config = path.with_suffix('.xml')
    with replacing(config) as part:
        Path(part).write_text(labeling_config(keypoints, parts), encoding='utf-8')
    return [path, config]


def labeling_config(keypoints: KeypointSet | None, parts: tuple[str, ...] = ()) -> str:
    controls = dict(RectangleLabels=('person', ['person']), KeyPointLabels=('keypoints', keypoints and keypoints.names),
                    BrushLabels=('parts', parts[1:]))
    lines = ['<View>', '  <Image name="image" value="$image" zoom="true" zoomControl="true"/>']
    for tag, (name, values) in controls.items():
        if values:
            # Label Studio exports keypoints to YOLO in the order of model_index.
            lines += [f'  <{tag} name="{name}" toName="image">', *(
                f'    <Label value={quoteattr(value)} model_index="{index}"/>' for index, value in enumerate(values)),
                f'  </{tag}>']
    return '\n'.join([*lines, '</View>', ''])


def _task(image: Labels, image_root: str, model: str) -> dict:
    url = f'{image_root.rstrip("/")}/{quote(image.file_name)}' if image_root else quote(image.file_name)
    data = dict(image=url, file_name=image.file_name, width=image.width, height=image.height)
    if image.keypoint_set is not None:
        names = image.keypoint_set.names
        data['keypoints'] = next((name for name, known in KEYPOINT_NAMES.items() if known == names), list(names))
    if image.part_names and image.part_names != PART_NAMES:
        data['parts'] = list(image.part_names)
    size = np.array([image.width, image.height])
    common = dict(to_name='image', original_width=image.width, original_height=image.height, image_rotation=0)
    result = []
    for number, person in enumerate(image.people):
        box = np.reshape(person.box, (2, 2)) / size * 100
        x, y, width, height = np.round([*box[0], *(box[1] - box[0])], 6).tolist()
        region = dict(id=f'p{number}', type='rectanglelabels', from_name='person', **common, value=dict(
            x=x, y=y, width=width, height=height, rotation=0, rectanglelabels=['person']))
        region |= {} if person.score is None else dict(score=round(float(person.score), 4))
        region |= {} if person.track_id is None else dict(meta=dict(text=[f'track {person.track_id}']))
        result.append(region)
        for index in labeled(person).tolist():
            x, y = np.round((person.keypoints[index] + HALF_PIXEL) / size * 100, 6).tolist()
            region = dict(id=f'p{number}k{index}', parentID=f'p{number}', type='keypointlabels', from_name='keypoints',
                          **common, value=dict(x=x, y=y, width=.5,
                                               keypointlabels=[image.keypoint_set.names[index]]))
            if person.keypoint_scores is not None:
                region['score'] = round(float(person.keypoint_scores[index]), 4)
            result.append(region | (dict(meta=dict(text=[_HIDDEN])) if person.visible[index] == 1 else {}))
    for part in np.unique(image.parts).tolist() if image.parts is not None else ():
        if part:
            result.append(dict(id=f'part{part}', type='brushlabels', from_name='parts', **common, value=dict(
                format='rle', rle=encode_brush(image.parts == part), brushlabels=[image.part_names[part]])))
    scores = [person.score for person in image.people if person.score is not None]
    prediction = dict(model_version=model, result=result)
    if scores:
        prediction['score'] = round(float(min(scores)), 4)
    return dict(data=data, predictions=[prediction])


def read(path: str | os.PathLike, keypoints: KeypointSet | None = None, image_root: str = '') -> Iterator[Labels]:
    """Yields the images of Label Studio's export "JSON" or of tasks, with the latest annotation of each.

    Tasks without an annotation are left out with a warning; if no task has one, predictions are read. A keypoint
    belongs to the box that is its parent, else to the smallest box that holds it. Annotations have no scores: those
    that Label Studio keeps are of the predictions before a correction.

    Args:
        keypoints: The keypoint set; by default that in the tasks of this package, else the smallest known set with all
            keypoints.
        image_root: What precedes file names in the URLs, or the folder of images, which is needed for tasks of other
            programs where no region has the size.

    Raises an OSError or a ValueError that names the file and the task.
    """
    tasks = read_json(path)
    if not (isinstance(tasks, list) and all(isinstance(task, dict) and 'data' in task for task in tasks)):
        raise ValueError(f'{path}: got other content, expected tasks of Label Studio; export as JSON, '
                         'not JSON-MIN')
    with_annotations = any(task.get('annotations') for task in tasks)
    chosen, skipped, several = [], 0, 0
    for task in tasks:
        kind = 'annotations' if with_annotations else 'predictions'
        candidates = [entry for entry in task.get(kind) or () if not entry.get('was_cancelled')]
        skipped += not candidates and with_annotations
        several += len(candidates) > 1
        if candidates or not with_annotations:
            latest = max(reversed(candidates), key=lambda entry: str(entry.get('updated_at', '')), default={})
            chosen.append((task, latest.get('result') or []))
    for number, text in ((skipped, 'without annotations are left out'), (several, 'have several: the latest is read')):
        if number:
            warnings.warn(f'{path}: {count(number, "task")} {text}', stacklevel=2)
    with naming(os.fspath(path), "regions as in Label Studio's export; export it again"):
        used, boxes = ({name for _, result in chosen for region in result
                        for name in (region.get('value') or {}).get(kind, ())} for kind in _KINDS[:2])
        if len(boxes) > 1 and 'person' not in boxes:
            raise ValueError(f'got boxes of {some(sorted(boxes))}, expected person; rename the label of people')
    if others := boxes - {'person'} if 'person' in boxes else ():
        warnings.warn(f'{path}: boxes of {some(sorted(others))} are left out', stacklevel=2)
    for task, result in chosen:
        with naming(f'{path}: task {task.get("id", task["data"].get("image"))}',
                    "regions as in Label Studio's export; export it again"):
            labels = _Task(task['data'], result, keypoints, used, image_root, not with_annotations).labels(others)
        yield labels


class _Task:
    """Reads the regions of a task."""

    def __init__(self, data: dict, result: list, keypoints: KeypointSet | None, used: set[str], image_root: str,
                 predicted: bool):
        self.predicted = predicted
        # Label Studio writes one entry for each control of a region. Those of other controls have no labels.
        self.regions = [region for region in result if isinstance(region.get('value'), dict)]
        self.file_name = data.get('file_name') or _file_name(data['image'], image_root)
        self.width, self.height = self._size(data, image_root)
        names = data.get('keypoints')
        if keypoints is None and names:
            keypoints = keypoint_set(tuple(KEYPOINT_NAMES[names] if isinstance(names, str) else names))
        self.keypoints = keypoints or known_set(used)
        if unknown := used - set(self.keypoints.names if self.keypoints else ()):
            expected = f'the keypoint set ({some(keypoints.names)})' if keypoints else 'one known set'
            raise ValueError(f'got the keypoints {some(sorted(unknown))}, expected those of {expected}; give their '
                             'set with --keypoints')
        self.part_names = tuple(data.get('parts') or PART_NAMES)

    def _size(self, data: dict, image_root: str) -> tuple[int, int]:
        sizes = {(region['original_width'], region['original_height']) for region in self.regions
                 if 'original_width' in region}
        if len(sizes) > 1 or any(region.get('image_rotation') for region in self.regions):
            raise ValueError(f'got a turned image or several sizes ({some(sizes)}), expected one upright '
                             'image; turn it back in Label Studio and export it again')
        if sizes:
            return sizes.pop()
        return (data['width'], data['height']) if 'width' in data else image_size(Path(image_root) / self.file_name)

    def labels(self, others: Collection[str] = ()) -> Labels:
        """Returns the labels without boxes of ``others``.

        A ValueError for points without a person, repeated ones, regions without a label, unknown parts, damaged masks.
        """
        labels = Labels(self.file_name, self.width, self.height, keypoint_set=self.keypoints)
        if unnamed := [region for region in self.regions
                       if region.get('type') in _KINDS and not region['value'].get(region['type'])]:
            raise ValueError(f'got {count(len(unnamed), "region")} without a label ({some(r["id"] for r in unnamed)}), '
                             'expected a label; choose it, or remove the region')
        boxes = [region for region in self.regions if region['value'].get('rectanglelabels')
                 and not set(region['value']['rectanglelabels']) & set(others)]
        self.people = {region['id']: self._person(region) for region in boxes}
        if len(self.people) < len(boxes):
            raise ValueError(f'got {len(boxes)} boxes with {len(self.people)} ids, expected an id for each')
        labels.people = list(self.people.values())
        points = [region for region in self.regions if region['value'].get('keypointlabels')]
        parents = {region['id']: region.get('parentID') for region in self.regions if region.get('id')}
        alone = [region for region in points if not self._place(region, parents)]
        # Last, when it is known which boxes lack the keypoint.
        if lost := [region['value']['keypointlabels'][0] for region in alone if not self._place_by_box(region)]:
            raise ValueError(f'got {count(len(lost), "keypoint")} without a person ({some(lost)}), '
                             'expected each in the box of a person who lacks it; draw the box, or remove the keypoint')
        for region in self.regions:
            for name in region['value'].get('brushlabels', ()):
                if name not in self.part_names:
                    raise ValueError(f'got the part {name}, expected one of {some(self.part_names)}')
                mask = decode_brush(region['value']['rle'], self.height, self.width)
                labels.parts = np.zeros(mask.shape, np.uint8) if labels.parts is None else labels.parts
                labels.parts[mask] = self.part_names.index(name)  # later regions are above
                labels.part_names = self.part_names
        return labels

    def _person(self, region: dict) -> Person:
        value = region['value']
        corner = np.array([value['x'] * self.width, value['y'] * self.height]) / 100
        width, height = value['width'] * self.width / 100, value['height'] * self.height / 100
        turn = np.exp(1j * np.deg2rad(value.get('rotation', 0)))  # around the corner
        others = np.array([0, width, height * 1j, width + height * 1j]) * turn
        offsets = np.stack([others.real, others.imag], 1)
        person = Person(np.array([*(corner + offsets.min(0)), *(corner + offsets.max(0))]))
        person.score = region.get('score') if self.predicted else None
        if track := re.search(r'track (\d+)', _text(region)):
            person.track_id = int(track[1])
        if self.keypoints is not None:
            number = len(self.keypoints.names)
            person.keypoints, person.visible = np.zeros((number, 2)), np.zeros(number, int)
            person.keypoint_scores = np.zeros(number) if self.predicted else None
        return person

    def _point(self, region: dict) -> np.ndarray:
        return np.array([region['value']['x'] * self.width, region['value']['y'] * self.height]) / 100

    def _place(self, region: dict, parents: dict) -> bool:
        """Gives a keypoint to the box among its parents, and returns whether there is one."""
        seen, parent = set(), region.get('parentID')
        while parent and parent not in self.people and parent not in seen:
            seen.add(parent)
            parent = parents.get(parent)
        if parent not in self.people:
            return False
        name, person = region['value']['keypointlabels'][0], self.people[parent]
        if person.visible[self.keypoints.names.index(name)]:
            raise ValueError(f'got two keypoints {name} of one person, expected one; remove the other')
        self._set(person, region)
        return True

    def _place_by_box(self, region: dict) -> bool:
        point, index = self._point(region), self.keypoints.names.index(region['value']['keypointlabels'][0])
        boxes = [person for person in self.people.values() if not person.visible[index]
                 and (person.box[:2] <= point).all() and (point <= person.box[2:]).all()]
        if boxes:
            self._set(min(boxes, key=lambda person: np.prod(person.box[2:] - person.box[:2])), region)
        return bool(boxes)

    def _set(self, person: Person, region: dict) -> None:
        index = self.keypoints.names.index(region['value']['keypointlabels'][0])
        person.keypoints[index] = self._point(region) - HALF_PIXEL
        person.visible[index] = 1 if _HIDDEN in _text(region) else 2
        if person.keypoint_scores is not None:
            person.keypoint_scores[index] = region.get('score', 1)


def _text(region: dict) -> str:
    text = (region.get('meta') or {}).get('text', '')
    return ' '.join(map(str, text)) if isinstance(text, list) else str(text)


def _file_name(url: str, image_root: str) -> str:
    """Returns the file name in a URL: what follows the root, else the path of a local file, else the last part."""
    if image_root and url.startswith(image_root):
        return unquote(url[len(image_root):].lstrip('/'))
    parts = urlsplit(url)
    if local := parse_qs(parts.query).get('d'):
        return local[0]
    name = unquote(parts.path.rsplit('/', 1)[-1])
    return re.sub(r'^[0-9a-f]{8}-', '', name) if '/upload/' in parts.path else name
