"""``sapiens-mm convert``: results and labels between the formats of labeling tools."""
import argparse
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ..formats import coco, cvat, label_studio, parts, results, yolo
from ..formats.labels import KeypointSet, Labels, from_metainfo, read_keypoint_set, select
from ..names import WITH_IMAGE_ROOT
from ..utils.files import read_json
from ..utils.text import count, with_option

READERS = {'results': results, 'coco': coco, 'label-studio': label_studio, 'cvat': cvat, 'yolo': yolo}
WRITERS = {name: module for name, module in READERS.items() if name != 'results'} | {'parts': parts}
#: Most keypoints of a skeleton that CVAT's editor can be used with; more are converted to 133 by default.
_MOST_IN_CVAT = 133


def main(args: argparse.Namespace) -> int:
    """Converts labels; returns 0, or 1 if they cannot be read, converted or written."""
    done = dict(images=0, people=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        try:
            files = _convert(args, done)
        except (OSError, ValueError) as error:
            files = None
            message = f'{error.strerror}: {error.filename}' if isinstance(error, OSError) and error.filename else \
                with_option(error, ('image_root', ))
    for warning in caught:
        print(f'sapiens-mm: {warning.message}', file=sys.stderr)
    if files is None:
        print(f'sapiens-mm: {message}', file=sys.stderr)
        return 1
    print(f'{count(done["people"], "person", "people")} in {count(done["images"], "image")}:', *files)
    return 0


def _convert(args: argparse.Namespace, done: dict[str, int]) -> list[Path]:
    source, target = args.source_format, args.target_format
    keypoints = read_keypoints(args.keypoints) if args.keypoints else None
    roots = {name: dict(image_root=args.image_root or '') for name in WITH_IMAGE_ROOT}
    labels = READERS[source].read(args.source, keypoints, **roots.get(source, {}))

    def counted() -> Iterator[Labels]:
        for image in labels:
            keypoint_format = args.keypoint_format or default_format(target, image)
            for selected in select([image], keypoint_format, args.keypoint_threshold, args.min_score):
                done['images'] += 1
                done['people'] += len(selected.people)
                yield selected

    if args.split_parts:
        roots['cvat'] = dict(split=True)
    write = partial(WRITERS[target].write, counted(), args.out, **roots.get(target, {}))
    Path(args.out).absolute().parent.mkdir(parents=True, exist_ok=True)
    return write(model=_model(args.source)) if target == 'label-studio' and source == 'results' else write()


def default_format(target: str, image: Labels) -> str:
    """Returns the keypoint format that is written without an option."""
    many = image.keypoint_set is not None and len(image.keypoint_set.names) > _MOST_IN_CVAT
    return 'wholebody-133' if target == 'cvat' and many else 'model'


def _model(folder: str) -> str:
    """Returns the models of a folder of results, for Label Studio's ``model_version``."""
    try:
        return ', '.join(f'{Path(model["source"]).stem} {" ".join(model["tasks"])}'
                         for model in read_json(Path(folder) / 'meta.json')['models'])
    except (OSError, ValueError, LookupError, TypeError):
        return 'sapiens_mm'


def read_keypoints(path: str) -> KeypointSet:
    """Reads a keypoint set from a config with ``metainfo``, a JSON list of names, or COCO annotations.

    Raises an OSError or a ValueError that names the file.
    """
    if not path.endswith('.py'):
        return read_keypoint_set(path)
    from mmengine.config import Config
    try:
        config = Config.fromfile(path)
        metainfo = config.get('metainfo') or config.get('dataset_info') or config.train_dataloader.dataset.metainfo
        return from_metainfo(metainfo)
    except Exception as error:  # a config is a program
        raise ValueError(f'{path}: got {type(error).__name__} ({error}), expected a config with metainfo of '
                         'keypoint_info; see docs/your_keypoints.md') from error
