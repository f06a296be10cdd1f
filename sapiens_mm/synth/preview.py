"""Contact sheets of a set: each image beside its parts, depth, normals and keypoints."""
from pathlib import Path

import cv2
import numpy as np

from sapiens_mm.utils.files import read_json
from sapiens_mm.utils.images import open_image
from sapiens_mm.visualization.maps import color_depth, color_normals, color_parts
from sapiens_mm.vocabularies.goliath import METAINFO_308

from .writer import write_image

_ROWS_OF_TILES = 2  # samples side by side


def draw_keypoints(image: np.ndarray, landmarks: np.ndarray, radius: int | None = None) -> np.ndarray:
    """The image with the 308 keypoints and their skeleton; what is occluded is hollow.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (>= 308, 3) x, y in pixels and visibility.
        radius: Pixels; by the image's size if None.
    """
    image = np.array(image, order='C')  # a copy
    info = METAINFO_308['keypoint_info']
    index = {entry['name']: i for i, entry in info.items()}
    radius = radius or max(1, image.shape[0] // 300)

    def pixel(i: int) -> tuple[int, int]:
        return int(round(landmarks[i][0])), int(round(landmarks[i][1]))

    for link in METAINFO_308['skeleton_info'].values():
        a, b = (index[name] for name in link['link'])
        if landmarks[a][2] and landmarks[b][2]:
            cv2.line(image, pixel(a), pixel(b), link['color'], max(1, radius - 1), cv2.LINE_AA)
    for i, entry in info.items():
        if landmarks[i][2]:
            cv2.circle(image, pixel(i), radius, entry['color'], -1 if landmarks[i][2] == 2 else 1, cv2.LINE_AA)
    return image


def write_preview(folder: str | Path, num: int = 24, height: int = 256) -> Path:
    """Writes ``preview.png`` of the first samples of a set.

    Args:
        folder: The set.
        num: Samples to show.
        height: Pixels of a tile.

    Raises:
        FileNotFoundError: If there is no sample.
    """
    folder = Path(folder)
    paths = sorted((folder / 'samples').glob('*.json'))[:num]
    if not paths:
        raise FileNotFoundError(f'{folder} holds no finished sample: nothing to show')
    strips = [_strip(folder, path, height) for path in paths]
    strips += [np.zeros_like(strips[0])] * (-len(strips) % _ROWS_OF_TILES)
    rows = [np.hstack(strips[i:i + _ROWS_OF_TILES]) for i in range(0, len(strips), _ROWS_OF_TILES)]
    write_image(folder / 'preview.png', np.vstack(rows))
    return folder / 'preview.png'


def _strip(folder: Path, path: Path, height: int) -> np.ndarray:
    sample = read_json(path)
    image = cv2.imread(str(folder / 'images' / sample['image']))[..., ::-1]
    points = image
    for annotation in sample['annotations']:
        points = draw_keypoints(points, np.array(annotation['landmarks']))
    tiles = [image]
    parts, depth, normal = (folder / kind / f'{path.stem}{suffix}'
                            for kind, suffix in (('parts', '.png'), ('depth', '.npy'), ('normal', '.npy')))
    if parts.exists():
        tiles.append(color_parts(np.asarray(open_image(parts))))  # OpenCV would return the palette's colours
    if depth.exists():
        tiles.append(color_depth(np.load(depth)))
    if normal.exists():
        tiles.append(color_normals(np.load(normal)))
    tiles.append(points)
    width = round(image.shape[1] * height / image.shape[0])
    return np.hstack([cv2.resize(tile, (width, height), interpolation=cv2.INTER_AREA) for tile in tiles])
