"""Results of ``sapiens-mm run --save json,png`` as labels."""
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..utils.files import read_json
from ..utils.images import open_image
from ..utils.text import first_line
from .labels import KeypointSet, Labels, Person, arrange, keypoint_set, naming, numbers
from .rle import decode_coco

_OTHERS = ('meta.json', 'coco.json')  # files of a run that are no results
#: Columns of :func:`people_rows`.
PEOPLE_COLUMNS = ('image', 'frame', 'time', 'width', 'height', 'person', 'track_id', 'score', 'bbox', 'keypoints',
                  'keypoint_scores')


def file_name(name: str, frame: int | None) -> str:
    """Returns the file name of a result's image: that of the input, or ``clip.mp4.frames/000012.jpg``."""
    return name if frame is None else f'{name}.jpg'


def read(path: str | os.PathLike, keypoints: KeypointSet | None = None) -> Iterator[Labels]:
    """Yields the images below a folder of results, with ``NAME.parts.png`` where that exists.

    ``keypoints`` has the links and mirror pairs of own keypoints, by their names. Raises an OSError or a ValueError
    that names the file.
    """
    root, found = Path(path), False
    if not root.is_dir():
        raise NotADirectoryError(f'{path}: got no such folder, expected results of sapiens-mm run')
    for folder, folders, names in os.walk(root, followlinks=True):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            if file.suffix != '.json' or (file.parent == root and name in _OTHERS):
                continue
            content = read_json(file)
            if isinstance(content, dict) and 'people' in content and 'version' in content:
                raise ValueError(f"{file}: got OpenPose's format, expected boxes and keypoints; run again with "
                                 '--keypoint-format model')
            if not isinstance(content, dict) or not {'image', 'instances'} <= content.keys():
                continue  # the end of a video, or a file of another program
            found = True
            labels = parse(content, file.relative_to(root).as_posix().removesuffix('.json'), str(file), keypoints)
            yield _with_parts(labels, content, file)
    if not found:
        raise ValueError(f'{path}: got no JSON files of people, expected a folder of sapiens-mm run; tables and '
                         'archives are not converted, so add json to --save')


def parse(content: dict, name: str, where: str, keypoints: KeypointSet | None = None) -> Labels:
    """Returns the labels in the content of a result's JSON; ``name`` is the name of its files without suffixes."""
    with naming(where, 'a result of sapiens-mm run; run it again'):
        image = content['image']
        labels = Labels(file_name(name, image.get('frame')), int(image['width']), int(image['height']))
        own = keypoint_set(tuple(content['keypoint_names'])) if 'keypoint_names' in content else None
        labels.keypoint_set = own and (keypoints or own)
        for entry in content['instances']:
            x, y, width, height = numbers(entry['bbox'], 4)
            person = Person(np.array([x, y, x + width, y + height]), score=entry['score'],
                            track_id=entry.get('track_id'), segmentation=entry.get('segmentation'))
            if person.segmentation is not None:
                person.area = float(decode_coco(person.segmentation).sum())
            if own is not None:
                points = numbers(entry['keypoints'], 3 * len(own.names)).reshape(-1, 3)
                person.keypoints, person.keypoint_scores = points[:, :2], points[:, 2]
                person.visible = np.where(points.any(1), 2, 0)  # keypoints that the model lacks are 0, 0, 0
                person = arrange(person, own.names, labels.keypoint_set)
            labels.people.append(person)
    return labels


def people_rows(content: dict, name: str) -> list[dict]:
    """Returns a row of a table, with `PEOPLE_COLUMNS`, for each person in the content of a result's JSON.

    ``image`` is ``name``, the output name of the image or video; ``person`` counts from 0; ``bbox`` is x, y, width,
    height; ``keypoints`` (2 K) is x, y of each keypoint, ``keypoint_scores`` (K). What the content lacks is None.
    """
    image, rows = content['image'], []
    for person, entry in enumerate(content['instances']):
        triples = entry.get('keypoints')
        points = None if triples is None else [value for index, value in enumerate(triples) if index % 3 < 2]
        rows.append(dict(zip(PEOPLE_COLUMNS, (
            name, image.get('frame'), image.get('time'), image['width'], image['height'], person, entry.get('track_id'),
            entry['score'], entry['bbox'], points, triples and triples[2::3]), strict=True)))
    return rows


def _with_parts(labels: Labels, content: dict, file: Path) -> Labels:
    parts = file.with_name(f'{file.name[:-5]}.parts.png')
    if parts.exists() and 'part_names' in content:
        try:
            with open_image(parts) as image:
                labels.parts = np.array(image, np.uint8)
        except (OSError, ValueError, SyntaxError) as error:
            raise ValueError(f'{parts}: got {first_line(error)}, expected a whole PNG; run it again') from error
        labels.part_names = tuple(content['part_names'])
        size, highest = (labels.height, labels.width), len(labels.part_names) - 1
        if labels.parts.shape != size or labels.parts.max() > highest:
            raise ValueError(f'{parts}: got shape {labels.parts.shape} and classes to {labels.parts.max()}, expected '
                             f'{size} and at most {highest}; run it again')
    return labels
