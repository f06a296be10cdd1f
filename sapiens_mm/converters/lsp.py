"""Leeds Sports Pose, its extension LSPET, and PARSE as COCO files of 17 keypoints.

Layouts of the source folders::

    LSPET  joints.mat: joints (14, 3, N), x, y, labeled;    images/im00001.jpg, ...
    LSP    joints.mat: joints (3, 14, N), x, y, occluded;   images/im0001.jpg, ...
    PARSE  labels.mat: ptsAll (14, 2, N), x, y;             im0001.jpg, ...

Left and right are the person's. COCO's nose, eyes and ears have no label; neck and top of the head are not COCO's, but
count for the boxes. Coordinates are kept as stored.
"""
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..utils.text import some
from ..vocabularies.coco import COCO_NAMES
from .files import copy_image, open_folder, read_mat, write_json

JOINTS = ('right_ankle', 'right_knee', 'right_hip', 'left_hip', 'left_knee', 'left_ankle', 'right_wrist', 'right_elbow',
          'right_shoulder', 'left_shoulder', 'left_elbow', 'left_wrist', 'neck', 'head_top')
#: Fewest labeled joints of a person of LSPET.
MIN_JOINTS = 6
#: Every so many persons of LSPET are held out.
HELD_OUT = 10
#: Added to the extent of the joints on each side, as a share of its longer side.
MARGIN = 0.15
#: Area of a person in its box, COCO's average.
AREA = 0.53
#: Number of training images of LSP and PARSE, which come first.
TRAINING = dict(lsp=1000, parse=100)
_FIRST_IDS = dict(lspet=0, lsp=20000, parse=30000)


class Source(NamedTuple):
    """A dataset: its name, (N, 14, 2) pixels, (N, 14) visibilities as COCO's, and the N images."""
    name: str
    joints: np.ndarray
    visible: np.ndarray
    images: list[Path]


def convert_lsp(folders: Sequence[str | os.PathLike], out: str | os.PathLike,
                progress: Callable[[Iterable, str], Iterable] = lambda items, name: items) -> dict[str, int]:
    """Writes ``images/`` and ``annotations/``, or what an earlier call left out, and returns the persons by file.

    LSPET becomes lspet_train and lspet_val (every tenth), without persons of fewer than six labeled joints; LSP and
    PARSE become lsp_train, lsp_test, parse_train and parse_test, as their authors split them.

    Args:
        folders: Of LSPET, LSP and PARSE, one or more in any order.
        progress: Wraps the samples of a dataset, as tqdm does.

    Raises an OSError if a file is missing, a ValueError if it is damaged or of another layout.
    """
    sources = [read_source(Path(folder)) for folder in folders]
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise ValueError(f'folders: got {", ".join(names)}, expected each dataset once; remove one')
    out = open_folder(out, dataset='LSP')
    counts = {}
    for source in sources:
        splits = _splits(source)
        images, annotations = {}, {}
        for index in progress(np.concatenate(list(splits.values())).tolist(), source.name):
            name = f'{source.name}/{source.images[index].name}'
            height, width = copy_image(source.images[index], out / 'images' / name)
            points = source.joints[index][source.visible[index] > 0]
            # In the three datasets at most 2 of 14 joints are.
            if (outside := ((points < 0) | (points > (width, height))).any(1).sum()) > len(points) / 2:
                raise ValueError(f'{source.images[index]}: got {outside} of {len(points)} joints outside of its '
                                 f'{width} x {height} pixels, expected joints of this image; take both from the same '
                                 'source')
            number = _FIRST_IDS[source.name] + index + 1
            images[index] = dict(id=number, file_name=name, width=width, height=height)
            annotations[index] = dict(id=number, image_id=number, category_id=1, iscrowd=0, **_person(
                source.joints[index], source.visible[index], (width, height)))
        for split, indices in splits.items():
            write_json(out / f'annotations/{split}.json', dict(
                images=[images[i] for i in indices], annotations=[annotations[i] for i in indices],
                categories=[dict(id=1, name='person', keypoints=list(COCO_NAMES))]))
            counts[split] = len(indices)
    return counts


def read_source(folder: Path) -> Source:
    """Reads the labels of LSPET, LSP or PARSE and finds the images; errors as :func:`convert_lsp`."""
    if (folder / 'labels.mat').exists():
        path, variable, images = folder / 'labels.mat', 'ptsAll', folder
    else:
        path, variable, images = folder / 'joints.mat', 'joints', folder / 'images'
    array = read_mat(path, variable)
    kinds = {(14, 3): 'lspet', (3, 14): 'lsp', (14, 2): 'parse'}
    name = kinds.get(array.shape[:2]) if array.ndim == 3 and array.dtype.kind in 'iuf' else None
    if name is None or (name == 'parse') != (variable == 'ptsAll'):
        raise ValueError(f"{path}: got '{variable}' of shape {array.shape} and type {array.dtype}, expected joints of "
                         'LSPET (14, 3, N) or LSP (3, 14, N), or ptsAll of PARSE (14, 2, N); give '
                         'the folder of one of them')
    array = np.transpose(array, (2, 1, 0) if name == 'lsp' else (2, 0, 1)).astype(np.float64)
    visible = np.full(array.shape[:2], 2)
    if name != 'parse':
        flags = array[..., 2]
        if wrong := set(np.unique(flags)) - {0, 1}:
            raise ValueError(f'{path}: got {some(wrong)} as the third value of a joint, expected 0 or 1; '
                             'download it again')
        visible = np.where(flags == 1, 2, 0) if name == 'lspet' else np.where(flags == 1, 1, 2)
    # Not shifted by 1 px, as labels that count pixels from 1 would need: in x, predictions of a model that did not see
    # these labels are at -0.24 px from them on LSP and at -0.02 px on LSPET, which is nearer to 0 than to -1.
    joints = array[..., :2]
    if bad := np.flatnonzero(((visible > 0) & ~np.isfinite(joints).all(-1)).any(1) | ~visible.any(1)).tolist():
        raise ValueError(f'{path}: got no joints, or joints that are not finite, in columns {some(bad)} (from 0), '
                         'expected pixels; download it again')
    digits = 5 if name == 'lspet' else 4
    files = [images / f'im{number:0{digits}d}.jpg' for number in range(1, len(joints) + 1)]
    present = set(images.glob('im*.jpg'))
    if missing := [file.name for file in files if file not in present]:
        raise FileNotFoundError(f'{images}: got no {some(missing)}, expected the {len(files)} images of {path.name}; '
                                'add them')
    if extra := sorted(file.name for file in present - set(files)):
        raise ValueError(f'{images}: got {some(extra)}, expected the {len(files)} images of {path.name}; take both '
                         'from the same source')
    return Source(name, joints, visible, files)


def _splits(source: Source) -> dict[str, np.ndarray]:
    if source.name == 'lspet':
        enough = np.flatnonzero((source.visible > 0).sum(1) >= MIN_JOINTS)
        held_out = np.arange(len(enough)) % HELD_OUT == HELD_OUT - 1
        return dict(lspet_train=enough[~held_out], lspet_val=enough[held_out])
    every, first = np.arange(len(source.images)), TRAINING[source.name]
    if len(every) <= first:
        raise ValueError(f'{source.images[0].parent}: got {len(every)} images of {source.name}, expected more than the '
                         f'{first} of its training; take the whole dataset')
    return {f'{source.name}_train': every[:first], f'{source.name}_test': every[first:]}


def _person(joints: np.ndarray, visible: np.ndarray, size: tuple[int, int]) -> dict:
    """COCO's fields of a person with joints (14, 2) and visibilities (14, ) in an image of ``size`` (width, height)."""
    labeled = joints[visible > 0]
    low, high = labeled.min(0), labeled.max(0)
    margin = MARGIN * (high - low).max()
    low, high = np.clip([low - margin, high + margin], 0, size)
    width, height = (high - low).tolist()
    keypoints = []
    for name in COCO_NAMES:
        index = JOINTS.index(name) if name in JOINTS else None
        point = (0, 0, 0) if index is None or not visible[index] else (*joints[index].round(3), visible[index])
        keypoints += [float(value) for value in point[:2]] + [int(point[2])]
    return dict(keypoints=keypoints, num_keypoints=sum(value > 0 for value in keypoints[2::3]),
                bbox=[*low.tolist(), width, height], area=AREA * width * height)
