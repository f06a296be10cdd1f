"""Contact sheets of a dataset: each image beside its parts, depth, normals and keypoints."""
from pathlib import Path

import cv2
import numpy as np

from ..tasks import dense_tasks
from ..utils.files import read_json
from ..utils.images import open_image
from ..visualization.maps import draw_label
from ..visualization.sheet import resize_to_height, sheet
from ..visualization.skeleton import draw_skeleton
from ..vocabularies.goliath import METAINFO_308
from .labels import OCCLUDED
from .writer import label_path, write_image

_COLUMNS = 2  # samples side by side
_NAMES = {index: keypoint['name'] for index, keypoint in METAINFO_308['keypoint_info'].items()}
_INDEX = {name: index for index, name in _NAMES.items()}
_SKELETON = dict(keypoint_id2name=_NAMES, skeleton_links=[
    [_INDEX[name] for name in link['link']] for link in METAINFO_308['skeleton_info'].values()])


def write_preview(folder: str | Path, num: int = 24, height: int = 256) -> Path:
    """Writes ``preview.png`` of ``num`` samples, ``height`` pixels each; FileNotFoundError without samples."""
    folder = Path(folder)
    paths = sorted((folder / 'samples').glob('*.json'))[:num]
    if not paths:
        raise FileNotFoundError(f'{folder}: got no finished samples, expected at least one')
    samples = [_tiles(folder, path, height) for path in paths]
    tiles = [('', tile) for sample in samples for tile in sample]
    write_image(folder / 'preview.png', sheet(tiles, min(_COLUMNS, len(samples)) * len(samples[0])))
    return folder / 'preview.png'


def _tiles(folder: Path, path: Path, height: int) -> list[np.ndarray]:
    sample = read_json(path)
    image = cv2.imread(str(folder / 'images' / sample['image']))[..., ::-1]
    tiles = [image]
    for task in dense_tasks().values():
        label = label_path(folder, task, path.stem)
        if label.exists():  # Pillow keeps the classes of a palette image, OpenCV does not
            values = np.load(label) if label.suffix == '.npy' else np.asarray(open_image(label))
            tiles.append(draw_label(task, values, image))
    landmarks = np.array([annotation['landmarks'][:len(_NAMES)] for annotation in sample['annotations']])
    landmarks = landmarks.reshape(-1, len(_NAMES), 3)
    tiles.append(draw_skeleton(image, landmarks[..., :2], landmarks[..., 2], _SKELETON, 0.5,
                               occluded=landmarks[..., 2] == OCCLUDED))
    return [resize_to_height(tile, height) for tile in tiles]
